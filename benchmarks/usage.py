"""Builds to invoices, from per-second heartbeats or from lifecycles: time against a bare scan of the same files, memory, peers.

python -m benchmarks.usage [--rows 10000000] [--days 30] [--shape heartbeat] [--folder /tmp/bench] [--peers polars pandas]

Every measurement is a process of its own, on the same raw files. What came out is kept in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers import usage_in_pandas, usage_in_polars
from pipeline.home import Home
from pipeline.landing.collections import SCHEMAS, ensure_collections
from pipeline.warehouse import build

FIRST_DAY = date(2026, 1, 1)
AS_OF = datetime(2026, 12, 31, tzinfo=UTC)
RESULTS = Path(__file__).parent / "results"
EVENTS_PER_SESSION = {"heartbeat": 1800, "lifecycle": 3}
_COLUMNS = SCHEMAS["usage_events"].names


@dataclass(frozen=True)
class Measured:
    """What a step took."""

    seconds: float
    peak_gigabytes: float
    said: str


def main() -> None:
    """Generate, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--shape", choices=sorted(EVENTS_PER_SESSION), default="heartbeat")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-bench"))  # noqa: S108 - a default to be seen
    parser.add_argument("--peers", nargs="*", choices=("polars", "pandas"), default=["polars", "pandas"])
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder / f"{arguments.shape}-{arguments.rows}-{arguments.days}"
    if arguments.step:
        print(_STEPS[arguments.step](folder))
        return
    per_day = arguments.rows // arguments.days
    empty = arguments.folder / "empty"
    ensure_collections(Home.open(empty))
    for day in range(arguments.days):
        generate_day(folder, arguments.shape, day, per_day)
    print(f"{arguments.rows:,} rows, {arguments.shape}, {arguments.days} days, {os.cpu_count()} cores")
    _run(empty, "build")
    startup = _run(empty, "build")
    scan = _run(folder, "scan")
    full = _run(folder, "rebuild")
    generate_day(folder, arguments.shape, arguments.days, per_day)
    day_scan = _run(folder, "scan_last_day")
    day = _run(folder, "build")
    measured = {
        "bare scan, every column hashed": scan,
        "dbt's own start-up: a build of nothing": startup,
        "full build to invoices": full,
        "one more day: its bare scan": day_scan,
        "one more day: build": day,
    }
    ours = _run(folder, "billhouse_usage").said
    for peer in arguments.peers:
        found = _run(folder, peer)
        assert found.said == ours, f"{peer} came to {found.said}, and Billhouse to {ours}"
        measured[f"{peer}: sessions and usage by customer and day, no invoices"] = found
    _report(measured)
    print(f"  one more day: {day.seconds - startup.seconds:.2f} s beyond start-up; its bound {2 + 5 * day_scan.seconds:.2f} s")
    _keep(arguments.shape, arguments.rows, arguments.days, measured)


def _report(measured: dict[str, Measured]) -> None:
    scan = next(iter(measured.values()))
    for what, found in measured.items():
        ratio = found.seconds / scan.seconds
        print(f"  {what:<62} {found.seconds:8.2f} s {ratio:7.2f} x {found.peak_gigabytes:6.2f} GB")


def _keep(shape: str, rows: int, days: int, measured: dict[str, Measured]) -> None:
    RESULTS.mkdir(exist_ok=True)
    steps = {
        what: {"seconds": round(one.seconds, 2), "peak_gigabytes": round(one.peak_gigabytes, 2)} for what, one in measured.items()
    }
    found = {"shape": shape, "rows": rows, "days": days, "cores": os.cpu_count(), "steps": steps}
    (RESULTS / f"usage-{shape}-{rows}-{days}.json").write_text(json.dumps(found, indent=2) + "\n")


