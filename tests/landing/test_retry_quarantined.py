"""Quarantined rows are checked again: valid rows land once, and the others stay with their reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files, raw_files, retry, retry_quarantined
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.verify_events import event_problems
from tests.landing.raw import event_line, events, land, landed_files, quarantined, rows_of, write_lines
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT_ROOT / "seeds", tmp_path / "seeds")
    return tmp_path / "seeds"


PLANS = ["customer_id,plan_id,effective_at", "ada,team,2026-09-20T00:00:00Z", "bob,pro,2026-09-20T00:00:00Z", "eve,gold,soon"]


def _add_plan(seeds: Path) -> None:
    lines = (seeds / "plans.csv").read_text().splitlines()
    (pro,) = (line for line in lines if line.startswith("pro,"))
    (seeds / "plans.csv").write_text("\n".join([*lines, pro.replace("pro,", "team,", 1)]) + "\n")


def _add_up(home: Home) -> None:
    """Check the counts of every landing, and of the quarantine."""
    files = landed_files(home)
    assert all(row["received_rows"] == row["accepted_rows"] + row["duplicate_rows"] + row["quarantined_rows"] for row in files)
    stored, retried = rows_of(home, "quarantine"), rows_of(home, "retried_rows")
    assert sum(row["quarantined_rows"] for row in files) == len(stored)
    assert sum(row["received_rows"] for row in files if row["retried_file_id"]) == len(retried)
    superseded = {(row["superseded_file_id"], row["file_row"]) for row in retried}
    assert len(superseded) == len(retried) and superseded <= {(row["file_id"], row["file_row"]) for row in stored}
    assert list(event_problems(home)) == []


@pytest.mark.parametrize("with_file", [True, False])
def test_a_plan_that_was_unknown_lands_once_the_price_book_has_it(
    with_file: bool, home: Home, seeds: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "plans.csv", PLANS)
    first = land_files(home, [path], Kind.SUBSCRIPTIONS, seeds=seeds).files[0]
    assert (first.accepted, first.by_reason) == (1, {"bad_timestamp": 1, "unknown_plan": 1})
    _add_plan(seeds)
    for accepted in (1, 0):
        summary = (
            land_files(home, [path], Kind.SUBSCRIPTIONS, seeds=seeds)
            if with_file
            else retry_quarantined(home, ["plans.csv"], seeds=seeds)
        )
        (again,) = summary.files
        assert (again.accepted, again.by_reason) == (accepted, {"bad_timestamp": 1})
        assert again.received == (3 if with_file else 1 + accepted) == again.accepted + again.duplicates + again.quarantined
    landed = {row["customer_id"]: (row["plan_id"], row["file_row"]) for row in rows_of(home, "subscriptions")}
    assert landed == {"ada": ("team", 2), "bob": ("pro", 3)}
    assert [row["file_row"] for row in quarantined(home)] == [4]
    assert len(landed_files(home)) == 2
    _add_up(home)


def test_a_row_that_is_still_invalid_stays_in_quarantine_and_is_no_duplicate(home: Home, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_line("a", user_id=True)])
    for _ in range(2):
        summary = land_files(home, [path])
        assert (summary.accepted, summary.duplicates, summary.by_reason) == (0, 0, {"bad_id": 1})
    assert len(landed_files(home)) == 1, "nothing changed, so that nothing was written"


def test_a_row_whose_time_has_come_is_accepted_or_contradicts_what_landed_since(home: Home, tmp_path: Path) -> None:
    """It is checked as if it landed now: another row with its id landed in between, and is not replaced."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    lines = [event_line(name, timestamp="2026-03-01T00:00:00Z") for name in ("a", "b")]
    land_files(home, [write_lines(tmp_path / "a.jsonl", lines)], landed_at=early)
    land_files(home, [write_lines(tmp_path / "b.jsonl", [event_line("b", vcpu_count=3)])], landed_at=early)
    assert [row["reason"] for row in quarantined(home)] == ["future_timestamp"] * 2
    (again,) = retry_quarantined(home, landed_at=late).files
    assert (again.accepted, again.by_reason) == (1, {"conflicting_duplicate": 1})
    assert [row["event_id"] for row in events(home)] == ["a", "b"]
    (still,) = quarantined(home)
    assert (still["file_name"], still["file_row"], still["reason"]) == ("a.jsonl", 2, "conflicting_duplicate")
    _add_up(home)


