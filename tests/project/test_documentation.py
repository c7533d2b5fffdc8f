"""The documentation is current: generated pages, links, and lists that name what is in the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.generate.__main__ import PAGES
from docs.generate.configuration import ELSEWHERE
from docs.generate.links import broken_links
from pipeline.core import failures
from pipeline.core.home import PROJECT_ROOT, Home

DOCS = PROJECT_ROOT / "docs"
MOST_MODULES = 15
MOST_MODELS = 16


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path](), "make reference"


def test_no_link_and_no_mention_of_a_page_is_broken() -> None:
    assert broken_links() == []


def test_a_broken_link_a_missing_anchor_and_a_mention_of_a_missing_page_are_found(tmp_path: Path) -> None:
    import subprocess

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "README.md").write_text(
        "# Title\n\n[a](#title) [b](#other) [c](missing.md) [d](https://example.com)\n```\n[e](no)\n```\n"
    )
    (tmp_path / "code.py").write_text("# See docs" + "/missing.md.\n")
    assert broken_links(tmp_path) == ["README.md: #other", "README.md: missing.md", "code.py: docs" + "/missing.md"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in pages() if page not in navigation] == []


def test_every_page_can_be_reached_from_the_map() -> None:
    maps = [(DOCS / "README.md", ""), (DOCS / "internals" / "decisions" / "README.md", "internals/decisions/")]
    linked = {
        prefix + target
        for page, prefix in maps
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text(encoding="utf-8"))
    }
    assert set(pages()) - {"README.md"} == linked - {"README.md"}


def pages() -> list[str]:
    return sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_every_environment_variable_that_the_code_reads_is_in_the_configuration_reference() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    sources = [path for folder in ("pipeline", "orchestration") for path in (PROJECT_ROOT / folder).rglob("*.py")]
    sources += [*(PROJECT_ROOT / "macros").glob("*.sql"), PROJECT_ROOT / "profiles.yml", PROJECT_ROOT / "deploy" / "dagster.yaml"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    read = set(re.findall(r"\b(?:BILLHOUSE_[A-Z_]+[A-Z]|STRIPE_API_KEY|SPARK_REMOTE|DAGSTER_HOME|DAGSTER_POSTGRES_URL)\b", code))
    assert sorted(name for name in read if f"| `{name}` |" not in page) == []
    listed = {name for rows in ELSEWHERE.values() for name in rows}
    assert sorted(listed - read) == [], "no code reads them"


def test_every_file_and_folder_of_a_home_is_described() -> None:
    page = (DOCS / "internals" / "architecture.md").read_text(encoding="utf-8")
    described = page.partition("## The home folder")[2].split("```")[1]
    home = Home(Path("/home"))
    properties = [name for name, value in vars(Home).items() if isinstance(value, property)]
    places = [getattr(home, name).relative_to(home.path) for name in properties]
    assert [str(place) for place in places if place.parts[0] not in described or place.name not in described] == []


def test_every_direct_dependency_has_a_reason_and_no_other_package_has() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *(text for group in project["optional-dependencies"].values() for text in group)]
    page = (DOCS / "internals" / "dependencies.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([\w-]+)` \| \S", page, re.MULTILINE)
    assert sorted(explained) == sorted({canonicalize_name(Requirement(text).name) for text in declared})


def test_one_usage_event_passes_few_modules_and_models_and_each_exists() -> None:
    page = (DOCS / "internals" / "one-usage-event.md").read_text(encoding="utf-8")
    modules = re.findall(r"^\| `(\w+/[\w/]+\.py)` \|", page, re.MULTILINE)
    models = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert [module for module in modules if not (PROJECT_ROOT / module).is_file()] == []
    assert set(models) <= {path.stem for path in (PROJECT_ROOT / "models").rglob("*.sql")}
    assert 0 < len(modules) <= MOST_MODULES
    assert 0 < len(models) <= MOST_MODELS


def test_every_failure_of_the_system_is_in_troubleshooting() -> None:
    page = (DOCS / "operate" / "troubleshooting.md").read_text(encoding="utf-8")
    source = Path(failures.__file__).read_text(encoding="utf-8")
    own = re.findall(r'BillhouseError\(\s*f?"([A-Z][^{":]+)', source)
    messages = [*(message for message, _ in failures._SYSTEM_ERRORS.values()), *own]
    assert [message for message in messages if message.strip().rstrip(".,") not in page] == []
