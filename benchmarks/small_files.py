"""Lands many small files in one call, one file with the same rows, and one more small file on a long history.

python -m benchmarks.small_files [--files 400] [--history 10000] [--repeats 5] [--folder /tmp/billhouse-small-files]

Each landing runs in a separate process; without its start-up. The results are written to benchmarks/results/small_files.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import duckdb

from benchmarks.subprocesses import call_in_process, run_process
from pipeline.core.home import Home
from pipeline.landing import land_files

RESULTS = Path(__file__).parent / "results"
ROWS = 250
"""Events of a small file."""
_FILES_A_CALL = 400


def main() -> None:
    """Generate, land, print and save the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="small files in one call")
    parser.add_argument("--history", type=int, default=10_000, help="files that have landed before one more")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-small-files"))  # noqa: S108 - a visible default
    parser.add_argument("--land", nargs=2, type=Path, metavar=("HOME", "FILES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.land:
        home, files = arguments.land
        paths = sorted(files.glob("*.jsonl")) if files.is_dir() else [files]
        land_files(Home.open(home.with_name("warm-up")), [])  # imports what a landing needs
        started, processor_started = time.perf_counter(), time.process_time()
        summary = land_files(Home.open(home), paths)
        print(time.perf_counter() - started, time.process_time() - processor_started, summary.accepted)
        return
    shutil.rmtree(arguments.folder, ignore_errors=True)
    found = _measure(arguments.folder, arguments.files, arguments.history, arguments.repeats)
    shutil.rmtree(arguments.folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "small_files.json").write_text(json.dumps(found, indent=2) + "\n")


def generate(folder: Path, first: int, files: int, rows: int) -> None:
    """Files of lifecycle events, three to a sandbox: numbered from `first`, with random ids, in the first ten days of 2026."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        for number in range(first, first + files):
            connection.execute(f"""
                copy (
                    select
                        md5('{number}-' || i) as event_id, 'sbx-' || md5('{number}-' || i // 3) as sandbox_id,
                        'customer-' || (i // 3) % 50 as user_id,
                        strftime(
                            timestamp '2026-01-01' + to_minutes({number} % 14400) + to_seconds(i % 60), '%Y-%m-%dT%H:%M:%SZ'
                        ) as "timestamp",
                        ['sandbox_started', 'resources_updated', 'sandbox_stopped'][1 + i % 3] as event_type,
                        {{vcpu_count: 2, memory_gb: 2, storage_gb: 10}} as resources
                    from range({rows}) as events(i)
                ) to '{folder}/{number:08d}.jsonl' (format json)""")


def _measure(folder: Path, files: int, history: int, repeats: int) -> dict[str, object]:
    call_in_process(generate, folder / "many", 1_000_000, files, ROWS)
    call_in_process(generate, folder / "one", 2_000_000, 1, files * ROWS)
    call_in_process(generate, folder / "more", 3_000_000, 2 * repeats, ROWS)
    home, empty = folder / "home", folder / "empty"
    for start in range(0, history, _FILES_A_CALL):
        call_in_process(generate, folder / "history", start, min(_FILES_A_CALL, history - start), ROWS)
        _land(home, folder / "history")
        shutil.rmtree(folder / "history")
    seconds: dict[str, list[tuple[float, float]]] = {}
    more = sorted((folder / "more").glob("*.jsonl"))
    for repeat in range(repeats):  # in turns, since other load of the machine changes
        for name, target, source in (
            ("many_files", folder / f"many-{repeat}", folder / "many"),
            ("one_file", folder / f"one-{repeat}", folder / "one"),
            ("one_more_on_history", home, more[2 * repeat]),
            ("one_more_on_none", empty, more[2 * repeat + 1]),
        ):
            seconds.setdefault(name, []).append(_land(target, source))
            if target not in (home, empty):
                shutil.rmtree(target)
    medians = {name: [round(statistics.median(each), 3) for each in zip(*times, strict=True)] for name, times in seconds.items()}
    for name, (wall, processor) in medians.items():
        print(f"{name:22} {wall:8.3f} s, {processor:8.3f} s of processor time")
    ratios = {
        "many_files_to_one": round(medians["many_files"][1] / medians["one_file"][1], 2),
        "history_to_none": round(medians["one_more_on_history"][1] / medians["one_more_on_none"][1], 2),
    }
    print(f"ratios of processor time: {ratios}")
    return {"cores": os.cpu_count(), "files": files, "history": history, "seconds_and_processor_seconds": medians, **ratios}


def _land(home: Path, files: Path) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a landing in a separate process."""
    ran = run_process([sys.executable, "-m", "benchmarks.small_files", "--land", str(home), str(files)])
    if ran.exit_code:
        sys.exit(f"{files} did not land")
    wall, processor, _ = ran.output.split()
    return float(wall), float(processor)


if __name__ == "__main__":
    main()
