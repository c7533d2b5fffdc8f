"""A large file lands in little memory, lies as the queries want it, and is for its owner's eyes alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from pipeline.core.home import PROJECT_ROOT, Home
from tests.landing.raw import event_line, land, landed_files, quarantined, rows_of, write_lines

ROWS = 400_000
LIMIT_MB = 1200

_LAND_AND_MEASURE = """
import resource, sys
from pathlib import Path
from pipeline.core.home import Home
from pipeline.landing import land_files

(landed,) = land_files(Home.open(sys.argv[1]), [Path(sys.argv[2])]).files
status = Path("/proc/self/status")
if status.exists():  # of this program alone: what it was started from does not count
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(landed.received, landed.accepted, landed.duplicates, landed.quarantined, peak // 1024)
"""


def test_a_large_file_lands_in_little_memory_and_lies_sorted(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    duckdb.execute(f"""
        copy (
            select
                'evt-' || (row_number % 390000) as event_id,
                'sandbox-' || hash(event_id) % 5000 as sandbox_id,
                'user-' || hash(sandbox_id) % 300 as user_id,
                timestamp '2026-01-01' + to_seconds((hash(event_id) % 604800)::bigint) as instant,
                strftime(instant, '%Y-%m-%dT%H:%M:%S.%fZ') as timestamp,
                ['SandboxStarted', 'resources_updated', 'sandbox_stopped'][1 + (hash(event_id) % 3)::int] as event_type,
                case when row_number % 1000 = 7 then -1 else hash(event_id) % 64 / 2 end as vcpus,
                {{vcpu_count: vcpus, memory_gb: 0.5}} as resources,
                {{region: 'eu-west-1', host: md5(event_id), note: repeat('x', 60)}} as metadata
            from range({ROWS}) as rows(row_number)
        ) to '{path}' (format json)""")
    home = Home.open(tmp_path / "home")
    measured = subprocess.run(
        [sys.executable, "-c", _LAND_AND_MEASURE, home.path, path], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True
    )
    received, accepted, duplicates, bad, megabytes = map(int, measured.stdout.splitlines()[-1].split())
    assert received == ROWS == accepted + duplicates + bad
    assert (accepted, duplicates, bad) == (389_610, 9_990, 400)
    assert megabytes < LIMIT_MB
    assert list((home.path / ".tmp").iterdir()) == []
    assert [path for path in home.raw.rglob("*") if path.is_file() and path.suffix != ".parquet"] == []

    paths = list(home.raw.glob("usage_events/event_date=*/*.parquet"))
    assert len(paths) == 7
    for path in paths:
        table = pq.read_table(path, columns=["sandbox_id", "event_at"], partitioning=None)
        keys = list(zip(table["sandbox_id"].to_pylist(), table["event_at"].cast("int64").to_pylist(), strict=True))
        assert keys == sorted(keys)


def test_what_lands_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        home = Home.open(tmp_path / "home")
        land(home, write_lines(tmp_path / "rows.jsonl", [event_line("a"), "{"]))
    finally:
        os.umask(umask)
    modes = {path: path.stat().st_mode & 0o777 for path in [home.path, *home.path.rglob("*")]}
    assert len(rows_of(home)) == len(quarantined(home)) == len(landed_files(home)) == 1
    assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
