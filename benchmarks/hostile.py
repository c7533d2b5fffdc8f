"""Lands malicious rows and files and accounts for each: none may be lost or prevent others from landing.

python -m benchmarks.hostile [--rows 1000000] [--files 1000] [--folder /tmp/billhouse-hostile]

Every received row is accepted, a duplicate or quarantined; every file lands or is reported as a problem. Landing runs in a
separate process, to measure its peak memory. The results are written to benchmarks/results/hostile.json.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.subprocesses import call_in_process, run_process
from pipeline.core.home import Home
from pipeline.landing import land_files

RESULTS = Path(__file__).parent / "results"
SHARES = {"jsonl": 6, "csv": 3, "parquet": 1}
"""Tenths of the malicious rows, by format."""
LONG_LINE_EVERY = 10_000
LARGE_ROW_EVERY = 10
"""One in so many cycles has rows of kilobytes: nested a thousand deep, and numbers of 4,300 digits."""

_FIELDS = ("event_id", "sandbox_id", "user_id", "timestamp", "event_type", "vcpu_count", "metadata")
_DEEP = "[" * 1000 + "]" * 1000
_DIGITS = "7" * 4300
Values = dict[str, str]


def _values(number: int, **other: str) -> Values:
    """One event, with each value as JSON text."""
    event = {
        "event_id": f'"evt-{number}"',
        "sandbox_id": f'"sbx-{number % 5000}"',
        "user_id": f'"user-{number % 5000 % 300}"',
        "timestamp": f'"2026-01-{number % 28 + 1:02d}T10:00:00Z"',
        "event_type": '"sandbox_started"',
        "vcpu_count": "2",
        "metadata": '{"region": "eu"}',
    }
    return {**event, **other}


SMALL: dict[str, Callable[[int], Values]] = {
    "good": _values,
    "same again": lambda number: _values(number - number % 100),
    "conflict": lambda number: _values(number - number % 100, vcpu_count="3"),
    "another's sandbox": lambda number: _values(number, user_id='"mallory"'),
    "tiny": lambda number: _values(number, vcpu_count="1e-400"),
    "too fine": lambda number: _values(number, vcpu_count="2.0000000000000000000000001"),
    "huge": lambda number: _values(number, vcpu_count="1e400"),
    "negative": lambda number: _values(number, vcpu_count="-0.000001"),
    "no number": lambda number: _values(number, vcpu_count='"0x10"'),
    "control characters": lambda number: _values(number, user_id='"a\\u0007\\u001b[2J"'),
    "direction of text": lambda number: _values(number, sandbox_id='"\\u202egnp.exe"'),
    "long id": lambda number: _values(number, user_id=f'"{"x" * 201}"'),
    "blank id": lambda number: _values(number, sandbox_id='" \\u00a0"'),
    "markup": lambda number: _values(number, user_id='"\'; drop table events; --<script>"'),
    "no such day": lambda number: _values(number, timestamp='"2026-02-30T00:00:00Z"'),
    "year 9999": lambda number: _values(number, timestamp='"9999-12-31T23:59:59Z"'),
    "before the books": lambda number: _values(number, timestamp='"1970-01-01T00:00:00Z"'),
    "odd instant": lambda number: _values(number, timestamp='"2026-W01-4T10:00:00,5+02"'),
    "no such type": lambda number: _values(number, event_type='"sandbox_exploded"'),
    "no id": lambda number: _values(number, event_id='""'),
}
LARGE: dict[str, Callable[[int], Values]] = {
    "deep": lambda number: _values(number, metadata=_DEEP),
    "digits": lambda number: _values(number, vcpu_count=_DIGITS),
    "digits as an id": lambda number: _values(number, user_id=_DIGITS),
    "digits inside": lambda number: _values(number, metadata=f'{{"a": {_DIGITS}}}'),
}
NO_JSON: list[Callable[[str], bytes]] = [
    lambda row: row[:-3].encode(),
    lambda row: (row + row).encode(),
    lambda row: row.encode("utf-16"),
    lambda row: row.encode()[:40] + b"\xff\xfe" + row.encode()[40:],
    lambda row: b"\0" * 100,
    lambda row: f"[{row}]".encode(),
    lambda row: (row[:-1] + ', "user_id": "twice"}').encode(),
    lambda row: (row[:-1] + f', "unread": {_DEEP}}}').encode(),
    lambda row: (row[:-1] + ', "resources": [1]}').encode(),
    lambda row: ('{"\\ud800": 1, ' + row[1:]).encode(),
]
NO_CSV: list[Callable[[str], bytes]] = [
    lambda row: row.replace(",", ";").encode(),
    lambda row: (row + ",more").encode(),
    lambda row: ('"' + row).encode(),
    lambda row: row.encode()[:20] + b"\xff" + row.encode()[20:],
    lambda row: b"," * 500,
]


def values(number: int) -> Values:
    """The event with a number; the number selects how it is malicious."""
    if number % (len(SMALL) * LARGE_ROW_EVERY) < len(LARGE):
        return list(LARGE.values())[number % (len(SMALL) * LARGE_ROW_EVERY)](number)
    return list(SMALL.values())[number % len(SMALL)](number)


def json_line(number: int) -> bytes:
    """A JSON row without line end; every seventh is malformed."""
    if number % LONG_LINE_EVERY == LONG_LINE_EVERY - 1:
        return b'{"event_id": "' + b"x" * (3 << 19)
    row = "{" + ", ".join(f'"{name}": {value}' for name, value in values(number).items()) + "}"
    return NO_JSON[number // 7 % len(NO_JSON)](row).replace(b"\n", b"") if number % 7 == 6 else row.encode()


def csv_line(number: int) -> bytes:
    """A CSV row without line end; every seventh is malformed."""
    if number % LONG_LINE_EVERY == LONG_LINE_EVERY - 1:
        return b"x," * (3 << 18)
    cells = io.StringIO()
    csv.writer(cells, lineterminator="").writerow(_texts(values(number)).values())
    row = cells.getvalue().replace("\n", " ").replace("\r", " ")
    return NO_CSV[number // 7 % len(NO_CSV)](row) if number % 7 == 6 else row.encode()


def _texts(event: Values) -> Values:
    """Values as text: JSON strings without quotes."""
    return {name: json.loads(value) if value.startswith('"') else value for name, value in event.items()}


def write_rows(path: Path, first: int, count: int) -> None:
    """Write a file of malicious rows, numbered from `first`; the file name determines the format."""
    numbers = range(first, first + count)
    if path.suffix == ".parquet":
        rows = [_texts(values(number)) for number in numbers]
        pq.write_table(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in _FIELDS}), path)
        return
    line = csv_line if path.suffix == ".csv" else json_line
    with path.open("wb") as stream:
        if path.suffix == ".csv":
            stream.write(",".join(_FIELDS).encode() + b"\n")
        for number in numbers:
            stream.write(line(number) + b"\n")


def _file(folder: Path, number: int) -> Path:
    """Write one malicious file."""
    name = f"{number:05d}"
    path = folder / f"{name}.jsonl"
    good = json_line(number * 20)  # the first of its kind
    match number % 20:
        case 0:
            path.symlink_to("/proc/self/environ")
        case 1:
            os.mkfifo(path)
        case 2:
            path.mkdir()
        case 3:
            path.write_bytes(b"")
        case 4:
            path = folder / f"{name}.txt"
            path.write_bytes(good)
        case 5:
            path = folder / f"{name}.jsonl.gz"
            path.write_bytes(gzip.compress(good * 50)[:-20])
        case 6:
            path = folder / f"{name}.csv.gz"
            path.write_bytes(gzip.compress(b"\n" * (70 << 20), 1) if number % 200 == 6 else b"not compressed")
        case 7:
            path = folder / f"{name}.parquet"
            path.write_bytes(b"PAR1" + bytes(number % 251 for _ in range(200)) + b"PAR1")
        case 8:
            path = folder / f"{name}.parquet"
            write_rows(path, number * 20, 20)
            whole = bytearray(path.read_bytes())
            whole[number * 7919 % len(whole)] ^= 1 << number % 8
            path.write_bytes(whole)
        case 9:
            path = folder / f"{name}.csv"
            path.write_bytes(b"sandbox_id,user_id,user_id\n1,2,3\n")
        case 10:
            path = folder / f"{name}.csv"
            path.write_bytes(b"x" * 100_000)
        case 11:
            path = folder / f"{name}.parquet"
            pq.write_table(pa.table({"": ["x"], "sandbox_id": ["b"]}), path)
        case 12:
            path.write_bytes(b"\0" * (10_000 + number))
        case 13:
            path.write_bytes(b"\n" * 1_000_000)
        case 14:
            path = folder / f"{name} \u202e[red]'*?.jsonl"
            path.write_bytes(good)
        case 15:
            path = folder / f"{name}.csv"
            write_rows(path, number * 20, 20)
        case 16:
            path = folder / f"{name}.parquet"
            write_rows(path, number * 20, 20)
        case 17:
            path = folder / "missing" / path.name
        case _:
            write_rows(path, number * 20, 20)
    return path


def make(folder: Path, rows: int, files: int) -> None:
    """Write files of malicious rows, and malicious files; `files.json` lists them in order of landing."""
    first, paths = 10_000_000, []
    for format, share in SHARES.items():
        path = folder / f"rows.{format}"
        write_rows(path, first, rows * share // sum(SHARES.values()))
        first += rows
        paths.append(path)
    (folder / "files").mkdir()
    paths += [_file(folder / "files", number) for number in range(files)]
    (folder / "files.json").write_text(json.dumps([str(path) for path in paths]))


def land(folder: Path) -> dict[str, Any]:
    """Land the files; return seconds and counts of rows and files. Raises AssertionError if a row or file is unaccounted for."""
    paths = [Path(path) for path in json.loads((folder / "files.json").read_text())]
    home = Home.open(folder / "home")
    started = time.perf_counter()
    summary = land_files(home, paths)
    seconds = time.perf_counter() - started
    reported = Counter([*map(str, summary.landed_paths), *(problem.file for problem in summary.problems)])
    assert reported == Counter(map(str, paths)), "each file lands or is reported as a problem"
    for landed, path in zip(summary.files, summary.landed_paths, strict=True):
        assert landed.received == landed.accepted + landed.duplicates + landed.quarantined, path
        if path.parent == folder:
            assert landed.received == _rows_of(path), path
    assert [path for path in summary.landed_paths if path.parent == folder] == paths[: len(SHARES)], "all files of rows landed"
    with duckdb.connect() as connection:
        for collection, count in (("usage_events", summary.accepted), ("quarantine", summary.quarantined)):
            files = f"read_parquet('{home.raw}/{collection}/**/*.parquet', hive_partitioning = false)"
            assert connection.execute(f"select count(*) from {files}").fetchall() == [(count,)], collection
    counts = {"received": summary.received, "accepted": summary.accepted, "duplicates": summary.duplicates}
    counts |= {"quarantined": summary.quarantined, "files_landed": len(summary.files), "files_refused": len(summary.problems)}
    return {"seconds": round(seconds, 1), **counts, "by_reason": summary.by_reason}


def _rows_of(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    with path.open("rb") as stream:
        return sum(1 for _ in stream) - (path.suffix == ".csv")


def main() -> None:
    """Write the files, land them in a separate process, print and save the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-hostile"))  # noqa: S108 - a visible default
    parser.add_argument("--land", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.land:
        print(json.dumps(land(arguments.land)))
        return
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    call_in_process(make, arguments.folder, arguments.rows, arguments.files)
    ran = run_process([sys.executable, "-m", "benchmarks.hostile", "--land", str(arguments.folder)])
    if ran.exit_code:
        sys.exit("not everything is accounted for")
    found = {
        "rows": arguments.rows,
        "files": arguments.files,
        **json.loads(ran.output),
        "peak_gigabytes": round(ran.peak_gigabytes, 2),
    }
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hostile.json").write_text(json.dumps(found, indent=2) + "\n")
    shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
