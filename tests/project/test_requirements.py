"""What is installed where: the image holds what runs, and nothing that only develops."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.sbom import SBOM, sbom
from pipeline.core.home import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {path.stem.partition("-")[2] or "runtime": path for path in PROJECT_ROOT.glob("requirements*.lock")}
OWN = {"pipeline", "orchestration"}
DATABASES = "pipeline/feeds/databases"
OPTIONAL = {
    "pipeline/warehouse/spark.py": {"pyspark"},
    f"{DATABASES}/clickhouse.py": {"clickhouse_connect"},
    f"{DATABASES}/postgresql.py": {"psycopg"},
    f"{DATABASES}/postgresql_types.py": {"psycopg"},
    f"{DATABASES}/replication_slot.py": {"psycopg"},
    **{f"pipeline/notebook/{name}.py": {"altair", "marimo"} for name in ("app", "charts", "page", "serve")},
}
"""Imported only where the extras of the package are installed; the module says so where they are not."""


def locked(name: str) -> dict[str, list[str]]:
    """Package -> hashes."""
    found: dict[str, list[str]] = {}
    for line in LOCKS[name].read_text(encoding="utf-8").splitlines():
        if package := re.match(r"([a-z0-9-]+)==", line):
            hashes = found.setdefault(package[1], [])
        elif digest := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            hashes.append(digest[1])
    return found


def required(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported() -> dict[str, set[str]]:
    """Top-level module -> files of the running code that import it, from outside of the standard library."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in (path for package in OWN for path in (PROJECT_ROOT / package).rglob("*.py")):
        where = str(file.relative_to(PROJECT_ROOT))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - OWN - sys.stdlib_module_names:
                if name not in OPTIONAL.get(where, ()):
                    found[name].add(where)
    return found


def test_every_package_that_the_code_imports_is_declared_and_locked_among_what_runs() -> None:
    distributions = importlib.metadata.packages_distributions()
    declared = required(PROJECT["dependencies"])
    assert declared <= locked("runtime").keys()
    undeclared = {
        module: sorted(files)
        for module, files in imported().items()
        if not declared & {canonicalize_name(name) for name in distributions.get(module, [])}
    }
    assert undeclared == {}


def test_what_runs_and_what_develops_are_locked_apart() -> None:
    runtime, development = locked("runtime"), locked("dev")
    assert runtime.keys() & development.keys() == {"psutil"}, "which runs on Windows only"
    assert required(PROJECT["optional-dependencies"]["dev"]) <= runtime.keys() | development.keys()
    assert {"pytest", "mypy", "playwright", "hatchling"} <= development.keys()


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_locked_package_has_hashes_and_no_lock_names_a_host(name: str) -> None:
    packages = locked(name)
    assert packages
    assert [package for package, hashes in packages.items() if not hashes] == []
    assert re.findall(r"\S*(?:://|--index|--find-links)\S*", LOCKS[name].read_text(encoding="utf-8")) == []


def test_the_last_stage_of_the_image_installs_the_locked_packages_that_run_and_no_others() -> None:
    stages = re.split(r"^FROM ", (PROJECT_ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    bases = [stage.split()[0] for stage in stages]
    names = [stage.split()[2] if stage.split()[1] == "AS" else "" for stage in stages]
    shipped = [stages[-1]]
    while bases[stages.index(shipped[0])] in names:
        shipped.insert(0, stages[names.index(bases[stages.index(shipped[0])])])
    installed = re.findall(r"pip install (.*)", "".join(shipped))
    assert installed == [
        "--no-cache-dir --no-deps --require-hashes -r requirements.lock",
        "--no-cache-dir --no-deps --require-hashes -r requirements-queues.lock",  # only with QUEUES=1
        "--no-cache-dir --no-deps --no-index /wheels/*.whl \\",
    ]


WITHOUT_DEVELOPMENT = """
import importlib.metadata, json, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

modules = set(json.loads(sys.argv.pop(1)))
sys.meta_path.insert(0, Refuse())
import orchestration.ui.daemon, orchestration.definitions, orchestration.ui.webserver
from pipeline.cli.app import main
importlib.metadata.version("billhouse")
sys.argv = ["billhouse", "--help"]
main()
"""


def test_the_code_is_imported_and_called_without_any_development_package() -> None:
    """In an environment where nothing else can be imported; `make check-runtime` makes a new one from the lock file."""
    names = locked("dev").keys()
    modules = [
        module
        for module, found in importlib.metadata.packages_distributions().items()
        if {canonicalize_name(name) for name in found} <= names
    ]
    assert {"pytest", "mypy", "hatchling", "sqlfluff"} <= set(modules)
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_DEVELOPMENT, json.dumps(modules)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Usage: billhouse" in ran.stdout


def test_the_bill_of_materials_is_that_of_the_lock_file() -> None:
    lock = LOCKS["runtime"].read_text(encoding="utf-8")
    text = SBOM.read_text(encoding="utf-8")
    assert text == sbom(lock, (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")), "make sbom"
    bom = json.loads(text)
    assert {component["name"] for component in bom["components"]} == locked("runtime").keys()
    hashes = {it["content"] for one in bom["components"] for reference in one["externalReferences"] for it in reference["hashes"]}
    assert hashes == {digest for digests in locked("runtime").values() for digest in digests}
    edges = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    reached, waiting = set(), ["billhouse"]
    while waiting:
        reached.add(waiting[0])
        waiting = waiting[1:] + [ref for ref in edges[waiting[0]] if ref not in reached]
    assert reached == edges.keys(), "every package is there because another needs it"
    assert {"pkg:pypi/stripe@" + version for version in re.findall(r"^stripe==(\S+)", lock, re.MULTILINE)} <= set(
        edges["billhouse"]
    )


def test_the_bill_of_materials_names_no_host() -> None:
    found = set(re.findall(r"\w+://[^\"]+", SBOM.read_text(encoding="utf-8")))
    assert found == {"http://cyclonedx.org/schema/bom-1.6.schema.json"}


def test_a_lock_file_that_is_not_understood_is_no_bill_of_materials() -> None:
    with pytest.raises(ValueError, match="Unknown line in the lock file: stripe>=16"):
        sbom("stripe>=16\n", (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
