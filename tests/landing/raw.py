"""What landing left in a home, read as the models read it: rows count once their file's row is in landed_files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.home import Home
from pipeline.core.sql import rows_as_dictionaries
from pipeline.landing import LandedFile, land_files
from pipeline.landing.record_kinds import Kind

Row = dict[str, Any]

_WHERE_FROM = ("file_id", "file_row")


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def _read(home: Home, pattern: str, where: str = "true") -> list[Row]:
    with _database().cursor() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set file_search_path = $folder", {"folder": str(home.raw)})
        read = f"read_parquet('{pattern}', hive_partitioning = false, union_by_name = true)"
        result = connection.execute(f"from {read} where {where}")
        return rows_as_dictionaries(result)


def rows_of(home: Home, collection: str = "usage_events") -> list[Row]:
    """A collection's rows as the staging models see them."""
    where = "file_id in (select file_id from read_parquet('landed_files/*.parquet'))"
    return _read(home, f"{collection}/**/*.parquet", where)


def events(home: Home) -> list[Row]:
    """Landed events by id, without where they came from."""
    rows = sorted(rows_of(home), key=lambda row: str(row["event_id"]))
    return [{name: value for name, value in row.items() if name not in _WHERE_FROM} for row in rows]


def quarantined(home: Home) -> list[Row]:
    """Rows in quarantine now, in order of file and line."""
    superseded = {(row["superseded_file_id"], row["file_row"]) for row in rows_of(home, "retried_rows")}
    rows = [row for row in rows_of(home, "quarantine") if (row["file_id"], row["file_row"]) not in superseded]
    return sorted(rows, key=lambda row: (str(row["file_name"]), int(row["file_row"])))


def landed_files(home: Home) -> list[Row]:
    """The ledger of files, in order of landing."""
    return sorted(_read(home, "landed_files/*.parquet"), key=lambda row: int(row["landed_sequence"]))


def land(home: Home, path: Path, kind: Kind = Kind.USAGE) -> LandedFile:
    """Land one file that can be read, and check what must hold for every file."""
    summary = land_files(home, [path], kind)
    assert summary.problems == []
    (landed,) = summary.files
    assert landed.received == landed.accepted + landed.duplicates + landed.quarantined
    assert sum(landed.by_reason.values()) == landed.quarantined
    return landed


def event_line(event_id: str | None, **more: Any) -> str:
    """One event as JSON, by default a start of ada's sandbox `box`; a field with the value `...` is omitted."""
    row = {
        "event_id": event_id,
        "sandbox_id": "box",
        "user_id": "ada",
        "timestamp": "2026-01-01T10:00:00Z",
        "event_type": "sandbox_started",
        **more,
    }
    return json.dumps({name: value for name, value in row.items() if value is not ...})


def write_lines(path: Path, lines: Iterable[str | bytes]) -> Path:
    """A file of these lines."""
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path
