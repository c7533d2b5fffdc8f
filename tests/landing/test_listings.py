"""Listings of running sandboxes: their rows, and the source that reads E2B's answers. Billing rules, section 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from tests.landing.raw import land, quarantined, rows_of, write_lines

AT = "2026-09-01T10:00:00Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def _row(sandbox_ids: Any, **more: Any) -> str:
    return json.dumps({"listed_at": AT, "sandbox_ids": sandbox_ids, **more})


def test_a_listing_has_ids_in_order_each_once_and_may_be_empty(home: Home, tmp_path: Path) -> None:
    rows = [_row(["b", "a", 7, "b"]), _row([], scope="team"), _row(["a", "7", "b"])]
    landed = land(home, write_lines(tmp_path / "rows.jsonl", rows), Kind.RUNNING)
    assert (landed.accepted, landed.duplicates, landed.quarantined) == (2, 1, 0)
    assert {(row["scope"], row["sandbox_ids"], row["part"], row["parts"]) for row in rows_of(home, "running_listings")} == {
        (None, '["7","a","b"]', 1, 1),
        ("team", "[]", 1, 1),
    }


def test_a_list_with_anything_but_ids_is_refused_as_a_whole(home: Home, tmp_path: Path) -> None:
    wrong: list[Any] = ["a", {"a": 1}, [1.5], [True], [None], [["a"]], [" "], ["a\nb"], ["x" * 201]]
    landed = land(home, write_lines(tmp_path / "rows.jsonl", [_row(ids) for ids in wrong]), Kind.RUNNING)
    assert (landed.accepted, landed.by_reason) == (0, {"bad_id": len(wrong)})
    assert "write a JSON array of ids" in quarantined(home)[0]["detail"]


def test_a_part_is_one_of_its_listing_and_lands_once(home: Home, tmp_path: Path) -> None:
    rows = [
        _row(["a"], part=1, parts=2),
        _row(["b"], part=2, parts=2),
        _row(["c"], part=2, parts=2),
        _row(["c"], part=3, parts=2),
        _row(["c"], part=0, parts=2),
        json.dumps({"listed_at": AT}),
        json.dumps({"sandbox_ids": []}),
    ]
    landed = land(home, write_lines(tmp_path / "rows.jsonl", rows), Kind.RUNNING)
    assert landed.accepted == 2
    assert landed.by_reason == {"conflicting_duplicate": 1, "bad_value": 2, "missing_field": 2}


def test_csv_has_a_cell_with_json_and_parquet_a_list(home: Home, tmp_path: Path) -> None:
    cells = ["listed_at,sandbox_ids", f'{AT},"[""b"",""a""]"']
    pq.write_table(pa.table({"listed_at": [AT], "sandbox_ids": [["a", "b"]]}), tmp_path / "rows.parquet")
    assert land(home, write_lines(tmp_path / "rows.csv", cells), Kind.RUNNING).accepted == 1
    assert land(home, tmp_path / "rows.parquet", Kind.RUNNING).duplicates == 1


def _answer(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def test_e2bs_answer_is_a_listing_in_parts_at_the_instant_in_its_name_without_paused_sandboxes(
    home: Home, tmp_path: Path
) -> None:
    rows = [{"sandboxID": f"i{number:04d}", "state": "paused" if number == 7 else "running"} for number in range(1500)]
    answers = [
        _answer(tmp_path, "2026-09-03T08-15-00Z.json", rows),
        _answer(tmp_path, "2026-09-03T08-16-00Z.json", [{"sandboxID": "i0007", "state": "paused"}]),
    ]
    summary = land_files(home, answers, source=find_source(home, "e2b-running"))
    assert (summary.problems, summary.accepted, summary.quarantined) == ([], 3, 0)
    landed = sorted(rows_of(home, "running_listings"), key=lambda row: (row["listed_at"], row["part"]))
    assert [(f"{row['listed_at']:%H:%M}", row["part"], row["parts"], len(json.loads(row["sandbox_ids"]))) for row in landed] == [
        ("08:15", 1, 2, 999),
        ("08:15", 2, 2, 500),
        ("08:16", 1, 1, 0),
    ]


@pytest.mark.parametrize(("row", "reason"), [('{"sandboxID": "b", "x": 1, "x": 2}', "unreadable"), ('{"other": "b"}', "bad_id")])
def test_e2bs_answer_with_a_row_that_cannot_be_read_is_no_listing(row: str, reason: str, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "2026-09-03T08-15-00Z.json"
    path.write_text(f'[{{"sandboxID": "a"}}, {row}, {{"sandboxID": "c"}}]')
    summary = land_files(home, [path], source=find_source(home, "e2b-running"))
    assert summary.accepted == 0
    assert reason in summary.by_reason


@pytest.mark.parametrize("rows", [["a", "b", None], [None, "b", "c"], ["a", None]])
def test_e2bs_answer_with_an_unreadable_row_at_its_start_or_end_is_no_listing(
    rows: list[str | None], home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "2026-09-03T08-15-00Z.json"
    texts = ['{"sandboxID": "x", "x": 1, "x": 2}' if row is None else json.dumps({"sandboxID": row}) for row in rows]
    path.write_text(f"[{', '.join(texts)}]")
    summary = land_files(home, [path], source=find_source(home, "e2b-running"))
    assert summary.accepted == 0
    assert summary.problems or summary.quarantined
    assert rows_of(home, "running_listings") == []
