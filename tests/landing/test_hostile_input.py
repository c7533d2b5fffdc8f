"""Hostile input: every row lands correctly or is quarantined, every file lands or is rejected with one line."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.duplicates import find_duplicates
from pipeline.landing.inbox import inbox_digest, waiting_files
from pipeline.landing.raw_files import write_landed_file
from pipeline.landing.record_kinds import Kind, TimestampUnit
from tests.landing.raw import event_line, events, land, landed_files, quarantined, rows_of, write_lines
from tests.support import billhouse

GOOD = event_line("good", sandbox_id="good")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def _parquet(path: Path, **columns: Any) -> Path:
    """One event, with changed fields."""
    event = json.loads(event_line("good"))
    table = {name: pa.array([value]) for name, value in event.items()}
    pq.write_table(pa.table({**table, **columns}), path)
    return path


def _in_format(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Rows of text, each value as written: a number in JSON is a number, in CSV and Parquet it is text."""
    names = list(rows[0])
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: pa.array([row[name] for row in rows]) for name in names}), path)
        return path
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([names, *([row[name] for name in names] for row in rows)])
        return path
    is_number = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
    written = [
        ", ".join(f'"{name}": {value if is_number.fullmatch(value) else json.dumps(value)}' for name, value in row.items())
        for row in rows
    ]
    return write_lines(path, [f"{{{row}}}" for row in written])


def _verdict(home: Home, path: Path) -> tuple[list[Any], dict[str, str]]:
    """Ids that landed, and reasons by id (by line, where a row has none)."""
    land(home, path)
    landed = [row["event_id"] for row in events(home)]
    return landed, {str(row["event_id"] or row["file_row"]): str(row["reason"]) for row in quarantined(home)}


