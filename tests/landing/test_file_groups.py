"""Small files that are landed in one call are taken together, with the results of landing them one after another."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import SEEDS, Home
from pipeline.landing import file_groups, group_landing, land_files, parquet_query, row_checks
from pipeline.landing.file_groups import GroupUnread, grouped_bytes, layout_of
from pipeline.landing.input_files import examine
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from pipeline.landing.specification import specification
from pipeline.landing.unread_columns import KEY_SEPARATOR, UnreadColumns
from pipeline.store.manifest import read_manifest
from tests.landing.random_files import state_of
from tests.landing.raw import event_line, landed_files, quarantined, rows_of, write_lines

MINE = """
-- description: mine
-- kind: usage
select
    list(file_row) as file_row,
    row ->> '$.event_id' as event_id,
    row ->> '$.sandbox_id' as sandbox_id,
    row ->> '$.user_id' as user_id,
    row ->> '$.timestamp' as timestamp,
    row ->> '$.event_type' as event_type,
    cast(row ->> '$.vcpu_count' as decimal(18, 6)) as vcpu_count,
    json_object('file', file_name, 'of', (select max(file_row) from rows)) as metadata
from rows
where row ->> '$.user_id' is distinct from 'bob'
group by all
union all
select [file_row], 'again-' || (row ->> '$.event_id'), row ->> '$.sandbox_id', row ->> '$.user_id', row ->> '$.timestamp',
    'sandbox_stopped', null, null
from rows
where file_row = 2
"""
"""Joins equal rows, leaves rows out, gives two rows for the second of each file, fails for some, and names the file."""
SHAPES = ("jsonl", "csv", "parquet", "mixed", "source")


def _events(draw: random.Random, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events with repeated and conflicting ids, several users of a sandbox, invalid values and unread columns.

    Some are of those before, to which they are added.
    """
    events = []
    for _ in range(draw.randrange(1, 9)):
        more: dict[str, Any] = draw.choice([{}, {}, {"vcpus": 3}, {"resources": {"cpu": 1}}, {"metadata": {"any": ["a\nb", ""]}}])
        line = event_line(
            draw.choice([None, *(f"evt-{place}" for place in range(40))]),
            sandbox_id=draw.choice([None, *(f"box-{place}" for place in range(8))]),
            user_id=draw.choice(["ada"] * 5 + ["bob"]),
            timestamp=f"2026-01-0{draw.randrange(1, 4)}T1{draw.randrange(2)}:00:00Z",
            event_type=draw.choice(["sandbox_started", "resources_updated"]),
            vcpu_count=draw.choice([1, 2, "two", ...]),
            **more,
        )
        before.append(draw.choice([json.loads(line)] * 3 + before[:1] + before[-2:]))
        events.append(before[-1])
    return events


def _write_jsonl(path: Path, events: list[dict[str, Any]], draw: random.Random) -> None:
    bad: list[str | bytes] = ["{", "", '{"a": 1, "a": 2}', "\xe9".encode("latin-1")]
    lines = [draw.choice([*[json.dumps(event)] * 9, *bad]) for event in events]
    write_lines(path, lines if draw.randrange(8) else ["", ""])


def _write_csv(path: Path, events: list[dict[str, Any]], draw: random.Random) -> None:
    """With one of four headers, of which one lacks a column that every row must have."""
    names = ["event_id", "sandbox_id", "user_id", "timestamp", "event_type", "vcpu_count", "metadata"]
    delimiter, names = draw.choice([(",", names)] * 5 + [(";", names), (",", [*names, "vcpus"]), (",", [names[0], *names[2:]])])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=draw.choice(["\n", "\n", "\r\n"]))
    writer.writerow(names)
    for event in events:
        cells = [event.get(name) for name in names]
        writer.writerow(cells[: draw.choice([9] * 8 + [2])])
        text.write(draw.choice([""] * 8 + ["\n", 'evt-"1,a\n']))
    path.write_text(text.getvalue())


