"""Builds to invoices from per-second heartbeats or lifecycle events: time against a bare scan, memory, other libraries.

python -m benchmarks.usage [--shape heartbeat] [--rows 10000000] [--days 30] [--more-days 1] [--peers polars pandas]

Each measurement runs in a separate process on the same raw files. The results are written to benchmarks/results/, and
`python -m benchmarks.plot` draws them. Raw events are generated at one to two million per second on two idle cores, mostly
compression, and stay in the folder for the next call.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers import invoices_in_pandas, invoices_in_polars, sums_as_json
from benchmarks.subprocesses import call_in_process, run_process
from pipeline.core.home import Home
from pipeline.store.raw import SCHEMAS, ensure_raw_collections
from pipeline.warehouse.build import build

FIRST_DAY = date(2026, 1, 1)
AS_OF = datetime(2026, 12, 31, tzinfo=UTC)
RESULTS = Path(__file__).parent / "results"
PEERS = ["polars", "pandas"]
EVENTS_PER_SESSION = {"heartbeat": 1800, "lifecycle": 3}
_COLUMNS = SCHEMAS["usage_events"].names


@dataclass(frozen=True)
class Measured:
    """Time and memory of a step."""

    seconds: float
    peak_gigabytes: float
    output: str = ""
    died: bool = False


def main() -> None:
    """Generate, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(EVENTS_PER_SESSION), default="heartbeat")
    parser.add_argument("--rows", type=int, default=10_000_000, help="raw events, all days together")
    parser.add_argument("--days", type=int, default=30, help="over how many days they are spread")
    parser.add_argument("--more-days", type=int, default=1, help="days that land after the full build, each built on top of it")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="none named: no peer")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-bench"))  # noqa: S108 - a visible default
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder / f"{arguments.shape}-{arguments.rows}-{arguments.days}"
    if arguments.step:
        print(STEPS[arguments.step](folder))
        return
    missing = [peer for peer in arguments.peers if importlib.util.find_spec(peer) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} is not installed: make setup-bench, or choose with --peers.")
    per_day = arguments.rows // arguments.days
    empty = arguments.folder / "empty"
    ensure_raw_collections(Home.open(empty))
    call_in_process(generate_days, folder, arguments.shape, range(arguments.days), per_day)
    _remove_days_after(Home.open(folder), arguments.days)
    print(f"{arguments.rows:,} rows, {arguments.shape}, {arguments.days} days, {os.cpu_count()} cores", flush=True)
    _run(empty, "build")
    measured = {"startup": _run(empty, "build"), "scan": _run(folder, "scan"), "full_build": _run(folder, "rebuild")}
    ours = _run(folder, "invoiced").output
    for peer in arguments.peers:
        found = _run(folder, peer, may_fail=True)
        assert found.died or found.output == ours, f"{peer} calculated {found.output}, Billhouse {ours}"
        measured[peer] = found
    more: list[dict[str, Measured]] = []
    for day in range(arguments.days, arguments.days + arguments.more_days):
        call_in_process(generate_days, folder, arguments.shape, range(day, day + 1), per_day)
        more.append({"day_scan": _run(folder, "scan_last_day"), "day_build": _run(folder, "build")})
    for what in more[0] if more else ():
        measured[what] = sorted((days[what] for days in more), key=lambda one: one.seconds)[len(more) // 2]
    if more:
        # Again, because the speed of the machine can have changed.
        measured["startup_after"] = _run(empty, "build")
    _report(measured)
    _save(arguments.shape, arguments.rows, arguments.days, measured)


def _report(measured: dict[str, Measured]) -> None:
    scan = measured["scan"].seconds
    for what, found in measured.items():
        times = "did not survive" if found.died else f"{found.seconds:8.2f} s {found.seconds / scan:8.2f} scans"
        print(f"  {_TITLES[what]:<62} {times} {found.peak_gigabytes:6.2f} GB")
    startup = measured["startup"].seconds
    print(f"  full build: {(measured['full_build'].seconds - startup) / scan:.2f} scans beyond start-up; its bound 5 with it")
    if "day_build" in measured:
        startup = statistics.mean([startup, measured["startup_after"].seconds])
        beyond, bound = measured["day_build"].seconds - startup, 2 + 5 * measured["day_scan"].seconds
        print(f"  one more day: {beyond:.2f} s beyond start-up; its bound {bound:.2f} s")


def _save(shape: str, rows: int, days: int, measured: dict[str, Measured]) -> None:
    """Write the results as JSON; a step that ran out of memory has no seconds."""
    RESULTS.mkdir(exist_ok=True)
    steps = {
        what: {"seconds": None if one.died else round(one.seconds, 2), "peak_gigabytes": round(one.peak_gigabytes, 2)}
        for what, one in measured.items()
    }
    found = {"shape": shape, "rows": rows, "days": days, "cores": os.cpu_count(), "steps": steps}
    (RESULTS / f"usage-{shape}-{rows}-{days}.json").write_text(json.dumps(found, indent=2) + "\n")


def _remove_days_after(home: Home, days: int) -> None:
    """Remove the additional days of an earlier call."""
    for landed in sorted((home.raw / "landed_files").glob("0*.parquet"))[days:]:
        landed.unlink()
    for folder in sorted((home.raw / "usage_events").glob("event_date=*"))[days:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def generate_days(folder: Path, shape: str, days: range, rows: int) -> None:
    """Write days of raw events."""
    for day in days:
        generate_day(folder, shape, day, rows)


def generate_day(folder: Path, shape: str, day: int, rows: int) -> None:
    """Write a day of raw events as landing would, unless it exists: sessions of one length, one in five changed midway.

    Other days are copies of the first day with other ids, sandboxes and dates.
    """
    home = Home.open(folder)
    ensure_raw_collections(home)
    sessions = max(rows // EVENTS_PER_SESSION[shape], 1)
    on = FIRST_DAY + timedelta(days=day)
    file_id = f"{day:064x}"
    target = _raw_file(home, day)
    if target.exists():
        return
    if day > 0:
        generate_day(folder, shape, 0, rows)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = true")
        events = _first_day(shape, sessions) if day == 0 else _as_on_day(_raw_file(home, 0), day)
        # Renamed when it is complete: an existing file counts as a complete day.
        scratch = target.with_suffix(".tmp")
        connection.execute(f"copy ({events}) to '{scratch}' (format parquet, compression zstd)")
        scratch.rename(target)
    accepted = sessions * EVENTS_PER_SESSION[shape]
    landed = {
        "landed_sequence": day + 1,
        "file_id": file_id,
        "file_name": f"{on}.parquet",
        "file_bytes": target.stat().st_size,
        "kind": "usage",
        "format": "parquet",
        "landed_at": AS_OF,
        "received_rows": accepted,
        "accepted_rows": accepted,
        "duplicate_rows": 0,
        "quarantined_rows": 0,
        "first_at": datetime.combine(on, datetime.min.time(), UTC),
        "last_at": datetime.combine(on, datetime.max.time(), UTC),
    }
    row = pa.Table.from_pylist([landed], schema=SCHEMAS["landed_files"])
    pq.write_table(row, home.raw / "landed_files" / f"{day + 1:08d}-{file_id}.parquet")


def _raw_file(home: Home, day: int) -> Path:
    return home.raw / "usage_events" / f"event_date={FIRST_DAY + timedelta(days=day)}" / f"{day:064x}.parquet"


def _first_day(shape: str, sessions: int) -> str:
    """SQL for the first day. Ids begin with the day's number, which `_as_on_day` replaces."""
    length = EVENTS_PER_SESSION[shape]
    apart = 1 if shape == "heartbeat" else 600
    latest = 86_000 - length * apart
    return f"""
        with events as (
            select s, k, timestamptz '{FIRST_DAY} 00:00:00+00'
                + to_microseconds(cast((hash(s) % {latest} + k * {apart}) * 1000000 as bigint)) as event_at
            from range({sessions}) as a(s), range({length}) as b(k)
        )
        select
            '0000-' || md5(s || '-' || k) as event_id, '0000-' || md5(s::varchar) as sandbox_id,
            'customer-' || s % 500 as user_id, event_at,
            case k when 0 then 'sandbox_started' when {length - 1} then 'sandbox_stopped' else 'resources_updated' end
                as event_type,
            cast(case when k < {length - 1} then 2 end as decimal(18, 6)) as vcpu_count,
            cast(case when k < {length - 1} then case when s % 5 = 0 and k > {length // 2} then 4 else 2 end end
                as decimal(18, 6)) as memory_gb,
            cast(case when k < {length - 1} then 10 end as decimal(18, 6)) as storage_gb,
            null::varchar as execution_id, null::varchar as metadata, null::decimal(18, 6) as gpu_count,
            null::decimal(18, 6) as tokens, null::timestamptz as started_at, null::decimal(18, 6) as duration_seconds,
            '{0:064x}' as file_id, s * {length} + k + 1 as file_row
        from events order by sandbox_id, event_at"""


def _as_on_day(first_day: Path, day: int) -> str:
    """SQL that changes the events of the first day to another day, in the same order."""
    return f"""
        select * replace (
            '{day:04d}' || event_id[5:] as event_id, '{day:04d}' || sandbox_id[5:] as sandbox_id,
            event_at + interval {day} day as event_at, '{day:064x}' as file_id
        ) from read_parquet('{first_day}', hive_partitioning = false)"""


def _run(folder: Path, step: str, *, may_fail: bool = False) -> Measured:
    """Run a step in a separate process and measure it. Exits if it fails, unless `may_fail`."""
    shape, rows, days = folder.name.split("-") if "-" in folder.name else ("heartbeat", "0", "0")
    command = [sys.executable, "-m", "benchmarks.usage", "--folder", str(folder.parent), "--shape", shape, "--rows", rows]
    command += ["--days", days, "--step", step if folder.name != "empty" else f"{step}_empty"]
    started = time.perf_counter()
    ran = run_process(command)
    if ran.exit_code and may_fail:
        return Measured(0, ran.peak_gigabytes, died=True)
    if ran.exit_code:
        sys.exit(f"{step} failed")
    seconds, _, rest = ran.output.strip().partition(" ")
    return Measured(float(seconds) if seconds else time.perf_counter() - started, ran.peak_gigabytes, rest)


def _timed(seconds: float, output: str = "") -> str:
    return f"{seconds:.3f} {output}"


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


def _invoiced(folder: Path) -> str:
    with duckdb.connect(str(folder / "billhouse.duckdb"), read_only=True) as reports:
        (sums,) = reports.execute(
            "select sum(subtotal_amount), sum(credits_applied_amount), sum(total_amount) from billing.invoices"
        ).fetchall()
    return _timed(0, sums_as_json(*sums))


_TITLES = {
    "startup": "a build of nothing: dbt's own start-up",
    "startup_after": "the same, after all the rest",
    "scan": "bare scan, every column hashed",
    "full_build": "full build to invoices",
    "polars": "Polars: the same events to invoices, no reports or checks",
    "pandas": "pandas: the same",
    "day_scan": "one more day: its bare scan",
    "day_build": "one more day: build",
}

STEPS: dict[str, Callable[[Path], str]] = {
    "scan": _scan,
    "scan_last_day": _scan_last_day,
    "build": _build,
    "rebuild": lambda folder: _build(folder, from_scratch=True),
    "build_empty": lambda folder: _build(folder.parent / "empty"),
    "invoiced": _invoiced,
    "polars": lambda folder: _timed(*invoices_in_polars(folder, AS_OF)),
    "pandas": lambda folder: _timed(*invoices_in_pandas(folder, AS_OF)),
}


if __name__ == "__main__":
    main()
