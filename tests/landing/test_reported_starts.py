"""A stop or a pause reports when its session started. docs/reference/input-files.md."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipeline.core.home import Home
from tests.landing.raw import events, land, quarantined

COLUMNS = ("event_id", "sandbox_id", "user_id", "timestamp", "event_type", "started_at", "duration_seconds")
ROWS = [
    ("1", "a", "ada", "2026-09-01T10:30:00Z", "sandbox_stopped", "2026-09-01T10:00:00.123456789Z", None),
    ("2", "b", "ada", "2026-09-01T10:30:00Z", "SandboxPaused", None, "1800.1234567"),
    ("3", "c", "ada", "2026-09-01T10:30:00Z", "sandbox_started", "0001-01-01T00:00:00Z", "-1"),
    ("4", "d", "ada", "2026-09-01T10:30:00Z", "sandbox_stopped", "yesterday", None),
    ("5", "e", "ada", "2026-09-01T10:30:00Z", "sandbox_stopped", None, "-1"),
    ("6", "f", "ada", "2026-09-01T10:30:00Z", "sandbox_stopped", "2026-09-01T10:30:00.25Z", None),
]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_only_stops_and_pauses_report_a_start_and_no_other_event_is_refused_for_one(format: str, tmp_path: Path) -> None:
    home, path = Home.open(tmp_path / "home"), tmp_path / f"rows.{format}"
    with duckdb.connect() as connection:
        connection.execute(f"create table rows ({', '.join(f'{column} varchar' for column in COLUMNS)})")
        connection.executemany(f"insert into rows values ({', '.join('?' for _ in COLUMNS)})", ROWS)
        connection.execute(f"copy rows to '{path}' (format {'json' if format == 'jsonl' else format})")
    land(home, path)
    found = {row["event_id"]: (row["started_at"], row["duration_seconds"]) for row in events(home)}
    assert found == {
        "1": (datetime(2026, 9, 1, 10, 0, 0, 123456, UTC), None),
        "2": (None, Decimal("1800.123457")),
        "3": (None, None),
        "6": (datetime(2026, 9, 1, 10, 30, 0, 250000, UTC), None),
    }
    assert [row["reason"] for row in quarantined(home)] == ["bad_timestamp", "bad_number"]