def _write_parquet(path: Path, events: list[dict[str, Any]], draw: random.Random) -> None:
    """With one of four sets of columns and types, or cut off."""
    count = pa.string() if any(event.get("vcpu_count") == "two" for event in events) else draw.choice([pa.int32(), pa.float16()])
    types = {name: pa.string() for name in ("event_id", "sandbox_id", "user_id", "timestamp", "event_type")}
    types |= {"vcpu_count": count} | draw.choice([{}, {}, {"vcpus": pa.int8()}])
    columns = {name: [event.get(name) for event in events] for name in types}
    if count == pa.string():
        columns["vcpu_count"] = [None if value is None else str(value) for value in columns["vcpu_count"]]
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    pq.write_table(table, path)
    if not draw.randrange(8):
        path.write_bytes(path.read_bytes()[:-20])


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}


def _usage_files(folder: Path, seed: int, shape: str) -> list[Path]:
    """Small files of a shape, among them compressed ones, one that is cut off, an empty one and one that is missing."""
    draw = random.Random(seed)
    folder.mkdir()
    files, events = [], list[dict[str, Any]]()
    for number in range(12):
        suffix = draw.choice(list(_WRITERS)) if shape in ("mixed", "source") else shape
        path = folder / f"{number}.{suffix}"
        _WRITERS[suffix](path, _events(draw, events), draw)
        if suffix != "parquet" and (choice := draw.randrange(6)) < 2:
            content = gzip.compress(path.read_bytes() * (1 if choice else 50))
            path = path.with_name(f"{path.name}.gz")
            path.write_bytes(content if choice else content[:-20])
        files.append(path)
    (folder / "empty.jsonl").touch()
    files.insert(draw.randrange(len(files)), folder / "empty.jsonl")
    files.insert(draw.randrange(len(files)), folder / f"missing.{_suffix(shape)}")
    files.append(draw.choice(files))
    return files


def _suffix(shape: str) -> str:
    return shape if shape in _WRITERS else "jsonl"


def _home(folder: Path) -> Home:
    """A home with the source."""
    home = Home.open(folder)
    home.sources.mkdir()
    (home.sources / "mine.sql").write_text(MINE.strip())
    return home


def _land(home: Home, calls: Sequence[Sequence[Path]], shape: str) -> dict[str, Any]:
    source = find_source(home, "mine") if shape == "source" else None
    summaries = [land_files(home, files, source=source) for files in calls]
    return {
        "files": [vars(file) for summary in summaries for file in summary.files],
        "paths": [path for summary in summaries for path in summary.landed_paths],
        "problems": [vars(problem) for summary in summaries for problem in summary.problems],
    }


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_files_in_one_call_one_by_one_and_in_random_groups_leave_the_same_rows(tmp_path: Path, shape: str, seed: int) -> None:
    files = _usage_files(tmp_path / "files", seed, shape)
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(1, len(files)), 3))
    in_groups = [files[start:end] for start, end in zip([0, *cuts], [*cuts, len(files)], strict=True)]
    calls = {"one_by_one": [[file] for file in files], "in_one_call": [files], "in_groups": in_groups}
    found = {}
    for name, each in calls.items():
        home = _home(tmp_path / name)
        found[name] = (_land(home, each, shape), state_of(home))
    assert found["in_one_call"] == found["one_by_one"]
    assert found["in_groups"] == found["one_by_one"]
    summary, rows = found["one_by_one"]
    assert len(summary["files"]) > 6
    assert len(summary["problems"]) >= 2
    assert rows["usage_events"]
    assert rows["quarantine"]
    assert any(file["duplicates"] for file in summary["files"])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_group_is_one_write_with_a_file_a_day_and_a_row_of_landed_files_for_each_file(tmp_path: Path, shape: str) -> None:
    home = _home(tmp_path / "home")
    files = []
    for number in range(6):
        event = json.loads(event_line(f"evt-{number}", timestamp=f"2026-01-0{1 + number % 2}T10:00:00Z"))
        suffix = ("jsonl", "csv", "parquet")[number % 3] if shape in ("mixed", "source") else shape
        files.append(tmp_path / f"{number}.{suffix}")
        match suffix:
            case "jsonl":
                write_lines(files[-1], [json.dumps(event)])
            case "csv":
                write_lines(files[-1], [",".join(event), ",".join(event.values())])
            case _:
                pq.write_table(pa.table({name: [value] for name, value in event.items()}), files[-1])
    _land(home, [files], shape)
    manifest = read_manifest(home)
    assert len(manifest.heads) == 1
    assert len([path for path in manifest.files if "/usage_events/" in path]) == 2
    assert len([path for path in manifest.files if "/landed_files/" in path]) == 1
    assert [(row["landed_sequence"], row["file_name"]) for row in landed_files(home)] == [
        (number + 1, path.name) for number, path in enumerate(files)
    ]
    assert [row["file_row"] for row in rows_of(home)] == [
        2 if row["file_id"] in _ids(home, ".csv") else 1 for row in rows_of(home)
    ]
    again = _land(home, [[*files, write_lines(tmp_path / "new.jsonl", [event_line("evt-6")])]], shape)
    assert [file["is_already_landed"] for file in again["files"]] == [True] * 6 + [False]