@pytest.mark.parametrize("place", range(4))
def test_a_kill_at_any_write_loses_nothing_and_counts_nothing_twice(
    place: int, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writes are: accepted rows, the quarantine, the superseded rows, and the row in landed_files, which is the commit."""
    lines = [event_line("a").replace('"2026-01-01T10:00:00Z"', "1767261600"), event_line("b", timestamp=5e300)]
    land(home, write_lines(tmp_path / "a.jsonl", lines))
    done = 0

    def dying(write: Callable[..., None]) -> Callable[..., None]:
        def killed(*args: object, **options: object) -> None:
            nonlocal done
            if done == place:
                raise KeyboardInterrupt
            done += 1
            write(*args, **options)

        return killed

    with monkeypatch.context() as patched:
        for module, name in ((raw_files, "copy_rows"), (retry, "copy_rows"), (retry, "write_landed_file")):
            patched.setattr(module, name, dying(getattr(module, name)))
        with pytest.raises(KeyboardInterrupt):
            retry_quarantined(home, timestamps=TimestampUnit.SECONDS)
    assert rows_of(home) == [] and len(quarantined(home)) == 2
    assert retry_quarantined(home, timestamps=TimestampUnit.SECONDS).accepted == 1
    assert [row["event_id"] for row in events(home)] == ["a"]
    _add_up(home)


def test_quarantined_rows_of_parquet_are_checked_from_their_stored_text(home: Home, tmp_path: Path) -> None:
    """0.1 as a float of 32 bits is 0.1, before and after; a column may be called `resources.memory_gb`."""
    event = json.loads(event_line("a")) | {"timestamp": 1767261600}
    table = pa.table({name: [value] for name, value in event.items()} | {"vcpu_count": pa.array([0.1], pa.float32())})
    table = table.append_column("resources.memory_gb", pa.array([b"0.5"])).append_column("none", pa.nulls(1))
    pq.write_table(table, tmp_path / "a.parquet")
    assert land(home, tmp_path / "a.parquet").by_reason == {"bad_timestamp": 1}
    assert retry_quarantined(home, timestamps=TimestampUnit.SECONDS).accepted == 1
    (row,) = events(home)
    assert (str(row["vcpu_count"]), str(row["memory_gb"])) == ("0.100000", "0.500000")


def test_a_row_that_was_no_text_stays_and_is_not_read_from_its_escapes(home: Home, tmp_path: Path) -> None:
    header = "sandbox_id,user_id,timestamp,event_type"
    path = write_lines(tmp_path / "a.csv", [header, b"caf\xe9,ada,2026-01-01T10:00:00Z,sandbox_started"])
    assert land(home, path).by_reason == {"unreadable": 1}
    assert retry_quarantined(home).by_reason == {"unreadable": 1}
    assert rows_of(home) == []


def test_the_command_checks_the_named_files_again_and_reports_unknown_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = write_lines(tmp_path / "a.jsonl", [event_line("a").replace('"2026-01-01T10:00:00Z"', "1767261600"), event_line("b")])
    assert billhouse(home, "land", path).code == 0, "half of the rows were accepted"
    path.unlink()
    again = billhouse(home, "land", "--again", "--timestamps", "seconds", "--json", "a.jsonl")
    assert (again.code, again.json["received"], again.json["accepted"]) == (0, 1, 1)
    assert billhouse(home, "land", "--again", "a.jsonl").code == 1
    status = billhouse(home, "status", "--json").json["landed"]
    assert (status["files"], status["received"], status["accepted"], status["quarantined"]) == (1, 2, 2, 0)


def test_a_mostly_rejected_file_makes_the_command_fail_after_all_files_have_landed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bad = [event_line(str(place), vcpu_count=-1) for place in range(2)]
    mostly = write_lines(tmp_path / "mostly.jsonl", [*bad, event_line("a")])
    good = write_lines(tmp_path / "good.jsonl", [event_line("b")])
    outcome = billhouse(home, "land", "--json", mostly, good)
    assert (outcome.code, outcome.json["accepted"], outcome.json["mostly_refused"]) == (1, 2, ["mostly.jsonl"])
    said = " ".join(outcome.stderr.split())
    assert "2 of 3 rows are in quarantine" in said and "bad_number, line 1" in said


def test_duplicates_of_accepted_rows_count_as_good_and_the_share_is_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    good = [event_line(str(place)) for place in range(3)]
    assert billhouse(home, "land", write_lines(tmp_path / "a.jsonl", good)).code == 0
    path = write_lines(tmp_path / "b.jsonl", [*good, event_line("x", vcpu_count=-1)])
    assert billhouse(home, "land", path).code == 0
    monkeypatch.setenv("BILLHOUSE_LAND_MIN_ACCEPTED_SHARE", "0.9")
    assert billhouse(home, "land", path).code == 1


def test_the_same_files_leave_the_same_quarantine_in_every_home(tmp_path: Path) -> None:
    """To the byte: of the report `quarantined_events`, only `landed_at` depends on when the files land."""
    lines = [event_line(f"e{number}", timestamp="no" if number % 2 else "2026-01-01T10:00:00Z") for number in range(5_000)]
    path = write_lines(tmp_path / "a.jsonl", [*lines, "{", lines[0].replace("ada", "bob")])
    written = []
    for name in ("first", "second"):
        home = Home.open(tmp_path / name)
        assert land_files(home, [path]).quarantined == 2502
        written.append({file.name: file.read_bytes() for file in (home.raw / "quarantine").glob("*.parquet")})
    assert written[0] == written[1] != {}
