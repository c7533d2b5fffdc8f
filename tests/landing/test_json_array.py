"""A JSON array in one document lands as its elements would on lines of their own."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.core.home import Home
from pipeline.landing import LandingSummary, json_array, land_files
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import event_line, rows_of

ROWS = [
    event_line("e1", metadata={"note": 'a "b", [c]\n}'}),
    event_line("e2", vcpu_count=0.1).replace("0.1", "0.100000000000000000000"),
    event_line("e3").replace('"box"', '"bo\\\\"'),
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def land(home: Home, path: Path, text: str) -> LandingSummary:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return land_files(home, [path], Kind.USAGE)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
@pytest.mark.parametrize(
    "text", ["[" + ",".join(ROWS) + "]", "\ufeff \n[\n  " + ",\n  ".join(ROWS).replace("{", "{\n") + "\n]\n"]
)
def test_each_element_is_a_row_numbered_by_its_place(
    name: str, block: int, text: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.landing.json_array._BLOCK_BYTES", block)
    assert land(home, tmp_path / name, text).problems == []
    landed = {str(row["event_id"]): row for row in rows_of(home, "usage_events")}
    assert {name: row["file_row"] for name, row in landed.items()} == {"e1": 1, "e2": 2, "e3": 3}
    assert (landed["e2"]["vcpu_count"], landed["e3"]["sandbox_id"]) == (Decimal("0.1"), "bo\\")


def test_a_bad_element_is_quarantined_and_the_others_land(home: Home, tmp_path: Path) -> None:
    summary = land(home, tmp_path / "a.json", f'[{event_line("a")}, 7, {{"event_id": oops}}, {event_line("d")}, ["x", {{}}]]')
    assert (summary.accepted, summary.by_reason) == (2, {"unreadable": 3})
    assert sorted((row["file_row"], row["raw_row"]) for row in rows_of(home, "quarantine")) == [
        (2, "7"),
        (3, '{"event_id": oops}'),
        (5, '["x", {}]'),
    ]


def test_an_element_that_is_too_long_is_quarantined_and_the_others_land(home: Home, tmp_path: Path) -> None:
    summary = land(home, tmp_path / "a.json", f"[{event_line('a')}, {event_line('long', note='x' * 70_000)}, {event_line('c')}]")
    assert (summary.accepted, summary.by_reason) == (2, {"over_limit": 1})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" + ",".join(ROWS), "it ends in element 3"),
        ("[" + ",".join(ROWS) + ",", "it ends in element 4"),
        ("[" + ROWS[0] + "] {}", "something follows the array"),
        ("[" + ROWS[0] + ', {"event_id": "' + "x" * (9 << 20), "element 2 does not end within 8,388,608 bytes"),
    ],
)
def test_an_array_that_is_not_whole_is_refused(text: str, why: str, home: Home, tmp_path: Path) -> None:
    summary = land(home, tmp_path / "a.json", text)
    assert [why in str(problem) for problem in summary.problems] == [True], summary.problems
    assert summary.accepted == 0


def test_blanks_after_the_array_are_not_collected_in_memory(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small compressed file can hold gigabytes of them."""
    longest = 0
    split = json_array._split

    def watched(text: bytes, is_over: bool) -> tuple[list[bytes], bytes, bool]:
        nonlocal longest
        longest = max(longest, len(text))
        return split(text, is_over)

    monkeypatch.setattr(json_array, "_split", watched)
    monkeypatch.setattr(json_array, "_BLOCK_BYTES", 1000)
    assert land(home, tmp_path / "a.json", f"[{ROWS[0]}]" + " " * 100_000).problems == []
    assert longest < 5000
    assert len(rows_of(home, "usage_events")) == 1