def _ids(home: Home, suffix: str) -> set[str]:
    return {row["file_id"] for row in landed_files(home) if row["file_name"].endswith(suffix)}


@pytest.mark.parametrize("shape", ["csv", "parquet"])
def test_rows_in_quarantine_name_their_file_and_line_and_its_text(tmp_path: Path, shape: str) -> None:
    home = Home.open(tmp_path / "home")
    good, bad = json.loads(event_line("evt-1")), json.loads(event_line("evt-2", timestamp="never"))
    files = []
    for number in range(3):
        events = [good | {"event_id": f"evt-{number}"}] * number + [bad]
        files.append(tmp_path / f"{number}.{shape}")
        if shape == "csv":
            write_lines(files[-1], [",".join(good), *(",".join(event.values()) for event in events)])
        else:
            pq.write_table(pa.Table.from_pylist(events), files[-1])
    summary = land_files(home, files)
    first = 2 if shape == "csv" else 1
    assert [file.example.partition(":")[0] for file in summary.files] == [
        f"bad_timestamp, line {first + number}" for number in range(3)
    ]
    assert [(row["file_name"], row["file_row"], row["header"]) for row in quarantined(home)] == [
        (file.name, first + number, ",".join(good) if shape == "csv" else None) for number, file in enumerate(files)
    ]
    text = ",".join(bad.values()) if shape == "csv" else json.dumps(bad, separators=(",", ":"))
    assert [row["raw_row"] for row in quarantined(home)] == [text] * 3


def test_samples_in_one_call_correct_those_of_earlier_files(tmp_path: Path) -> None:
    def sample(minute: int, percent: int) -> str:
        at = f"2026-01-01T10:0{minute}:00Z"
        return json.dumps({"sandbox_id": "box", "timestamp": at, "cpu_used_pct": percent, "mem_bytes": 1})

    contents = [[sample(1, 5), sample(2, 5)], [sample(1, 6), sample(2, 5)], [sample(1, 6), sample(1, 5), sample(3, 1)]]
    files = [write_lines(tmp_path / f"{number}.jsonl", lines) for number, lines in enumerate(contents)]
    together, apart = Home.open(tmp_path / "together"), Home.open(tmp_path / "apart")
    summary = land_files(together, files, Kind.METRICS)
    for file in files:
        land_files(apart, [file], Kind.METRICS)
    assert [(file.accepted, file.duplicates) for file in summary.files] == [(2, 0), (1, 1), (2, 1)]
    assert state_of(together) == state_of(apart)


