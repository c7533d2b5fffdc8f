"""Lands a file of heartbeats in each format, then one more file: rows per second and peak memory.

python -m benchmarks.landing [--rows 1000000 10000000] [--history 0] [--folder /tmp/billhouse-landing]

Each landing runs in a separate process. The results are written to benchmarks/results/landing.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import duckdb

from benchmarks.subprocesses import call_in_process, run_process
from pipeline.core.home import Home
from pipeline.landing import land_files

RESULTS = Path(__file__).parent / "results"
FORMATS = {"parquet": "(format parquet, compression zstd)", "jsonl": "(format json)", "csv": "(format csv)"}
SANDBOX_SECONDS = 1800


def main() -> None:
    """Generate, land, print and save a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--history", type=int, default=0, help="days of a million rows that have landed before")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-landing"))  # noqa: S108 - a visible default
    parser.add_argument("--land", nargs=2, type=Path, metavar=("HOME", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.land:
        home, file = arguments.land
        started = time.perf_counter()
        (landed,) = land_files(Home.open(home), [file]).files
        print(time.perf_counter() - started, landed.accepted)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    home = arguments.folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    for day in range(1, arguments.history + 1):
        file = arguments.folder / "history.parquet"
        call_in_process(generate, file, 1_000_000, day)
        _land(home, file)
    measured = []
    print(
        f"{'format':10} {'rows':>12} {'seconds':>9} {'rows a second':>14} {'peak GB':>8}   after {arguments.history} million rows"
    )
    for rows in arguments.rows:
        for format in FORMATS:
            file = arguments.folder / f"heartbeats-{rows}.{format}"
            call_in_process(generate, file, rows, 0)
            one_home = arguments.folder / f"home-{format}"
            shutil.rmtree(one_home, ignore_errors=True)
            if home.exists():
                shutil.copytree(home, one_home, copy_function=os.link)
            seconds, gigabytes = _land(one_home, file)
            print(f"{format:10} {rows:12,} {seconds:9.2f} {rows / seconds:14,.0f} {gigabytes:8.2f}")
            measured.append({"format": format, "rows": rows, "seconds": round(seconds, 2), "peak_gigabytes": round(gigabytes, 2)})
            shutil.rmtree(one_home)
            file.unlink()
    RESULTS.mkdir(exist_ok=True)
    found = {"cores": os.cpu_count(), "million_rows_before": arguments.history, "landings": measured}
    name = f"landing-after-{arguments.history}.json" if arguments.history else "landing.json"
    (RESULTS / name).write_text(json.dumps(found, indent=2) + "\n")


def generate(file: Path, rows: int, day: int) -> None:
    """A day of heartbeats in the order of a collector: all sandboxes each second, from one start to the next."""
    sandboxes = max(rows // SANDBOX_SECONDS, 1)
    at = f"timestamptz '2026-01-01 00:00:00+00' + to_days({day}) + to_seconds(i // {sandboxes} * 40)"
    instant = at if file.suffix == ".parquet" else f"strftime({at}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"""
            copy (
                select
                    'evt-{day}-' || md5(i::varchar) as event_id,
                    'sbx-{day}-' || md5((i % {sandboxes})::varchar) as sandbox_id,
                    'customer-' || i % {sandboxes} % 500 as user_id,
                    {instant} as "timestamp",
                    case i // {sandboxes} when 0 then 'sandbox_started' else 'resources_updated' end as event_type,
                    2::decimal(18, 6) as vcpu_count, 2::decimal(18, 6) as memory_gb, 10::decimal(18, 6) as storage_gb
                from range({rows}) as heartbeats(i)
            ) to '{file}' {FORMATS[file.suffix[1:]]}""")


def _land(home: Path, file: Path) -> tuple[float, float]:
    """Seconds and peak gigabytes of a landing in a separate process."""
    command = [sys.executable, "-m", "benchmarks.landing", "--land", str(home), str(file)]
    ran = run_process(command)
    if ran.exit_code:
        sys.exit(f"{file} did not land")
    return float(ran.output.split()[0]), ran.peak_gigabytes


if __name__ == "__main__":
    main()
