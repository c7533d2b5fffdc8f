"""Rows in quarantine are settled by a person: recorded for good, once, and no longer waiting."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.home import Home
from pipeline.landing import land_files, retry_quarantined
from pipeline.landing.quarantine_alerts import raise_quarantine_alerts
from pipeline.landing.quarantine_report import reasons_in_quarantine, rows_in_quarantine, settled_rows
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.settlement import settle_rows
from pipeline.ledger.verify import verify_ledger
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import alert_states
from pipeline.store.quarantine_settlements import SETTLEMENTS
from pipeline.warehouse.reports import read_status
from tests.landing.raw import event_line, events, land, quarantined, write_lines

WHO: dict[str, Any] = {"by": "ann", "why": "sent again in b.jsonl"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Of file a.jsonl, lines 1 and 2 are in quarantine for their number, line 3 for its instant."""
    home = Home.open(tmp_path / "home")
    lines = [
        event_line("a", vcpu_count=-1),
        event_line("b", vcpu_count=-2),
        event_line("c", timestamp="1767261600").replace('"1767261600"', "1767261600"),
        event_line("d"),
    ]
    land(home, write_lines(tmp_path / "a.jsonl", lines))
    return home


def waiting(home: Home) -> list[int]:
    return [row["file_row"] for row in rows_in_quarantine(home, limit=10)]


def test_a_settled_row_waits_no_longer_and_stays_with_who_when_and_why(home: Home) -> None:
    before = quarantined(home)
    result = settle_rows(home, file="a.jsonl", file_rows=[2], **WHO)
    assert (result.rows, result.by_reason, result.already_settled) == (1, {"bad_number": 1}, 0)
    assert waiting(home) == [1, 3]
    assert [(row["reason"], row["rows"]) for row in reasons_in_quarantine(home)] == [("bad_number", 1), ("bad_timestamp", 1)]
    (settled,) = rows_in_quarantine(home, is_settled=True, limit=10)
    assert (settled["file_row"], settled["settled_by"], settled["settlement_reason"]) == (2, "ann", "sent again in b.jsonl")
    assert abs((datetime.now(UTC) - settled["settled_at"]).total_seconds()) < 600
    assert quarantined(home) == before, "nothing is deleted"
    counts = read_status(home)["landed"]
    assert (counts["received"], counts["accepted"], counts["quarantined"], counts["settled"]) == (4, 1, 2, 1)
    metrics = write_health(home).read_text()
    assert 'billhouse_landed_rows{outcome="quarantined"} 2.0' in metrics
    assert 'billhouse_landed_rows{outcome="settled"} 1.0' in metrics
    assert "billhouse_quarantined_ratio 0.5" in metrics
    assert verify_ledger(home).problems == []


def test_a_row_is_settled_once_and_the_first_decision_remains(home: Home) -> None:
    settle_rows(home, file="a.jsonl", file_rows=[1], **WHO)
    again = settle_rows(home, reason="bad_number", by="bob", why="all of them")
    assert (again.by_reason, again.already_settled) == ({"bad_number": 1}, 1)
    third = settle_rows(home, file="a.jsonl", by="eve", why="the rest")
    assert (third.by_reason, third.already_settled) == ({"bad_timestamp": 1}, 2)
    files = len(list(SETTLEMENTS.path(home).glob("2*.parquet")))
    nothing = settle_rows(home, file="a.jsonl", by="eve", why="once more")
    assert (nothing.rows, nothing.already_settled) == (0, 3)
    assert len(list(SETTLEMENTS.path(home).glob("2*.parquet"))) == files, "nothing is written where nothing is settled"
    rows = {row["file_row"]: row["settled_by"] for row in SETTLEMENTS.read(home).to_pylist()}
    assert rows == {1: "ann", 2: "bob", 3: "eve"}
    assert SETTLEMENTS.read(home).num_rows == 3
    assert waiting(home) == []


def test_rows_are_chosen_by_file_line_and_reason_together(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    land(home, write_lines(other / "a.jsonl", [event_line("e", vcpu_count=-3)]))
    for lines in ([1], []):
        with pytest.raises(
            WrongUsageError, match=r"2 files with such rows match a\.jsonl\. .* by its id: [0-9a-f]{8}, [0-9a-f]{8}$"
        ):
            settle_rows(home, file="a.jsonl", file_rows=lines, **WHO)
    assert waiting(home) == [1, 2, 3, 1]
    with pytest.raises(BillhouseError, match=r"Line 4 of a\.jsonl is not in quarantine"):
        settle_rows(home, file="a.jsonl", reason="bad_timestamp", file_rows=[3, 4], **WHO)
    assert settle_rows(home, file="a.jsonl", reason="bad_timestamp", file_rows=[3], **WHO).rows == 1
    first = rows_in_quarantine(home, limit=1)[0]["file_id"]
    assert settle_rows(home, file=first[:10], **WHO).rows == 2
    assert [(row["file_row"], row["file_id"] == first) for row in rows_in_quarantine(home, limit=9)] == [(1, False)]


@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        ({"why": " "}, "does not say why"),
        ({"by": " "}, "does not say who"),
        ({"by": "automatic: rule"}, "cannot begin with"),
        ({"why": "two\nlines"}, "line end"),
        ({"why": "x" * 2_001}, "2,001 characters"),
        ({"file": None}, "No rows are chosen"),
        ({"file": None, "reason": "bad_number", "file_rows": [1]}, "of which file"),
        ({"file": ""}, "--file is empty"),
        ({"reason": ""}, "--reason is empty"),
        ({"file": "", "reason": "bad_number"}, "--file is empty"),
        ({"reason": "unreadable"}, "Such rows are not in quarantine"),
        ({"file": "\udcff"}, "Such rows are not in quarantine"),
        ({"file_rows": [4]}, "Such rows are not in quarantine"),
    ],
)
def test_an_unclear_decision_settles_nothing(chosen: dict[str, Any], error: str, home: Home) -> None:
    with pytest.raises(BillhouseError, match=error):
        settle_rows(home, **{"file": "a.jsonl", **WHO, **chosen})
    assert waiting(home) == [1, 2, 3]