def test_the_first_row_with_an_id_is_named_by_its_file_if_it_is_in_an_earlier_file_of_the_group(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    first = write_lines(tmp_path / "1.jsonl", ["", event_line("evt-1")])
    second = write_lines(
        tmp_path / "2.jsonl", [event_line("evt-1", user_id="ada", event_type="sandbox_stopped"), event_line("evt-2")]
    )
    third = write_lines(tmp_path / "3.jsonl", [event_line("evt-3"), event_line("evt-3", event_type="sandbox_stopped")])
    summary = land_files(home, [first, second, third])
    first_id = summary.files[0].file_id[:12]
    assert f"(file {first_id}, row 2)" in summary.files[1].example
    assert "line 1:" in summary.files[1].example
    assert "(row 1)" in summary.files[2].example


def test_a_parquet_file_of_few_bytes_and_many_rows_lands_alone(tmp_path: Path) -> None:
    def is_grouped(rows: int) -> bool:
        path = tmp_path / f"{rows}.parquet"
        pq.write_table(pa.table({"event_id": pa.nulls(rows, pa.string())}), path)
        return grouped_bytes(examine(path, Kind.USAGE), Kind.USAGE) is not None

    assert is_grouped(1000)
    assert not is_grouped(100_000)


def _parquet(path: Path, number: int, **columns: list[Any]) -> Path:
    """Three events, or as many as a column has values, with further columns."""
    count = len(next(iter(columns.values()), [0] * 3))
    events = [json.loads(event_line(f"evt-{number}-{place}")) for place in range(count)]
    pq.write_table(pa.table({**{name: [event[name] for event in events] for name in events[0]}, **columns}), path)
    return path


@pytest.mark.parametrize("shape", ["parquet", "source"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("file_index", ([1, 1], [0, 0, 0])),
        ("file_index", ([0, 0], [0, 0, 0])),
        ("FILE_INDEX", ([7, 7], [7, 7])),
        ("File_Index", ([-1], [-2])),
        ("filename", ([1, 1], [0, 0, 0])),
        ("File_Row_Number", ([1, 1], [0, 0, 0])),
    ],
)
def test_a_column_with_the_name_of_one_of_duckdb_changes_no_row(
    tmp_path: Path, shape: str, name: str, values: tuple[list[int], list[int]]
) -> None:
    files = [_parquet(tmp_path / f"{number}.parquet", number, **{name: of_file}) for number, of_file in enumerate(values)]
    files.append(_parquet(tmp_path / "2.parquet", 2))
    assert grouped_bytes(examine(files[0], Kind.USAGE), Kind.USAGE) is None
    together, apart = _home(tmp_path / "together"), _home(tmp_path / "apart")
    found = _land(together, [files], shape)
    assert found == _land(apart, [[file] for file in files], shape)
    assert state_of(together) == state_of(apart)
    if name.lower() == "file_row_number":
        assert [problem["file"] for problem in found["problems"]] == [str(file) for file in files[:2]]
    else:
        assert [file["accepted"] for file in found["files"]] == [
            len(of_file) + (shape == "source" and len(of_file) > 1) for of_file in (*values, [0] * 3)
        ]


@pytest.mark.parametrize("shape", ["parquet", "source"])
def test_rows_whose_file_is_unclear_land_file_by_file(tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [_parquet(tmp_path / f"{number}.parquet", number, file_index=[1 - number] * (2 + number)) for number in range(2)]
    monkeypatch.setattr(parquet_query, "_VIRTUAL_COLUMNS", frozenset())
    assert grouped_bytes(examine(files[0], Kind.USAGE), Kind.USAGE) is not None
    together, apart = _home(tmp_path / "together"), _home(tmp_path / "apart")
    assert _land(together, [files], shape) == _land(apart, [[file] for file in files], shape)
    assert state_of(together) == state_of(apart)


def test_no_row_without_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_lines(tmp_path / f"{number}.jsonl", [event_line(f"evt-{number}")]) for number in range(2)]
    set_ids = row_checks.set_file_ids
    monkeypatch.setattr(group_landing, "set_file_ids", lambda connection, ids: set_ids(connection, ids[:1]))
    home = Home.open(tmp_path / "home")
    land_files(home, files)
    assert {row["file_id"] for row in rows_of(home)} == {row["file_id"] for row in landed_files(home)}
    assert len(rows_of(home)) == 2


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_counts_as_decompressed(tmp_path: Path, suffix: str) -> None:
    def size(content: bytes) -> int | None:
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(gzip.compress(content) if suffix == "gz" else pa.compress(content, "zstd", asbytes=True))
        return grouped_bytes(examine(path, Kind.USAGE), Kind.USAGE)

    assert size(b"{}\n" * 1000) == 3000
    assert size(b" " * (1 << 20)) == 1 << 20
    assert size(b" " * ((1 << 20) + 1)) is None


def test_a_group_ends_with_its_decompressed_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_groups, "_MAX_GROUP_BYTES", 3000)
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.jsonl.gz")
        files[-1].write_bytes(gzip.compress(f"{event_line(str(number))}{' ' * 2000}\n".encode()))
    home = Home.open(tmp_path / "home")
    land_files(home, files)
    assert len(read_manifest(home).heads) == 3
    assert len(rows_of(home)) == 5