NAMES = [
    "a b",
    "it's",
    'q"q',
    "ünï 🏳️‍🌈",
    "a[1]",
    "[ab]",
    "a*",
    "a?",
    "**",
    "{a,b}",
    "-x",
    "--json",
    "~x",
    "$HOME",
    "a%20b",
    "a\nb",
    "[red]a",
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_files_with_unusual_names_land_and_no_other_files_instead(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside them lie files that their names match, were they read as patterns; and they match one another."""
    monkeypatch.chdir(tmp_path)
    for decoy in ("a1", "a", "b", "ab", "x", "decoy"):
        path = tmp_path / f"{decoy}{suffix}"
        if suffix == ".parquet":
            _parquet(path, event_id=pa.array(["decoy"]), vcpu_count=pa.array([-1]))
        else:
            write_lines(path, [event_line("decoy")])
    paths = [tmp_path / f"{name}{suffix}" for name in NAMES]
    for place, path in enumerate(paths):
        if suffix == ".parquet":
            event = json.loads(event_line(None))
            columns = {key: pa.array([event[key]] * 2) for key in event}
            ids = pa.array([f"good-{place}", f"bad-{place}"])
            pq.write_table(pa.table({**columns, "event_id": ids, "vcpu_count": pa.array([1, -1])}), path)
        else:
            write_lines(path, [event_line(f"good-{place}", vcpu_count=1), event_line(f"bad-{place}", vcpu_count=-1)])
    outcome = billhouse(tmp_path / "home", "land", "--json", "--", *(path.name for path in paths))
    landed = (outcome.code, outcome.json["accepted"], outcome.json["duplicates"], outcome.json["quarantined"])
    assert landed == (0, len(NAMES), 0, len(NAMES)), outcome.stderr
    home = Home(tmp_path / "home")
    assert sorted(row["event_id"] for row in events(home)) == sorted(f"good-{place}" for place in range(len(NAMES)))
    found = {row["event_id"]: (row["file_name"], row["file_row"], json.loads(row["raw_row"])) for row in quarantined(home)}
    assert {event_id: (name, row, raw["event_id"]) for event_id, (name, row, raw) in found.items()} == {
        f"bad-{place}": (path.name, 2, f"bad-{place}") for place, path in enumerate(paths)
    }


def test_folders_named_like_columns_do_not_become_columns(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "event_id=stolen" / "user_id=mallory" / "vcpu_count=64" / "k=v"
    folder.mkdir(parents=True)
    land(home, _parquet(folder / "rows.parquet", memory_gb=pa.array([2])))
    (row,) = events(home)
    assert (row["event_id"], row["user_id"], row["vcpu_count"], row["memory_gb"]) == ("good", "ada", None, Decimal(2))


@pytest.mark.parametrize("name", ["it's", "a b", "h[1]", "[", "h*", "ünï", "{a}", "event_date=2020-01-01"])
def test_a_home_may_have_any_name(name: str, tmp_path: Path) -> None:
    home = Home.open(tmp_path / name)
    land(home, write_lines(tmp_path / "a.jsonl", [event_line("a"), "{"]))
    again = land(home, write_lines(tmp_path / "b.jsonl", [event_line("a"), event_line("a", vcpu_count=1)]))
    assert (again.duplicates, again.by_reason) == (1, {"conflicting_duplicate": 1})
    assert len(list(home.raw.glob("usage_events/event_date=2026-01-01/*.parquet"))) == 1


def test_one_file_by_several_paths_lands_once(home: Home, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [GOOD, "{"])
    (tmp_path / "copy.jsonl").write_bytes(path.read_bytes())
    (tmp_path / "hard.ndjson").hardlink_to(path)
    paths = [path, path, tmp_path / "hard.ndjson", tmp_path / "copy.jsonl", tmp_path / "home" / ".." / "rows.jsonl"]
    summary = land_files(home, paths)
    assert [file.is_already_landed for file in summary.files] == [False, True, True, True, True]
    assert (summary.received, summary.accepted, summary.duplicates, summary.quarantined) == (10, 1, 4, 5)
    assert len(landed_files(home)) == len(rows_of(home)) == len(quarantined(home)) == 1


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.jsonl")
    return folder / "pipe.jsonl"


def _long_name(folder: Path) -> Path:
    return folder / f"{'x' * 300}.jsonl"


def _loop(folder: Path) -> Path:
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    return folder / "loop.jsonl"


def _below_a_file(folder: Path) -> Path:
    (folder / "file.jsonl").write_text(GOOD)
    return folder / "file.jsonl" / "rows.jsonl"


def _not_utf8(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jsonl"))
    path.write_text(GOOD)
    return path


def _old_line_ends(folder: Path) -> Path:
    (folder / "old.csv").write_bytes(b"sandbox_id,user_id,timestamp,event_type\ra,b,2026-01-01T00:00:00Z,SandboxStarted\r")
    return folder / "old.csv"


def _no_end_of_header(folder: Path) -> Path:
    (folder / "header.csv").write_text("x" * 3_000_000)
    return folder / "header.csv"


def _utf16(folder: Path) -> Path:
    (folder / "utf16.csv").write_text("sandbox_id,user_id,timestamp,event_type\n", encoding="utf-16")
    return folder / "utf16.csv"


def _resources_of_csv(folder: Path) -> Path:
    return write_lines(
        folder / "resources.csv",
        [
            "sandbox_id,user_id,timestamp,event_type,resources",
            'box,ada,2026-01-01T00:00:00Z,SandboxStarted,"{""vcpu_count"": 64}"',
        ],
    )


def _resources_of_parquet(folder: Path) -> Path:
    return _parquet(folder / "resources.parquet", resources=pa.array(['{"vcpu_count": 64}']))


def _twice(folder: Path) -> Path:
    return _parquet(folder / "twice.parquet", USER_ID=pa.array(["mallory"]))


def _not_compressed(folder: Path) -> Path:
    (folder / "plain.csv.gz").write_text("sandbox_id,user_id,timestamp,event_type\n")
    return folder / "plain.csv.gz"


def _trailing_garbage(folder: Path) -> Path:
    (folder / "garbage.jsonl.gz").write_bytes(gzip.compress(GOOD.encode()) + b"garbage")
    return folder / "garbage.jsonl.gz"


def _wrong_checksum(folder: Path) -> Path:
    whole = gzip.compress((GOOD + "\n").encode())
    (folder / "checksum.jsonl.gz").write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    return folder / "checksum.jsonl.gz"


def _link(folder: Path) -> Path:
    (folder / "linked.jsonl").write_text(GOOD.replace("good", "linked"))
    (folder / "link.jsonl").symlink_to(folder / "linked.jsonl")
    return folder / "link.jsonl"


def _device(folder: Path) -> Path:
    """As `/dev/zero`, which no file is named like that could land."""
    path = folder / "device.jsonl"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(path)
    return path


def _folder(folder: Path) -> Path:
    (folder / "folder.jsonl").mkdir()
    return folder / "folder.jsonl"


def _expanding(folder: Path) -> Path:
    """150 MB of line ends, compressed to 150 KB."""
    with gzip.open(folder / "expanding.jsonl.gz", "wb", compresslevel=9) as stream:
        for _ in range(150):
            stream.write(b"\n" * (1 << 20))
    return folder / "expanding.jsonl.gz"


def _many_alike_rows(folder: Path) -> Path:
    event = json.loads(event_line(None))
    alike = {name: pa.array([value]).dictionary_encode() for name, value in event.items() if value is not None}
    table = pa.table(
        {
            name: pa.DictionaryArray.from_arrays(pa.array([0] * 1_500_000, pa.int32()), value.dictionary)
            for name, value in alike.items()
        }
    )
    pq.write_table(table, folder / "alike.parquet", compression="zstd")
    return folder / "alike.parquet"


def _nameless_column(folder: Path) -> Path:
    return _parquet(folder / "nameless.parquet", **{"": pa.array(["x"]), "vcpu_count": pa.array([-1])})


def _nameless_field(folder: Path) -> Path:
    return _parquet(folder / "field.parquet", note=pa.array([{"": b"x"}]), vcpu_count=pa.array([-1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_pipe, "is a pipe or a device"),
        (_link, "is a symbolic link"),
        (_device, "is a pipe or a device"),
        (_folder, "is a folder"),
        (_expanding, "expands from"),
        (_many_alike_rows, "has 1,500,000 rows in"),
        (_nameless_column, "a column without a name"),
        (_nameless_field, "a column without a name"),
        (_long_name, "File name too long"),
        (_loop, "is a symbolic link"),
        (_below_a_file, "does not exist"),
        (_not_utf8, "a name that is not UTF-8"),
        (_old_line_ends, "the header cannot be read"),
        (_no_end_of_header, "the header cannot be read"),
        (_utf16, "the header has no column"),
        (_resources_of_csv, "resources.vcpu_count"),
        (_resources_of_parquet, "resources.vcpu_count"),
        (_twice, "repeated or reserved columns: user_id"),
        (_not_compressed, "Not a gzipped file"),
        (_trailing_garbage, "Not a gzipped file"),
        (_wrong_checksum, "CRC check failed"),
    ],
)
def test_an_unusable_file_is_rejected_with_one_line_and_the_next_one_lands(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    bad, good = make(tmp_path), write_lines(tmp_path / "good.jsonl", [GOOD])
    outcome = billhouse(tmp_path / "home", "land", "--json", bad, good)
    assert (outcome.code, outcome.json["accepted"]) == (1, 1)
    (problem,) = outcome.json["problems"]
    assert message in f"{problem['reason']} {problem['next_step']}"
    assert "Traceback" not in outcome.stderr
    home = Home(tmp_path / "home")
    assert len(landed_files(home)) == 1
    assert [row["event_id"] for row in events(home)] == ["good"]


def test_broken_parquet_lands_whole_rows_or_is_refused(home: Home, tmp_path: Path) -> None:
    """Bytes turned over at random, and files cut off."""
    dice = random.Random(7)
    event = json.loads(event_line(None))
    rows = 200
    table = pa.table(
        {**{name: pa.array([event[name]] * rows) for name in event}, "event_id": [f"evt-{row}" for row in range(rows)]}
    )
    pq.write_table(table, tmp_path / "whole.parquet", row_group_size=50)
    whole = (tmp_path / "whole.parquet").read_bytes()
    for place in range(40):
        broken = bytearray(whole)
        if place % 4 == 0:
            del broken[dice.randrange(len(broken)) :]
        else:
            start = len(broken) - 700 if place % 2 else 0
            for _ in range(dice.choice((1, 3))):
                broken[dice.randrange(start, len(broken))] ^= 1 << dice.randrange(8)
        path = tmp_path / f"{place}.parquet"
        path.write_bytes(bytes(broken))
        summary = land_files(home, [path])
        assert len(summary.problems) + len(summary.files) == 1
        assert all(file.received == file.accepted + file.duplicates + file.quarantined for file in summary.files)


NUMBERS: dict[str, str | None] = {
    "0": "0",
    "-0": "0",
    "0.000001": "0.000001",
    "1e-6": "0.000001",
    "1E3": "1000",
    "1000000": "1000000",
    "1000000.000000": "1000000",
    '"2"': "2",
    '"+2"': "2",
    '"2.50000000000000000000000000000000"': "2.5",
    '"0e-30"': "0",
    '"12345.678e-3"': "12.345678",
    "null": None,
    '""': None,
}
"""What is written, and what it is stored as."""

NO_NUMBERS = [
    *(
        "-1",
        "-0.000001",
        "0.0000001",
        "1000000.000001",
        "1e7",
        "1e400",
        "-1e400",
        "1e-30",
        "-1e-30",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *(
        "true",
        "false",
        "[]",
        "{}",
        "[1]",
        '"nan"',
        '"inf"',
        '"1e99999999999"',
        '"\uff11"',
        '"\u0663"',
        '"1_000"',
        '"0x10"',
        '"1,5"',
    ),
    *('"1/2"', '"--1"', '"1e"', '"two"', '"0.0000000000000000000000001"', '"-0.0000000000000000000000001"'),
    *("1.0000000000000002e-05", '"1.0000000000000002e-5"', '"1.10000000000000000001 "'),
    *('"2.0000000000000000000000001"', '"99999999999999999999999999999999999999999999999999"'),
]


def test_a_number_is_what_it_says_or_in_quarantine(home: Home, tmp_path: Path) -> None:
    lines = [event_line(text)[:-1] + f', "vcpu_count": {text}}}' for text in [*NUMBERS, *NO_NUMBERS]]
    _, reasons = _verdict(home, write_lines(tmp_path / "numbers.jsonl", lines))
    assert reasons == dict.fromkeys(NO_NUMBERS, "bad_number")
    stored = {row["event_id"]: row["vcpu_count"] for row in events(home)}
    assert stored == {text: None if value is None else Decimal(value) for text, value in NUMBERS.items()}


FINE_NUMBERS = {
    "1e-400": None,
    "-1e-400": None,
    "1E-0400": None,
    "4.9e-324": None,
    "2.0000000000000000000000001": None,
    "0.1000000000000000055511151231257827": None,
    "123456789.12345600001": None,
    "0.0009770000000000001": None,
    "9770000000000001e-19": None,
    "9007199254740993e-10": None,
    "12345678901234567890.5": None,
    "2.00000000000000000000000000": "2",
    "0.0": "0",
    "0e-400": "0",
    "999999.999999": "999999.999999",
    "0.00000250000000000000000e2": "0.00025",
}
"""(text, stored value); None: more than six decimals, or over the maximum."""


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_number_that_no_float_can_represent_is_checked_alike_in_every_format(suffix: str, home: Home, tmp_path: Path) -> None:
    event = {name: str(value) for name, value in json.loads(event_line(None)).items() if value is not None}
    rows = [{**event, "event_id": f"id {text}", "vcpu_count": text, "note": "e-400"} for text in FINE_NUMBERS]
    _, reasons = _verdict(home, _in_format(tmp_path / f"numbers{suffix}", rows))
    assert reasons == {f"id {text}": "bad_number" for text, value in FINE_NUMBERS.items() if value is None}
    stored = {row["event_id"]: row["vcpu_count"] for row in events(home)}
    assert stored == {f"id {text}": Decimal(value) for text, value in FINE_NUMBERS.items() if value is not None}
    shown = {row["event_id"].removeprefix("id "): row["detail"] for row in quarantined(home)}
    assert [text for text, detail in shown.items() if text not in detail and text != "4.9e-324"] == [], "as it was written"


def test_exact_numbers_inside_resources_and_with_escaped_keys_are_checked_again_alike(home: Home, tmp_path: Path) -> None:
    fine = "2.0000000000000000000000001"
    lines = [
        event_line("inside")[:-1] + f', "metadata": {{"vcpu_count": 1}}, "resources": {{"memory_gb": 1, "vcpu_count": {fine}}}}}',
        event_line("tiny inside")[:-1] + ', "resources": {"memory_gb": 1e-400}}',
        event_line("escaped")[:-1] + f', "vcpu\\u005fcount": {fine}}}',
        event_line("elsewhere")[:-1] + f', "note": {fine}, "metadata": {{"vcpu_count": {fine}}}, "vcpu_count": 0.0}}',
        event_line("in a text", note=f" {fine} ", vcpu_count=1),
    ]
    path = write_lines(tmp_path / "fine.jsonl", lines)
    landed, reasons = _verdict(home, path)
    assert landed == ["elsewhere", "in a text"]
    assert reasons == dict.fromkeys(("inside", "tiny inside", "escaped"), "bad_number")
    assert [row["raw_row"] for row in quarantined(home)] == lines[:3]
    again = land_files(home, [path])
    assert (again.accepted, again.duplicates, again.by_reason) == (0, 2, {"bad_number": 3})
    assert len(landed_files(home)) == 1, "nothing has changed"


LONG_DIGITS = "7" * 1001
OVER_LIMIT = {
    "deep": '{"a":' * 65 + "1" + "}" * 65,
    "deep in turns": '[{"a":' * 33 + "1" + "}]" * 33,
    "many digits": f'{{"a": [1, {LONG_DIGITS}]}}',
    "long": json.dumps({"a": "x" * (1 << 16)}),
}
WITHIN_LIMIT = {
    "wide": "[" + "[]," * 5000 + "[]]",
    "level 64": "[" * 64 + "]" * 64,
    "brackets in text": json.dumps({"a": "[{" * 200}),
    "digits in text": json.dumps({"a": LONG_DIGITS}),
    "long enough": json.dumps({"a": "x" * 65_000}),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_metadata_that_breaks_a_bound_is_that_rows_quarantine_in_every_format(suffix: str, home: Home, tmp_path: Path) -> None:
    event = {name: str(value) for name, value in json.loads(event_line(None)).items() if value is not None}
    values = {**OVER_LIMIT, **WITHIN_LIMIT}
    if suffix == ".jsonl":
        lines = [event_line(name)[:-1] + f', "metadata": {value}}}' for name, value in values.items()]
        path = write_lines(tmp_path / "rows.jsonl", lines)
    else:
        path = _in_format(
            tmp_path / f"rows{suffix}", [{**event, "event_id": name, "metadata": text} for name, text in values.items()]
        )
    landed = land(home, path)
    assert (landed.accepted, landed.by_reason) == (len(WITHIN_LIMIT), {"over_limit": len(OVER_LIMIT)})
    assert {row["event_id"] for row in events(home)} == set(WITHIN_LIMIT)
    shown = [row["detail"] for row in quarantined(home)]
    assert "64 levels" in shown[0] and "64 levels" in shown[1] and "1,000 digits" in shown[2] and "65,536 bytes" in shown[3]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_one_row_in_quarantine_with_its_beginning(end: bytes, home: Home, tmp_path: Path) -> None:
    """One within a block, one over several blocks, one of nothing but blanks, and one that ends with the file."""
    long = event_line("long", note="é" * (1 << 20)).encode()
    lines = [GOOD.encode(), long, b" " * (20 << 20), event_line("b").encode(), b"{" + b" " * (20 << 20), event_line("c").encode()]
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"\n".join([*lines, long + end]))
    landed = land(home, path)
    assert (landed.received, landed.accepted, landed.by_reason) == (7, 3, {"over_limit": 4})
    assert [row["event_id"] for row in events(home)] == ["b", "c", "good"]
    rows = quarantined(home)
    assert [row["file_row"] for row in rows] == [2, 3, 5, 7]
    assert rows[0]["raw_row"].startswith('{"event_id": "long"')
    assert max(len(row["raw_row"]) for row in rows) <= 1000
    again = land_files(home, [path])
    assert (again.accepted, again.duplicates, again.quarantined) == (0, 3, 4)
    assert len(landed_files(home)) == 1, "a row that was cut off cannot be checked again"


def test_blank_lines_without_end_are_counted_and_left_out(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "blank.jsonl"
    path.write_bytes(b"\n" * 30_000_000 + GOOD.encode() + b"\n" + b"\r\n" * 1000)
    assert land(home, path).received == 1
    assert [row["file_row"] for row in rows_of(home)] == [30_000_001]


def test_a_file_that_is_closed_to_us_or_breaks_the_reader_stops_no_other(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, broken, good = (write_lines(tmp_path / f"{name}.jsonl", [event_line(name)]) for name in ("closed", "broken", "good"))
    open_file, judged = os.open, find_duplicates

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *args, **more)

    def fail(connection: duckdb.DuckDBPyConnection, *args: Any) -> None:
        if connection.execute("select count(*) from checked where event_id = 'broken'").fetchall() == [(1,)]:
            raise duckdb.InternalException("an error of the reader")
        judged(connection, *args)

    monkeypatch.setattr("pipeline.core.regular_files.os.open", refuse)
    monkeypatch.setattr("pipeline.landing.row_checks.find_duplicates", fail)
    summary = land_files(home, [closed, broken, good])
    assert [problem.file for problem in summary.problems] == [str(closed), str(broken)]
    assert "Permission denied" in summary.problems[0].reason
    assert "an error of the reader" in summary.problems[1].reason
    assert [row["event_id"] for row in events(home)] == ["good"]


def test_a_link_that_takes_the_files_place_while_it_lands_is_not_followed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, secret = write_lines(tmp_path / "rows.jsonl", ["{"]), write_lines(tmp_path / "secret.jsonl", ["a secret"])

    def judge_late(*args: Any) -> None:
        path.unlink()
        path.symlink_to(secret)
        find_duplicates(*args)

    monkeypatch.setattr("pipeline.landing.row_checks.find_duplicates", judge_late)
    (problem,) = land_files(home, [path]).problems
    assert "symbolic link" in problem.reason
    assert landed_files(home) == []


def test_a_file_that_is_being_written_to_an_inbox_on_another_disk_does_not_wait_yet(home: Home) -> None:
    target = home.inbox / "usage" / "2026" / "rows.jsonl"
    other_disk = patch("pipeline.core.files.are_on_same_disk", return_value=False)
    with other_disk, replace_atomically(target, scratch=home.scratch) as path:
        path.write_text(GOOD[:10])
        assert path.is_relative_to(home.inbox)
        assert (waiting_files(home, "usage"), inbox_digest(home)) == ([], "")
    assert waiting_files(home, "usage") == [target]


def test_links_and_pipes_in_the_inbox_are_rejected_by_name_and_stay(home: Home, tmp_path: Path) -> None:
    folder = home.inbox / "usage" / "2026"
    folder.mkdir(parents=True)
    write_lines(folder / "good.jsonl", [GOOD])
    secret = write_lines(tmp_path / "secret.jsonl", [event_line("secret")])
    (folder / "link.jsonl").symlink_to(secret)
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "dangling.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.jsonl")
    waiting = waiting_files(home, Kind.USAGE)
    assert [path.name for path in waiting] == ["dangling.csv", "good.jsonl", "link.jsonl", "pipe.jsonl"]
    assert inbox_digest(home)
    summary = land_files(home, waiting)
    assert [Path(problem.file).name for problem in summary.problems] == ["dangling.csv", "link.jsonl", "pipe.jsonl"]
    assert [row["event_id"] for row in events(home)] == ["good"]


INSTANTS = {
    "1970-01-01T00:00:00Z": datetime(1970, 1, 1, tzinfo=UTC),
    "2024-02-29T23:59:59.999999Z": datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC),
    "2026-01-01T24:00:00Z": datetime(2026, 1, 2, tzinfo=UTC),
    "2026-01-01T00:00:00+23:59": datetime(2025, 12, 31, 0, 1, tzinfo=UTC),
    "2026-01-01T00:00:00.9999999Z": datetime(2026, 1, 1, 0, 0, 0, 999_999, UTC),
    "2026-01-01T10:00Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "2026-01-01T10:00+02:00": datetime(2026, 1, 1, 8, tzinfo=UTC),
    "2026-01-01 10:00": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "2026-01-01T10Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "2026-01-01t10:00:00z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "20260101T100000Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "20260101T1000-0530": datetime(2026, 1, 1, 15, 30, tzinfo=UTC),
    "2026-01-01T10:00:00,123Z": datetime(2026, 1, 1, 10, 0, 0, 123_000, UTC),
    "2026-01-01T10:30,5Z": datetime(2026, 1, 1, 10, 30, 30, tzinfo=UTC),
    "2026-01-01T10:00:00\u221205:00": datetime(2026, 1, 1, 15, tzinfo=UTC),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2017-01-01T05:29:60.25+05:30": datetime(2017, 1, 1, 0, 0, 0, 250_000, UTC),
    "2026-W01-4T10:00:00Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "2026W014T1000Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "2024-366T10:00Z": datetime(2024, 12, 31, 10, tzinfo=UTC),
    "9998-12-31T23:59:59Z": None,
}
"""What is written, and what it is; None: too far in the future for an event, which is another reason."""

NO_INSTANTS = [
    *("1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "294247-01-10T04:00:54.775807Z", "-2026-01-01T00:00:00Z"),
    *("2016-12-31T10:00:60Z", "2026-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),
    *("2026-01-01T24:00:00.5Z", "2026-01-01T24:00:01Z", "2026-01-01T25:00:00Z", "2026-01-01T10:60:00Z"),
    *("2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+99:00", "2026-01-01T00:00:00+05:75", "2026-01-01T00:00:00+5"),
    *(
        "2026-01-01",
        "20260101",
        "2026-1-1T00:00:00Z",
        "2026-W01-1",
        "2026-W54-1T00:00Z",
        "2025-366T00:00Z",
        "2026-01-01T10:00:0Z",
    ),
    *("1767261600", "epoch", "infinity", "now", "today", "2026-01-01T10:00:00 UTC", "2026-01-01T10:00:00Z; drop table"),
    *("\uff12026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", "2026-01-01T00:00:00Z\0", " ", "2026-01-01T00:00:00 Europe/Berlin"),
]
"""Among them a second 60 that is not the last of a day, and dates alone."""


def test_a_timestamp_is_an_instant_or_in_quarantine(home: Home, tmp_path: Path) -> None:
    texts = [*INSTANTS, *NO_INSTANTS]
    lines = [event_line(f"e{place}", timestamp=text) for place, text in enumerate(texts)]
    _, found = _verdict(home, write_lines(tmp_path / "instants.jsonl", lines))
    reasons = {texts[int(event_id[1:])]: reason for event_id, reason in found.items()}
    late = [text for text, instant in INSTANTS.items() if instant is None]
    assert reasons == dict.fromkeys(NO_INSTANTS, "bad_timestamp") | dict.fromkeys(late, "future_timestamp")
    assert {texts[int(row["event_id"][1:])]: row["event_at"] for row in events(home)} == {
        text: instant for text, instant in INSTANTS.items() if instant is not None
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9999-12-31T23:59:59Z", "after the year 9998"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("2026-01-01", "a date without a time"),
        ("1767261600", "a number without a unit"),
        ("2026-02-30T00:00Z", "a date or time that does not exist"),
        ("2026-01-01T10:00:60Z", "not the last second of a day"),
        ("2026-01-01T10:00:00 UTC", "Write Z or an offset"),
        ("soon", "not an instant in ISO 8601"),
    ],
)
def test_the_reason_for_an_instant_that_does_not_land_is_true(text: str, why: str, home: Home, tmp_path: Path) -> None:
    land(home, write_lines(tmp_path / "one.jsonl", [event_line("a", timestamp=text)]))
    (row,) = quarantined(home)
    assert why in row["detail"]


@pytest.mark.parametrize(
    ("unit", "number"),
    [
        (TimestampUnit.SECONDS, "1767261600.5"),
        (TimestampUnit.MILLISECONDS, "1767261600500"),
        (TimestampUnit.MICROSECONDS, "1767261600500000"),
        (TimestampUnit.NANOSECONDS, "1767261600500000999"),
    ],
)
def test_a_number_is_an_instant_where_its_unit_is_given(unit: TimestampUnit, number: str, home: Home, tmp_path: Path) -> None:
    """1767261600 seconds after 1970 is 2026-01-01 10:00 UTC. Text is read as usual; without a unit numbers are rejected."""
    lines = [event_line("a").replace('"2026-01-01T10:00:00Z"', number), event_line("b")]
    path = write_lines(tmp_path / "numbers.jsonl", lines)
    assert land(home, path).by_reason == {"bad_timestamp": 1}
    again = land_files(home, [path], timestamps=unit).files[0]
    assert (again.accepted, again.duplicates, again.quarantined) == (1, 1, 0)
    half = datetime(2026, 1, 1, 10, 0, 0, 500_000, UTC)
    assert {row["event_id"]: row["event_at"] for row in events(home)} == {"a": half, "b": half.replace(microsecond=0)}


IDS = [
    "'); drop table source_rows; --",
    "'; copy (select 1) to 'stolen' --",
    '"quoted"',
    "\u0301combining",
    "🏳️‍🌈",
    "{0}%s$1\\1",
    "../../etc/passwd",
    "x" * 190,
    "é" * 190,
    "NULL",
    "true",
    "1.5",
    "-7",
    '{"id": 7}',
]
NO_IDS = [
    "a\nb",
    "a\0b",
    "\u202egnidaer",
    "a\u200fb",
    "a\u2028b",
    "a\u2066b",
    "a\x7fb",
    "x" * 201,
    "x" * 60_000,
    " ",
    "\u00a0",
]
"""Text that is rejected as an id: blank, too long, or with invisible or misleading characters."""
NO_ID_VALUES = [{"id": 7}, ["a"], [], {}, True, False, 1.5, 1e300, -0.5, ""]
"""JSON that is neither text nor a whole number, and empty text."""


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_an_id_with_any_text_is_handled_as_an_id(suffix: str, home: Home, tmp_path: Path) -> None:
    """Also in the details of conflicts and wrong owners."""
    ids = [text for text in IDS if suffix != ".csv" or "\n" not in text]
    fields = ["event_id", "sandbox_id", "user_id", "timestamp", "event_type", "vcpu_count"]
    at = "2026-01-01T10:00:00Z"
    rows = [[text, text, text, at, "SandboxStarted", "1"] for text in ids]
    rows += [[text, text, text, at, "SandboxStarted", "2"] for text in ids]
    rows += [[f"new {text}", text, f"not {text}", at, "SandboxStarted", "2"] for text in ids]
    path = tmp_path / f"ids{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({name: [row[place] for row in rows] for place, name in enumerate(fields)}), path)
    elif suffix == ".csv":
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
        write_lines(path, [",".join(fields), *quoted])
    else:
        write_lines(path, [json.dumps(dict(zip(fields, row, strict=True))) for row in rows])
    landed = land(home, path)
    assert landed.by_reason == {"conflicting_duplicate": len(ids), "user_mismatch": len(ids)}
    assert sorted((row["event_id"], row["sandbox_id"], row["user_id"]) for row in events(home)) == sorted(
        (text,) * 3 for text in ids
    )
    assert all(len(row["detail"]) < 1500 for row in quarantined(home))


@pytest.mark.parametrize("field", ["sandbox_id", "user_id", "event_id", "execution_id"])
def test_what_is_no_id_is_quarantined_and_a_blank_optional_one_is_absent(field: str, home: Home, tmp_path: Path) -> None:
    is_optional = field in ("event_id", "execution_id")
    values = [*NO_IDS, *NO_ID_VALUES]
    rows = [json.loads(event_line(f"e{place}")) | {field: value} for place, value in enumerate(values)]
    lines = [json.dumps(row) for row in rows]
    landed = land(home, write_lines(tmp_path / "ids.jsonl", lines))
    blank = sum(isinstance(value, str) and not value.strip() for value in values) if is_optional else 0
    assert landed.accepted + landed.duplicates == blank
    assert landed.by_reason == {"bad_id": len(values) - blank}
    assert all(field in row["detail"] and "\u202e" not in row["detail"] for row in quarantined(home))


def test_a_whole_number_is_stored_as_an_id_of_its_digits(home: Home, tmp_path: Path) -> None:
    lines = [event_line(str(number), user_id=number, sandbox_id=number) for number in (7, 12345678901234567890123, -7)]
    assert land(home, write_lines(tmp_path / "ids.jsonl", lines)).accepted == 3
    assert {row["user_id"] for row in events(home)} == {"7", "12345678901234567890123", "-7"}


def test_a_repeated_key_rejects_the_row_and_a_repeated_column_the_file(home: Home, tmp_path: Path) -> None:
    """5 or 7 tokens: either could be meant."""
    good = event_line("good", metadata={"a": 1})
    lines = [good[:-1] + ', "tokens": 5, "tokens": 7}', good[:-1] + ', "resources": {"tokens": 5, "tokens": 7}}', good]
    landed = land(home, write_lines(tmp_path / "keys.jsonl", lines))
    assert (landed.accepted, landed.by_reason) == (1, {"unreadable": 2})
    assert all("twice" in row["detail"] for row in quarantined(home))
    csv_file = write_lines(
        tmp_path / "a.csv", ["sandbox_id,user_id,timestamp,event_type,tokens,tokens", "b,a,2026-01-01T00:00Z,x,,7"]
    )
    (problem,) = land_files(home, [csv_file]).problems
    assert "repeated columns: tokens" in problem.reason


def test_deep_long_and_unusual_json_is_checked_row_by_row(home: Home, tmp_path: Path) -> None:
    deep = "[" * 30_000 + "]" * 30_000
    lines: list[str | bytes] = [
        event_line("deep")[:-1] + f', "metadata": {deep}}}',
        event_line("deep, cut off")[:-1] + f', "metadata": {deep[:-1]}}}',
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        event_line("long", metadata={"text": "x" * 5_000_000}),
        event_line("long, cut off", metadata={"text": "x" * 5_000_000})[:-3],
        event_line("not a number")[:-1] + ', "metadata": {"a": NaN, "b": -Infinity, "c": 1e999}}',
        event_line("plain", metadata="not JSON {"),
        event_line("two on a line") + event_line("second"),
        event_line("and more") + " and more",
        b"\0" * 100,
        b"\xff\xfe" + GOOD.encode("utf-16-le"),
        GOOD.encode()[:-1] + b', "execution_id": "\xc3\x28"}',
        '{"event_id": "\\ud800", "sandbox_id": "s", "user_id": "u"}',
        "\ufeff" + event_line("mark inside the file"),
        f"[{GOOD}]",
        event_line("single").replace('"', "'"),
        event_line("resources as text", resources='{"vcpu_count": 64}'),
        event_line("resources as a list", resources=[{"vcpu_count": 64}]),
        event_line("no resources", resources=None),
        event_line("number", user_id=12345678901234567890123, sandbox_id=7),
        "{}",
        GOOD,
    ]
    landed, reasons = _verdict(home, write_lines(tmp_path / "odd.jsonl", lines))
    assert landed == sorted(["not a number", "plain", "no resources", "number", "good"])
    unreadable = {str(line): "unreadable" for line in (2, 8, 9, 10, 11, 12, 13, 14, 15, 16)}
    unreadable |= dict.fromkeys(("deep", "4", "5"), "over_limit")
    ours = {"resources as text": "unreadable", "resources as a list": "unreadable"}
    assert reasons == {**unreadable, **ours, "3": "missing_field", "21": "missing_field"}
    assert next(row["user_id"] for row in events(home) if row["event_id"] == "number") == "12345678901234567890123"


def test_the_quarantine_keeps_every_row_as_it_came_even_if_it_is_no_text(home: Home, tmp_path: Path) -> None:
    lines: list[str | bytes] = ["{ not json ", b"caf\xe9 \xff", event_line("a", vcpu_count=-1, note="ключ")]
    land(home, write_lines(tmp_path / "bad.jsonl", lines))
    assert [row["raw_row"] for row in quarantined(home)] == ["{ not json ", r"caf\xE9 \xFF", lines[2]]


def test_the_quarantine_keeps_a_row_of_parquet_with_all_its_columns_and_no_others(home: Home, tmp_path: Path) -> None:
    path = _parquet(
        tmp_path / "bad.parquet",
        vcpu_count=pa.array([float("nan")]),
        columns=pa.array(["mine"]),
        **{'a "b"': pa.array([b"\xff"])},
    )
    land(home, path)
    (row,) = quarantined(home)
    event = json.loads(event_line("good"))
    assert list(json.loads(row["raw_row"])) == [*event, "vcpu_count", "columns", 'a "b"']
    assert (row["reason"], json.loads(row["raw_row"])["columns"]) == ("bad_number", "mine")


def test_many_days_in_one_file_land_each_in_its_own(home: Home, tmp_path: Path) -> None:
    lines = [event_line(None, timestamp=f"{1971 + place // 12}-{1 + place % 12:02d}-01T00:00:00Z") for place in range(120)]
    assert land(home, write_lines(tmp_path / "days.jsonl", lines)).accepted == 120
    assert len(list(home.raw.glob("usage_events/event_date=*/*.parquet"))) == 120
    assert len(rows_of(home)) == 120


def test_an_unreadable_unused_column_stops_no_other_file(home: Home, tmp_path: Path) -> None:
    bad = _parquet(tmp_path / "bad.parquet", vcpu_count=pa.array([-1]), seen=pa.array([2**60], pa.timestamp("ms")))
    summary = land_files(home, [bad, _parquet(tmp_path / "good.parquet")])
    assert [problem.file for problem in summary.problems] == [str(bad)]
    assert [file.accepted for file in summary.files] == [1]


def test_a_row_of_csv_that_is_nothing_but_commas_is_one_bad_row(home: Home, tmp_path: Path) -> None:
    columns = "sandbox_id,user_id,timestamp,event_type"
    good = "box,ada,2026-01-01T10:00:00Z,sandbox_started"
    landed = land(home, write_lines(tmp_path / "commas.csv", [columns, "," * (60 << 20), good]))
    assert (landed.accepted, landed.by_reason) == (1, {"over_limit": 1})
    landed = land(home, write_lines(tmp_path / "fewer.csv", [columns, "," * 60_000, good]))
    assert (landed.duplicates, landed.by_reason) == (1, {"unreadable": 1})


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_file_that_is_written_to_while_it_is_read_does_not_land(
    home: Home, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = write_lines(tmp_path / "growing.jsonl", [GOOD])
    path = lines if format == "jsonl" else _parquet(tmp_path / "growing.parquet")

    def judge_late(*args: Any) -> None:
        write_lines(path, [GOOD, event_line("more")])
        find_duplicates(*args)

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.landing.row_checks.find_duplicates", judge_late)
        (problem,) = land_files(home, [path]).problems
    assert "was changed while it was read" in problem.reason
    assert landed_files(home) == []
    assert [path for path in home.raw.rglob("*.parquet") if path.name != "_schema.parquet"] == []
    if path is lines:
        assert land(home, path).accepted == 2


def test_a_file_that_is_gone_once_its_rows_are_written_lands_with_its_first_and_last_instant(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _parquet(tmp_path / "gone.parquet")

    def write_late(*args: Any, **options: Any) -> None:
        path.unlink()
        write_landed_file(*args, **options)

    monkeypatch.setattr("pipeline.landing.land.write_landed_file", write_late)
    assert land(home, path).accepted == 1
    (file,), (event,) = landed_files(home), events(home)
    assert file["first_at"] == file["last_at"] == event["event_at"]