def test_the_start_of_an_id_has_eight_characters_and_is_of_one_file(home: Home, tmp_path: Path) -> None:
    file_id = rows_in_quarantine(home, limit=1)[0]["file_id"]
    with pytest.raises(WrongUsageError, match="at least 8 characters"):
        settle_rows(home, file=file_id[:7], **WHO)
    assert waiting(home) == [1, 2, 3]
    assert settle_rows(home, file=file_id[:8], file_rows=[1], **WHO).rows == 1
    other = write_lines(tmp_path / f"{file_id[:8]}.jsonl", [event_line("e", vcpu_count=-3)])
    land(home, other)
    assert [file.file_name for file in settle_rows(home, file=file_id, **WHO).files] == ["a.jsonl"]
    assert [file.file_name for file in settle_rows(home, file=other.name, **WHO).files] == [other.name]


def test_the_result_names_the_files_and_lines_that_were_settled(home: Home, tmp_path: Path) -> None:
    lines = [event_line(f"x{number}", vcpu_count=-1 if number in {2, 3, 5} else 1) for number in range(1, 7)]
    land(home, write_lines(tmp_path / "b.jsonl", lines))
    settle_rows(home, file="a.jsonl", file_rows=[1], **WHO)
    result = settle_rows(home, reason="bad_number", **WHO)
    assert [(file.file_name, file.rows, file.lines) for file in result.files] == [("a.jsonl", 1, "2"), ("b.jsonl", 3, "2-3, 5")]
    assert result.as_dict()["files"][1] == {
        "file_id": rows_in_quarantine(home, is_settled=True, file="b.jsonl", limit=1)[0]["file_id"],
        "file_name": "b.jsonl",
        "rows": 3,
        "lines": "2-3, 5",
    }
    assert settle_rows(home, reason="bad_number", **WHO).files == ()


def test_checking_all_rows_or_landing_their_file_again_leaves_settled_ones_out_and_naming_their_file_does_not(
    home: Home, tmp_path: Path
) -> None:
    settle_rows(home, reason="bad_timestamp", **WHO)
    everything = retry_quarantined(home, timestamps=TimestampUnit.SECONDS)
    assert [(file.received, file.accepted) for file in everything.files] == [(2, 0)]
    assert len(events(home)) == 1, "the settled row was corrected in another file: it would be billed twice"
    once_more = land_files(home, [tmp_path / "a.jsonl"], timestamps=TimestampUnit.SECONDS).files[0]
    assert (once_more.accepted, once_more.duplicates, once_more.quarantined) == (0, 2, 2)
    assert len(events(home)) == 1
    named = retry_quarantined(home, ["a.jsonl"], timestamps=TimestampUnit.SECONDS)
    assert [(file.received, file.accepted) for file in named.files] == [(3, 1)]
    assert len(events(home)) == 2
    assert rows_in_quarantine(home, is_settled=True, limit=9) == [], "it has landed"
    assert settled_rows(home) == settled_rows(home, Kind.USAGE) == 0
    assert SETTLEMENTS.read(home).num_rows == 1
    again = land_files(home, [tmp_path / "a.jsonl"]).files[0]
    assert (again.accepted, again.duplicates, again.quarantined) == (0, 2, 2)


def test_a_settled_row_that_is_checked_again_stays_settled_with_its_new_reason(home: Home) -> None:
    settle_rows(home, file="a.jsonl", file_rows=[3], **WHO)
    retry_quarantined(home, ["a.jsonl"], timestamps=TimestampUnit.SECONDS, landed_at=datetime(2025, 6, 1, tzinfo=UTC))
    (row,) = rows_in_quarantine(home, is_settled=True, limit=9)
    assert (row["file_row"], row["settled_by"], row["reason"]) == (3, "ann", "future_timestamp")
    assert waiting(home) == [1, 2]


def test_a_file_whose_rows_are_settled_raises_no_alert_when_it_lands_again(home: Home, tmp_path: Path) -> None:
    settle_rows(home, file="a.jsonl", **WHO)
    again = land_files(home, [tmp_path / "a.jsonl"])
    assert (again.accepted, again.duplicates, again.quarantined) == (0, again.received, 0)
    assert raise_quarantine_alerts(home, again, []) is None
    assert list(alert_states(home)) == []
    land_files(home, [write_lines(tmp_path / "b.jsonl", [event_line("z", vcpu_count=-9)])])
    assert raise_quarantine_alerts(home, land_files(home, [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]), []) is None
    assert [alert["subject"][:29] for alert in alert_states(home)] == ["Rows in quarantine of b.jsonl"]
