"""Lands many small files in one call, one file with the same rows, and one more small file on a long history.

python -m benchmarks.small_files [--files 400] [--history 10000] [--repeats 5] [--shapes jsonl csv parquet e2b-events]

Each landing runs in a separate process; without its start-up. Of the repeats the one with the least processor time counts, since
other load of the machine only adds to it. The results are written to benchmarks/results/small_files.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from benchmarks.subprocesses import call_in_process, run_process
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.sources.source_files import find_source

RESULTS = Path(__file__).parent / "results"
ROWS = 250
"""Events of a small file."""
_FILES_A_CALL = 400
E2B = "e2b-events"
SHAPES = ("jsonl", "csv", "parquet", E2B)
"""What the small files are: a format, or JSON lines for this source. The history is of the first."""
_COLUMNS = {
    "jsonl": "event_id, sandbox_id, user_id, timestamp, event_type, {vcpu_count: 2, memory_gb: 2, storage_gb: 10} as resources",
    "csv": "event_id, sandbox_id, user_id, timestamp, event_type, 2 as vcpu_count, 2 as memory_gb, 10 as storage_gb",
    "parquet": "event_id, sandbox_id, user_id, timestamp, event_type, 2 as vcpu_count, 2 as memory_gb, 10 as storage_gb",
    E2B: """
        event_id as id, sandbox_id, sandbox_id || '-1' as sandbox_execution_id, user_id as sandbox_team_id, timestamp,
        case event_type
            when 'sandbox_started' then 'sandbox.lifecycle.created'
            when 'resources_updated' then 'sandbox.lifecycle.updated'
            else 'sandbox.lifecycle.killed'
        end as type,
        {execution: {vcpu_count: 2, memory_mb: 2048, started_at: timestamp, execution_time: 20000}} as event_data""",
}
_SUFFIX = {"parquet": ".parquet", "csv": ".csv"}


def main() -> None:
    """Generate, land, print and save the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="small files in one call")
    parser.add_argument("--history", type=int, default=10_000, help="files that have landed before one more")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-small-files"))  # noqa: S108 - a visible default
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES, help="what the files are")
    parser.add_argument("--land", nargs=3, type=Path, metavar=("HOME", "FILES", "SHAPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.land:
        home, files, shape = arguments.land
        _land_here(home, sorted(files.iterdir()) if files.is_dir() else [files], str(shape))
        return
    shutil.rmtree(arguments.folder, ignore_errors=True)
    found = _measure(arguments.folder, arguments.files, arguments.history, arguments.repeats, arguments.shapes)
    shutil.rmtree(arguments.folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "small_files.json").write_text(json.dumps(found, indent=2) + "\n")


def generate(folder: Path, first: int, files: int, rows: int, shape: str = SHAPES[0]) -> None:
    """Files of lifecycle events, three to a sandbox: numbered from `first`, with random ids, in the first ten days of 2026."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = _SUFFIX.get(shape, ".jsonl")
    format = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}[suffix]
    with duckdb.connect() as connection:
        for number in range(first, first + files):
            connection.execute(f"""
                copy (
                    select {_COLUMNS[shape]}
                    from (
                        select
                            md5('{number}-' || i) as event_id, 'sbx-' || md5('{number}-' || i // 3) as sandbox_id,
                            'customer-' || (i // 3) % 50 as user_id,
                            strftime(
                                timestamp '2026-01-01' + to_minutes({number} % 14400) + to_seconds(i % 60), '%Y-%m-%dT%H:%M:%SZ'
                            ) as "timestamp",
                            ['sandbox_started', 'resources_updated', 'sandbox_stopped'][1 + i % 3] as event_type
                        from range({rows}) as events(i)
                    )
                ) to '{folder}/{number:08d}{suffix}' (format {format})""")


def _measure(folder: Path, files: int, history: int, repeats: int, shapes: Sequence[str]) -> dict[str, object]:
    landings: list[tuple[str, Path | None, list[Path], str]] = []
    """Of each: name, home (None: a new one each time), the files of each repeat, and what they are."""
    for shape in shapes:
        call_in_process(generate, folder / shape / "many", 1_000_000, files, ROWS, shape)
        call_in_process(generate, folder / shape / "one", 2_000_000, 1, files * ROWS, shape)
        landings += [
            (f"{name} {shape}", None, [folder / shape / source] * repeats, shape)
            for name, source in (("many_files", "many"), ("one_file", "one"))
        ]
    if history:
        call_in_process(generate, folder / "more", 3_000_000, 2 * repeats, ROWS)
        for start in range(0, history, _FILES_A_CALL):
            call_in_process(generate, folder / "history", start, min(_FILES_A_CALL, history - start), ROWS)
            _land(folder / "home", folder / "history", SHAPES[0])
            shutil.rmtree(folder / "history")
        more = sorted((folder / "more").iterdir())
        landings += [
            ("one_more_on_history", folder / "home", more[::2], SHAPES[0]),
            ("one_more_on_none", folder / "empty", more[1::2], SHAPES[0]),
        ]
    seconds: dict[str, list[tuple[float, float]]] = {}
    for repeat in range(repeats):  # in turns, since other load of the machine changes
        for name, home, sources, shape in landings:
            seconds.setdefault(name, []).append(_land(home or folder / "new", sources[repeat], shape))
            shutil.rmtree(folder / "new", ignore_errors=True)
    least = {name: [round(min(each), 3) for each in zip(*times, strict=True)] for name, times in seconds.items()}
    for name, (wall, processor) in least.items():
        print(f"{name:24} {wall:8.3f} s, {processor:8.3f} s of processor time")
    ratios = {shape: round(least[f"many_files {shape}"][1] / least[f"one_file {shape}"][1], 2) for shape in shapes}
    found: dict[str, object] = {"many_files_to_one": ratios}
    if history:
        found["history_to_none"] = round(least["one_more_on_history"][1] / least["one_more_on_none"][1], 2)
    print(f"ratios of processor time: {found}")
    sizes = {"cores": os.cpu_count(), "files": files, "history": history, "repeats": repeats}
    return sizes | {"least_seconds_and_processor_seconds": least} | found


def _land(home: Path, files: Path, shape: str) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a landing in a separate process."""
    ran = run_process([sys.executable, "-m", "benchmarks.small_files", "--land", str(home), str(files), shape])
    if ran.exit_code:
        sys.exit(f"{files} did not land")
    wall, processor, _ = ran.output.split()
    return float(wall), float(processor)


def _land_here(home: Path, paths: Sequence[Path], shape: str) -> None:
    """Land files, and print the seconds, the seconds of processor time, and the accepted rows."""
    target, source = Home.open(home), find_source(Home.open(home), shape) if shape == E2B else None
    land_files(Home.open(home.with_name("warm-up")), [])  # imports what a landing needs
    started, processor_started = time.perf_counter(), _processor_seconds()
    summary = land_files(target, paths, source=source)
    assert not summary.problems, summary.problems[0]
    assert summary.accepted == summary.received, "every row is new and valid"
    print(time.perf_counter() - started, _processor_seconds() - processor_started, summary.accepted)


def _processor_seconds() -> float:
    """Of this process, and of those that it has started and that have ended: a source selects in one of its own."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