def test_a_parquet_file_with_large_pages_lands_alone(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "a.parquet", 0, metadata=[f"{number:05}" + "x" * 1000 for number in range(2000)])
    assert path.stat().st_size < 1 << 17
    assert grouped_bytes(examine(path, Kind.USAGE), Kind.USAGE) is None


def test_the_layout_of_a_long_header_is_short(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", [",".join(f"column-{number}" for number in range(10_000))])
    layout = layout_of(examine(path, Kind.USAGE))
    assert layout is not None
    assert len(layout) == 32


def test_shapes_of_keys_are_remembered_by_hash_and_for_all_files_of_a_group_together(tmp_path: Path) -> None:
    file = examine(write_lines(tmp_path / "a.jsonl", [event_line("evt-1")]), Kind.USAGE)
    shape = KEY_SEPARATOR.join(f"key-{number}" for number in range(1000))
    spec = specification(Kind.USAGE, SEEDS)
    alone = UnreadColumns(spec)
    assert not alone.process_shape(shape, 1)
    assert all(len(key) == 16 for key in alone._shapes)
    group = GroupUnread(spec, dict.fromkeys(range(400), file))
    for number in range(400):
        for key in range(100):
            assert not group._process_shape(f"{number}\x1dkey-{key}", key)
    assert sum(len(group.of_file(number)._shapes) for number in range(400)) == 10_000
    assert len(group.of_file(399).names) == 100
    assert group._process_shape(f"7\x1dtwice{KEY_SEPARATOR}twice", 100)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), OSError(5, "Input/output error"), RuntimeError()])
def test_a_file_whose_layout_cannot_be_read_lands_alone(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(file_groups, "layout_of", fail)
    home = Home.open(tmp_path / "home")
    files = [write_lines(tmp_path / f"{number}.jsonl", [event_line(f"evt-{number}")]) for number in range(2)]
    assert [file.accepted for file in land_files(home, files).files] == [1, 1]
    assert len(read_manifest(home).heads) == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), duckdb.IOException("No space left on device")])
def test_a_disk_that_is_full_for_a_group_does_not_stop_files_that_land_alone(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(group_landing, "check_group", fail)
    home = Home.open(tmp_path / "home")
    files = [write_lines(tmp_path / f"{number}.jsonl", [event_line(f"evt-{number}")]) for number in range(3)]
    summary = land_files(home, files)
    assert [file.accepted for file in summary.files] == [1, 1, 1]
    assert not summary.problems


def test_accepted_rows_that_are_too_large_together_land_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_landing, "_MAX_TEXT_BYTES", 150)
    home = Home.open(tmp_path / "home")
    files = [write_lines(tmp_path / f"{number}.jsonl", [event_line(f"evt-{number}")]) for number in range(2)]
    assert [file.accepted for file in land_files(home, files).files] == [1, 1]
    assert len(read_manifest(home).heads) == 2