def generate_day(folder: Path, shape: str, day: int, rows: int) -> None:
    """Write one day's raw events as landing would, unless they are there: sessions of one length, one in five changed midway."""
    home = Home.open(folder)
    ensure_collections(home)
    length = EVENTS_PER_SESSION[shape]
    apart = 1 if shape == "heartbeat" else 600
    sessions = max(rows // length, 1)
    on = FIRST_DAY + timedelta(days=day)
    file_id = f"{day:064x}"
    target = home.raw / "usage_events" / f"event_date={on}" / f"{file_id}.parquet"
    if target.exists():
        return
    target.parent.mkdir(mode=0o700, exist_ok=True)
    latest = 86_000 - length * apart
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"""
            copy (
                with events as (
                    select s + {day * sessions} as s, k, timestamptz '{on} 00:00:00+00'
                        + to_microseconds(cast((hash(s + {day}) % {latest} + k * {apart}) * 1000000 as bigint)) as event_at
                    from range({sessions}) as a(s), range({length}) as b(k)
                )
                select
                    'evt-' || md5(s || '-' || k) as event_id, 'sbx-' || md5(s::varchar) as sandbox_id,
                    'customer-' || s % 500 as user_id, event_at,
                    case k when 0 then 'sandbox_started' when {length - 1} then 'sandbox_stopped' else 'resources_updated' end
                        as event_type,
                    cast(case when k < {length - 1} then 2 end as decimal(18, 6)) as vcpu_count,
                    cast(case when k < {length - 1} then case when s % 5 = 0 and k > {length // 2} then 4 else 2 end end
                        as decimal(18, 6)) as memory_gb,
                    cast(case when k < {length - 1} then 10 end as decimal(18, 6)) as storage_gb,
                    null::varchar as execution_id, null::varchar as metadata, null::decimal(18, 6) as gpu_count,
                    null::decimal(18, 6) as tokens, '{file_id}' as file_id, s * {length} + k + 1 as file_row
                from events order by sandbox_id, event_at
            ) to '{target}' (format parquet, compression zstd)""")
    landed = {
        "landed_sequence": day + 1,
        "file_id": file_id,
        "file_name": f"{on}.parquet",
        "file_bytes": target.stat().st_size,
        "kind": "usage",
        "format": "parquet",
        "landed_at": AS_OF,
        "received_rows": sessions * length,
        "accepted_rows": sessions * length,
        "duplicate_rows": 0,
        "quarantined_rows": 0,
        "first_at": datetime.combine(on, datetime.min.time(), UTC),
        "last_at": datetime.combine(on, datetime.max.time(), UTC),
    }
    row = pa.Table.from_pylist([landed], schema=SCHEMAS["landed_files"])
    pq.write_table(row, home.raw / "landed_files" / f"{day + 1:08d}-{file_id}.parquet")


def _run(folder: Path, step: str) -> Measured:
    """A step in a process of its own, with its peak memory."""
    shape, rows, days = folder.name.split("-") if "-" in folder.name else ("heartbeat", "0", "0")
    command = [sys.executable, "-m", "benchmarks.usage", "--folder", str(folder.parent), "--shape", shape, "--rows", rows]
    command += ["--days", days, "--step", step if folder.name != "empty" else f"{step}_empty"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - this module itself
        assert running.stdout is not None
        said = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f"{step} failed")
    seconds, _, rest = said.strip().partition(" ")
    return Measured(float(seconds) if seconds else time.perf_counter() - started, used.ru_maxrss / 1e6, rest)


def _timed(seconds: float, said: str = "") -> str:
    return f"{seconds:.3f} {said}"


def _scan(folder: Path, pattern: str = "**/*.parquet") -> str:
    hashed = ", ".join(f"bit_xor(hash({column}))" for column in _COLUMNS)
    started = time.perf_counter()
    with duckdb.connect() as connection:
        files = f"{folder}/raw/usage_events/{pattern}"
        connection.execute(f"select {hashed} from read_parquet('{files}', hive_partitioning = false)").fetchall()
    return _timed(time.perf_counter() - started)


def _scan_last_day(folder: Path) -> str:
    last = max((folder / "raw" / "usage_events").glob("event_date=*"))
    return _scan(folder, f"{last.name}/*.parquet")


def _build(folder: Path, *, from_scratch: bool = False) -> str:
    started = time.perf_counter()
    build(Home.open(folder), AS_OF, from_scratch=from_scratch)
    return _timed(time.perf_counter() - started)


def _billhouse_usage(folder: Path) -> str:
    with duckdb.connect(str(folder / "billing.duckdb"), read_only=True) as reports:
        sums = reports.execute(
            "select meter_id, cast(sum(quantity) * 1000000 as hugeint) from billing.billing.usage_daily"
            " where meter_id in ('vcpu', 'memory') group by all order by all"
        ).fetchall()
    return _timed(0, json.dumps({meter: int(quantity) for meter, quantity in sums}, sort_keys=True))


_STEPS = {
    "scan": _scan,
    "scan_last_day": _scan_last_day,
    "build": _build,
    "rebuild": lambda folder: _build(folder, from_scratch=True),
    "build_empty": lambda folder: _build(folder.parent / "empty"),
    "billhouse_usage": _billhouse_usage,
    "polars": lambda folder: _timed(*usage_in_polars(folder)),
    "pandas": lambda folder: _timed(*usage_in_pandas(folder)),
}


if __name__ == "__main__":
    main()
