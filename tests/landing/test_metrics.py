"""Samples of sandbox use land like events: checked, quarantined, once, and atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.landing import LandedFile, land_files
from pipeline.landing import land as landing
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import land, landed_files, quarantined, rows_of, write_lines


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def sample(at: str = "2026-09-01T10:00:05Z", **more: Any) -> dict[str, Any]:
    return {"sandbox_id": "box", "timestamp": at, "cpu_used_pct": 20.33, "mem_bytes": 32681984, **more}


def land_samples(home: Home, *rows: Mapping[str, Any] | str, name: str = "samples") -> LandedFile:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return land(home, write_lines(home.path.parent / f"{name}.jsonl", lines), Kind.METRICS)


def measured(home: Home) -> list[tuple[Any, ...]]:
    rows = sorted(rows_of(home, "sandbox_metrics"), key=lambda row: (row["sampled_at"], row["file_row"]))
    return [(row["sandbox_id"], row["sampled_at"], row["cpu_used_pct"], row["mem_bytes"]) for row in rows]


def test_a_sample_lands_with_the_field_names_of_the_api_and_with_ours(home: Home) -> None:
    """The fields of E2B's API with the sandbox id added; its other fields are ignored."""
    theirs = {
        "sandboxID": "box",
        "timestamp": "2026-09-01T10:00:10Z",
        "timestampUnix": 1788256810,
        "cpuCount": 2,
        "cpuUsedPct": 20.33,
        "memUsed": 32681984,
        "memTotal": 507592704,
    }
    assert land_samples(home, sample(), theirs).accepted == 2
    first = datetime(2026, 9, 1, 10, 0, 5, tzinfo=UTC)
    assert measured(home) == [("box", first + timedelta(seconds=later), Decimal("20.33"), 32681984) for later in (0, 5)]


def test_samples_land_from_csv_and_parquet_too(home: Home, tmp_path: Path) -> None:
    header = "timestamp,sandbox_id,mem_bytes,cpu_used_pct"
    path = write_lines(tmp_path / "a.csv", [header, "2026-09-01T10:00:05Z,box,32681984,20.33"])
    assert land(home, path, Kind.METRICS).accepted == 1
    table = pa.table(
        {
            "sandbox_id": ["box", "box"],
            "timestamp": pa.array([datetime(2026, 9, 1, 10, 0, second, tzinfo=UTC) for second in (5, 10)]),
            "cpu_used_pct": pa.array([20.33, 0.2], pa.float64()),
            "mem_bytes": pa.array([32681984.0, 33316864.0], pa.float64()),
        }
    )
    pq.write_table(table, tmp_path / "b.parquet")
    landed = land(home, tmp_path / "b.parquet", Kind.METRICS)
    assert (landed.accepted, landed.duplicates) == (1, 1)
    assert measured(home)[-1][2:] == (Decimal("0.2"), 33316864)


def test_a_reading_is_rounded_to_six_decimals(home: Home) -> None:
    """17.85 as a 32-bit float is accepted, and rounded."""
    land_samples(home, sample(cpu_used_pct=17.850000381469727), sample("2026-09-01T10:01:00Z", cpu_used_pct="1e-9"))
    assert [row[2] for row in measured(home)] == [Decimal("17.85"), Decimal(0)]


def test_bad_samples_are_quarantined_with_their_reason(home: Home) -> None:
    rows: list[tuple[Mapping[str, Any] | str, str]] = [
        (sample(sandbox_id=""), "bad_id"),
        (sample(timestamp=None), "missing_field"),
        (sample(cpu_used_pct=None), "missing_field"),
        (sample(mem_bytes=None), "missing_field"),
        (sample("1788256805"), "bad_timestamp"),
        (sample("2126-09-01T10:00:05Z"), "future_timestamp"),
        (sample(cpu_used_pct=100.01), "bad_number"),
        (sample(cpu_used_pct=-1), "bad_number"),
        (sample(cpu_used_pct="NaN"), "bad_number"),
        (sample(mem_bytes=1.5), "bad_number"),
        (sample(mem_bytes=-1), "bad_number"),
        (sample(mem_bytes=2**50 + 1), "bad_number"),
        (sample(mem_bytes="1_000"), "bad_number"),
        ("box,2026", "unreadable"),
    ]
    landed = land_samples(home, *(row for row, _ in rows), sample(cpu_used_pct=100, mem_bytes=2**50))
    assert (landed.accepted, landed.quarantined) == (1, len(rows))
    found = quarantined(home)
    assert [(row["file_row"], row["reason"], row["kind"]) for row in found] == [
        (line, reason, "metrics") for line, (_, reason) in enumerate(rows, start=1)
    ]
    assert all(row["detail"] for row in found)


def test_the_same_sample_again_is_a_duplicate_and_another_corrects_it(home: Home) -> None:
    landed = land_samples(home, sample(), sample(cpu_used_pct="20.330"), sample("2026-09-01T12:00:05+02:00"), name="a")
    assert (landed.accepted, landed.duplicates) == (1, 2)
    corrected = land_samples(home, sample(cpu_used_pct=30), sample(sandbox_id="crate"), name="b")
    assert (corrected.accepted, corrected.duplicates) == (2, 0)
    taken_back = land_samples(home, sample(), name="c")
    assert (taken_back.accepted, taken_back.duplicates) == (1, 0)
    assert sorted(row[2] for row in measured(home) if row[0] == "box") == [Decimal("20.33"), Decimal("20.33"), Decimal(30)]


def test_samples_lie_by_day_and_by_sandbox(home: Home) -> None:
    rows = [sample(f"2026-09-0{day}T23:59:59.999999Z", sandbox_id=sandbox) for day in (2, 1) for sandbox in ("b", "a")]
    landed = land_samples(home, *rows)
    files = sorted((home.raw / "sandbox_metrics").glob("sample_date=*/*.parquet"))
    assert [path.relative_to(home.raw / "sandbox_metrics").as_posix() for path in files] == [
        f"sample_date=2026-09-0{day}/{landed.file_id}.parquet" for day in (1, 2)
    ]
    assert pq.ParquetFile(files[0]).read()["sandbox_id"].to_pylist() == ["a", "b"]


def test_a_landing_that_dies_before_its_commit_leaves_nothing_and_the_next_lands_all(home: Home, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(sample(f"2026-09-0{day}T10:00:00Z")) for day in (1, 2)])
    with patch.object(landing, "write_landed_file", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        land_files(home, [path], Kind.METRICS)
    assert list((home.raw / "sandbox_metrics").glob("*/*.parquet")) == []
    assert measured(home) == []
    assert land(home, path, Kind.METRICS).accepted == 2
    assert land(home, path, Kind.METRICS).is_already_landed
    assert len(measured(home)) == 2
    assert [row["accepted_rows"] for row in landed_files(home)] == [2]
