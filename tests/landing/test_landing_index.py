"""The landing index changes no result: it follows the raw files, and is built again if it is missing, old or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pipeline.core.home import SEEDS, Home
from pipeline.landing import land_files, retry_quarantined
from pipeline.landing.index_state import landing_totals, read_state
from pipeline.landing.index_updates import KEYS
from pipeline.landing.landing_totals import LandingTotals
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import specification
from pipeline.store.integrity import adopt_files
from tests.landing.random_files import random_files, state_of
from tests.landing.raw import event_line, landed_files, write_lines


def test_the_keys_of_the_index_are_those_of_the_records() -> None:
    for kind in Kind:
        spec = specification(kind, SEEDS)
        assert KEYS[spec.collection] == spec.key


@pytest.mark.parametrize("seed", range(4))
def test_an_index_that_follows_landings_gives_the_results_of_one_that_is_built_from_all_files(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw files of one home are merged, so that the index has entries of files that no longer exist."""
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    monkeypatch.setattr("pipeline.landing.landing_index._MERGED_PARTS", 2)
    followed, built = Home.open(tmp_path / "followed"), Home.open(tmp_path / "built")
    merged = 0
    for path, kind in random_files(tmp_path / "files", seed):
        for home in (followed, built):
            shutil.rmtree(built.landing_index, ignore_errors=True)
            assert land_files(home, [path], kind).problems == []
        merged += merge_raw_files(followed).files
    assert merged
    assert vars(retry_quarantined(followed)) == vars(retry_quarantined(built))
    assert state_of(followed) == state_of(built)
    with duckdb.connect() as connection:
        everything = LandingTotals.of(connection, list((followed.raw / "landed_files").glob("[0-9m]*.parquet")))
    assert landing_totals(followed) == everything


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _damage_parts(home: Home) -> None:
    for part in home.landing_index.glob("*.part"):
        _flip(part)


def _remove_parts(home: Home) -> None:
    for part in home.landing_index.glob("*.part"):
        part.unlink()


def _as_of_another_version(home: Home) -> None:
    state = home.landing_index / "state.json"
    state.write_text(state.read_text().replace('"format": "', '"format": "0 '))


def _cut_off_state(home: Home) -> None:
    (home.landing_index / "state.json").write_bytes(b"{")


DAMAGE: dict[str, Callable[[Home], None]] = {
    "removed": lambda home: shutil.rmtree(home.landing_index),
    "a state that is changed": lambda home: _flip(home.landing_index / "state.json"),
    "a state that is cut off": _cut_off_state,
    "a state of another version": _as_of_another_version,
    "changed parts": _damage_parts,
    "removed parts": _remove_parts,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_an_index_that_is_removed_or_damaged_is_built_again(tmp_path: Path, damage: Callable[[Home], None]) -> None:
    home = Home.open(tmp_path / "home")
    first = write_lines(tmp_path / "first.jsonl", [event_line("evt-1"), event_line("evt-2")])
    land_files(home, [first])
    damage(home)
    again = write_lines(
        tmp_path / "again.jsonl",
        [event_line("evt-1"), event_line("evt-2", event_type="sandbox_stopped"), event_line("evt-3", user_id="bob")],
    )
    summary = land_files(home, [again, first])
    assert [(file.accepted, file.duplicates, file.quarantined) for file in summary.files] == [(0, 1, 2), (0, 2, 0)]
    assert summary.by_reason == {"conflicting_duplicate": 1, "user_mismatch": 1}
    assert summary.files[1].is_already_landed
    assert [row["landed_sequence"] for row in landed_files(home)] == [1, 2]
    found = read_state(home)
    assert found is not None
    assert found.new_files == {}


def test_an_index_of_an_earlier_state_of_the_home_is_brought_up_to_date(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    land_files(home, [write_lines(tmp_path / "1.jsonl", [event_line("evt-1")])])
    shutil.copytree(home.landing_index, tmp_path / "old")
    land_files(home, [write_lines(tmp_path / "2.jsonl", [event_line("evt-2")])])
    # As if the second landing was killed after it wrote its raw files.
    shutil.rmtree(home.landing_index)
    shutil.copytree(tmp_path / "old", home.landing_index)
    totals = landing_totals(home)
    assert totals is not None
    assert (totals.rows, totals.accepted) == (2, 2)
    (landed,) = land_files(home, [write_lines(tmp_path / "3.jsonl", [event_line("evt-2"), event_line("evt-3")])]).files
    assert (landed.accepted, landed.duplicates) == (1, 1)
    assert [row["landed_sequence"] for row in landed_files(home)] == [1, 2, 3]


def test_files_that_are_removed_or_adopted_by_hand_are_noticed(tmp_path: Path) -> None:
    home, other = Home.open(tmp_path / "home"), Home.open(tmp_path / "other")
    first = write_lines(tmp_path / "1.jsonl", [event_line("evt-1")])
    second = write_lines(tmp_path / "2.jsonl", [event_line("evt-2", timestamp="2026-01-02T00:00:00Z")])
    land_files(home, [first])
    for file in (first, second):  # each with a row of landed_files in a file of its own
        land_files(other, [file])
    shutil.copytree(other.raw, home.raw, dirs_exist_ok=True)
    assert adopt_files(home) == 2
    assert landing_totals(home) == landing_totals(other)
    assert land_files(home, [second]).files[0].is_already_landed
    for path in [*(home.raw / "landed_files").glob("00000002-*"), *(home.raw / "usage_events").glob("event_date=2026-01-02/*")]:
        path.unlink()
    (landed,) = land_files(home, [second]).files
    assert (landed.accepted, landed.duplicates) == (1, 0)
