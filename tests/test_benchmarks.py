"""The benchmarks measure what they say: the peers do the same job, and each day's events are a day's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from benchmarks import usage


@pytest.mark.parametrize("shape", ["lifecycle", "heartbeat"])
def test_days_are_copies_with_ids_and_sandboxes_of_their_own(shape: str, tmp_path: Path) -> None:
    for day in (2, 0, 1, 2):
        usage.generate_day(tmp_path, shape, day, 9000)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            "select cast(event_at as date) as day, count(*), count(distinct event_id), min(file_id) = max(file_id),"
            f" sum(epoch_us(event_at) % 86400000000) from read_parquet('{tmp_path}/raw/usage_events/**/*.parquet',"
            " hive_partitioning = false) group by all order by all"
        ).fetchall()
        events, sandboxes = connection.execute(
            "select count(distinct event_id), count(distinct sandbox_id)"
            f" from read_parquet('{tmp_path}/raw/usage_events/**/*.parquet', hive_partitioning = false)"
        ).fetchall()[0]
    assert [(row[1:4]) for row in found] == [(9000, 9000, True)] * 3
    assert len({row[4] for row in found}) == 1
    assert (events, sandboxes) == (27000, 27000 // usage.EVENTS_PER_SESSION[shape])


def test_the_same_sums_come_out_with_pandas(tmp_path: Path, parsed_project: Path) -> None:
    folder = tmp_path / "lifecycle-3000-2"
    shutil.copytree(parsed_project, folder / ".dbt" / "target")
    for day in range(2):
        usage.generate_day(folder, "lifecycle", day, 1500)
    for step in ("scan", "build", "scan_last_day"):
        assert float(usage.STEPS[step](folder).split()[0]) > 0
    ours = usage.STEPS["billhouse_usage"](folder).partition(" ")[2]
    assert usage.STEPS["pandas"](folder).partition(" ")[2] == ours
