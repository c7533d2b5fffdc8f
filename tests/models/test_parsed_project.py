"""dbt's parse is stored once for all homes, and is used only for the project that it was made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest

from pipeline.core.files import make_folders
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse import parsed_project as module
from pipeline.warehouse import user_cache
from pipeline.warehouse.dbt_run import run_dbt
from pipeline.warehouse.parsed_project import parsed_project
from pipeline.warehouse.user_cache import user_cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a user who has none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "billhouse"


@pytest.fixture
def parses(parsed: Manifest, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The projects that were parsed."""
    found: list[Path] = []

    def parse(home: Home, project: Path, target: str, folder: str) -> Manifest:
        found.append(project)
        return parsed

    monkeypatch.setattr(module, "_parse", parse)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    folder = tmp_path / "project"
    for name in ("models", "macros", "seeds", "tests/warehouse"):
        shutil.copytree(PROJECT_ROOT / name, folder / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copyfile(PROJECT_ROOT / name, folder / name)
    return folder


def test_a_second_home_parses_nothing_and_gets_the_same_manifest(tmp_path: Path, cache: Path, parses: list[Path]) -> None:
    first = parsed_project(Home.open(tmp_path / "one"), PROJECT_ROOT)
    second = parsed_project(Home.open(tmp_path / "two"), PROJECT_ROOT)
    assert parses == [PROJECT_ROOT]
    assert second is not first
    for kind in ("sources", "macros", "exposures", "unit_tests", "parent_map", "child_map", "flat_graph"):
        assert getattr(second, kind) == getattr(first, kind), kind
    assert [path.stat().st_mode & 0o777 for path in (cache, *cache.iterdir())] == [0o700, 0o600]


@pytest.mark.parametrize(
    "file",
    [
        "models/billing/fees.sql",
        "macros/money.sql",
        "tests/warehouse/journal_balances.sql",
        "seeds/_seeds.yml",
        "dbt_project.yml",
        "profiles.yml",
    ],
)
def test_a_changed_project_is_parsed_again(file: str, home: Home, project: Path, cache: Path, parses: list[Path]) -> None:
    parsed_project(home, project)
    (project / file).write_text((project / file).read_text() + "\n")
    parsed_project(home, project)
    assert parses == [project, project]


def test_other_versions_and_targets_have_a_parse_of_their_own(
    home: Home, cache: Path, parses: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed_project(home, PROJECT_ROOT)
    parsed_project(home, PROJECT_ROOT, target="spark")
    monkeypatch.setattr(user_cache, "version", lambda package: "another")
    parsed_project(home, PROJECT_ROOT)
    assert len(parses) == 3


def test_a_price_book_elsewhere_needs_no_parse_and_is_the_one_that_is_loaded(
    home: Home, project: Path, cache: Path, parses: list[Path]
) -> None:
    standard = parsed_project(home, PROJECT_ROOT).nodes["seed.billhouse.rates"]
    (project / "seeds" / "rates.csv").write_text((project / "seeds" / "rates.csv").read_text().replace("0.", "1."))
    own = parsed_project(home, project).nodes["seed.billhouse.rates"]
    assert parses == [PROJECT_ROOT]
    assert getattr(own, "root_path", None) == str(project)
    assert own.checksum != standard.checksum, "Dagster shows by it that the price book has changed"
    (project / "seeds" / "more.csv").write_text("id\n")
    parsed_project(home, project)
    assert parses == [PROJECT_ROOT, project], "a price book with other files has other seeds"


def test_a_folder_that_others_can_use_is_not_used(home: Home, cache: Path, parses: list[Path]) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    parsed_project(home, PROJECT_ROOT)
    assert list(cache.iterdir()) == []
    assert len(list((home.path / ".dbt" / "parsed").glob("*.msgpack"))) == 1
    parsed_project(home, PROJECT_ROOT)
    assert parses == [PROJECT_ROOT]


def test_a_link_to_another_folder_is_not_used(tmp_path: Path, home: Home, cache: Path, parses: list[Path]) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.parent.mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    parsed_project(home, PROJECT_ROOT)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_code_of_templates_is_stored_in_a_private_folder_of_the_user_or_nowhere(
    home: Home, cache: Path, parsed: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is run. A home can come from another user, as a copy or a back-up: none of it is read from there."""
    folders: list[Path | None] = []

    def stop(folder: Path | None) -> None:
        folders.append(folder)
        raise InterruptedError

    monkeypatch.setattr("pipeline.warehouse.dbt_run.without_dbt_overhead", stop)
    for mode in (0o700, 0o750, 0o701, 0o777):
        make_folders(cache)
        cache.chmod(mode)
        with pytest.raises(InterruptedError):
            run_dbt(home, PROJECT_ROOT, None, manifest=parsed)
    assert folders == [cache, None, None, None]
    monkeypatch.setattr("os.geteuid", lambda: cache.stat().st_uid + 1)
    cache.chmod(0o700)
    assert user_cache_folder() is None, "of another user"


def test_an_incomplete_file_is_replaced(home: Home, cache: Path, parses: list[Path]) -> None:
    parsed_project(home, PROJECT_ROOT)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for broken in (whole[:-1], b""):
        file.write_bytes(broken)
        parsed_project(home, PROJECT_ROOT)
    assert len(parses) == 3
    assert file.read_bytes() == whole


def test_the_oldest_parses_are_removed(home: Home, project: Path, cache: Path, parses: list[Path]) -> None:
    for number in range(12):
        (project / "macros" / "money.sql").write_text(f"-- {number}")
        parsed_project(home, project)
    assert len(list(cache.iterdir())) == 10
