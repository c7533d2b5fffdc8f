"""Every Parquet type lands as its value, or is rejected with a message that names the column and its type."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import event_line, events, land, quarantined, write_lines

UUID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
TEN = datetime(2026, 1, 1, 10)
TEXT_TYPES = [
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(5)),
    *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.binary())),
]
INTEGER_TYPES = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
NUMBER_TYPES = [
    *(*INTEGER_TYPES, pa.float16(), pa.float32(), pa.float64(), pa.dictionary(pa.int8(), pa.int64())),
    *(pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(38, 10), pa.decimal256(20, 2), pa.decimal256(76, 40)),
]
NO_TEXT: list[tuple[pa.DataType, Any]] = [
    *((pa.bool_(), True), (pa.float64(), 7.0), (pa.float16(), np.float16(7)), (pa.decimal128(5, 1), Decimal(7))),
    *((pa.date32(), TEN.date()), (pa.timestamp("us"), TEN), (pa.time32("s"), time(1)), (pa.time64("ns"), time(1))),
    *((pa.duration("us"), timedelta(1)), (pa.list_(pa.string()), ["a"]), (pa.large_list(pa.int8()), [1])),
    *((pa.list_(pa.int8(), 1), [1]), (pa.struct([("id", pa.int8())]), {"id": 7})),
    (pa.map_(pa.string(), pa.string()), [("a", "b")]),
]
"""Types that no id can have, each with a value."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def _file(folder: Path, of: str = "good", **columns: pa.Array) -> Path:
    """A file of the event `of`."""
    event = json.loads(event_line(of))
    path = folder / ("rows.parquet" if of == "good" else f"{of}.parquet")
    pq.write_table(pa.table({**{name: pa.array([value]) for name, value in event.items()}, **columns}), path)
    return path


def _landed_from(home: Home, folder: Path, columns: Mapping[str, Mapping[str, pa.Array]]) -> dict[str, dict[str, Any]]:
    """Land a file of one event for each of these event ids, with these columns besides, in one call; the events by id."""
    summary = land_files(home, [_file(folder, event_id, **more) for event_id, more in columns.items()])
    assert summary.problems == []
    assert {file.file_name: file.by_reason for file in summary.files if file.accepted != 1} == {}, quarantined(home)
    found = {row["event_id"]: row for row in events(home)}
    assert found.keys() == columns.keys()
    return found


def _array(value: Any, type: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(type):
        return pa.array([value], type.value_type).dictionary_encode().cast(type)
    return pa.array([value], type)


def test_text_of_every_type_is_text(home: Home, tmp_path: Path) -> None:
    """Where it is an id, an instant, a number or JSON."""

    def written(type: pa.DataType, text: str) -> pa.Array:
        if pa.types.is_fixed_size_binary(type):
            return _array(text.encode(), pa.binary(len(text.encode())))
        return _array(text.encode() if "binary" in str(type) else text, type)

    columns = {
        "user_id": "Zoë",
        "timestamp": "2026-01-01T10:00:00Z",
        "event_type": "sandbox_started",
        "vcpu_count": "2.50",
        "metadata": '{"a":1}',
    }
    files = {str(type): {name: written(type, text) for name, text in columns.items()} for type in TEXT_TYPES}
    assert len(files) == len(TEXT_TYPES)
    for type, row in _landed_from(home, tmp_path, files).items():
        assert (row["user_id"], row["event_at"]) == ("Zoë", TEN.replace(tzinfo=UTC)), type
        assert (row["vcpu_count"], row["metadata"]) == (Decimal("2.5"), '{"a":1}'), type


def test_whole_numbers_are_ids(home: Home, tmp_path: Path) -> None:
    landed = _landed_from(home, tmp_path, {str(type): {"user_id": _array(127, type)} for type in INTEGER_TYPES})
    assert {type: row["user_id"] for type, row in landed.items()} == {str(type): "127" for type in INTEGER_TYPES}


@pytest.mark.parametrize("is_nested", [False, True])
def test_numbers_of_every_type_are_numbers(is_nested: bool, home: Home, tmp_path: Path) -> None:
    """2.5 if the type has decimals; 0.1 as a 16 or 32-bit float lands as 0.1, its shortest decimal."""
    files, expected = {}, {}
    for type in NUMBER_TYPES:
        is_whole = pa.types.is_integer(type) or pa.types.is_dictionary(type)
        value = Decimal(2) if is_whole else Decimal("0.1") if pa.types.is_floating(type) else Decimal("2.5")
        python = np.float16(0.1) if pa.types.is_float16(type) else float(value) if pa.types.is_floating(type) else value
        array = _array(int(value) if is_whole else python, type)
        column = {"resources": pa.StructArray.from_arrays([array], names=["memory_gb"])} if is_nested else {"memory_gb": array}
        files[str(type)], expected[str(type)] = column, value
    landed = _landed_from(home, tmp_path, files)
    assert {type: row["memory_gb"] for type, row in landed.items()} == expected


def test_a_decimal_of_256_bits_is_not_rounded_to_a_float(home: Home, tmp_path: Path) -> None:
    value = pa.array([Decimal("1.0000000000000000000000000000000000000001")], pa.decimal256(76, 40))
    assert land(home, _file(tmp_path, memory_gb=value)).by_reason == {"bad_number": 1}


def test_instants_of_every_unit_and_zone_are_instants(home: Home, tmp_path: Path) -> None:
    files = {}
    for unit, zone in itertools.product(("s", "ms", "us", "ns"), (None, "UTC", "Asia/Kolkata")):
        instant = pa.array([TEN]).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, zone))
        name = f"{unit} {zone}".replace("/", " ")
        files[name] = {"timestamp": instant if zone else instant.cast(pa.timestamp(unit))}
    landed = _landed_from(home, tmp_path, files)
    assert {name: row["event_at"] for name, row in landed.items()} == dict.fromkeys(files, TEN.replace(tzinfo=UTC))


@pytest.mark.parametrize("type", [pa.date32(), pa.date64()], ids=str)
def test_a_date_is_no_instant(type: pa.DataType, home: Home, tmp_path: Path) -> None:
    assert land(home, _file(tmp_path, timestamp=_array(date(2026, 1, 1), type))).by_reason == {"bad_timestamp": 1}
    assert "a date without a time" in quarantined(home)[0]["detail"]


@pytest.mark.parametrize(("type", "value"), NO_TEXT, ids=lambda value: str(value) if isinstance(value, pa.DataType) else "")
def test_a_type_that_no_id_can_have_rejects_the_file_with_column_and_type(
    type: pa.DataType, value: Any, home: Home, tmp_path: Path
) -> None:
    path = _file(tmp_path, user_id=pa.array([value], type))
    (problem,) = land_files(home, [path]).problems
    written = pq.read_schema(path).field("user_id").type
    assert problem.reason == f"has a column user_id of type {written}, which is not text or whole numbers."


def test_such_a_column_without_any_value_is_as_one_that_is_absent(home: Home, tmp_path: Path) -> None:
    """A data frame writes a column of ids that are all missing as floats, too."""
    files = {f"no-text-{number}": {"execution_id": pa.array([None], type)} for number, (type, _) in enumerate(NO_TEXT)}
    landed = _landed_from(home, tmp_path, files)
    assert {name: row["execution_id"] for name, row in landed.items()} == dict.fromkeys(files)


@pytest.mark.parametrize("column", ["timestamp", "vcpu_count"])
@pytest.mark.parametrize(
    ("type", "value"),
    [(pa.bool_(), True), (pa.time32("s"), time(1)), (pa.duration("us"), timedelta(1)), (pa.list_(pa.int8()), [1])],
    ids=str,
)
def test_nor_is_such_a_type_an_instant_or_a_number(
    type: pa.DataType, value: Any, column: str, home: Home, tmp_path: Path
) -> None:
    (problem,) = land_files(home, [_file(tmp_path, **{column: pa.array([value], type)})]).problems
    assert f"a column {column} of type" in problem.reason


def test_a_column_or_a_field_of_a_struct_that_is_null_throughout_is_absent(home: Home, tmp_path: Path) -> None:
    path = _file(tmp_path, resources=pa.array([{"vcpu_count": 2, "memory_gb": None}]), execution_id=pa.nulls(1))
    landed = land(home, path)
    assert (landed.accepted, landed.starts_without) == (1, {"memory_gb": 1, "storage_gb": 1})
    bad = _file(tmp_path, resources=pa.array([{"vcpu_count": -2, "memory_gb": None}]), execution_id=pa.nulls(1))
    assert land(home, bad).by_reason == {"bad_number": 1}, "and its row can be stored"


def test_a_required_column_that_is_null_throughout_is_missing_in_each_row(home: Home, tmp_path: Path) -> None:
    assert land(home, _file(tmp_path, user_id=pa.nulls(1))).by_reason == {"missing_field": 1}


def test_uuids_json_and_enumerations_are_what_they_say(home: Home, tmp_path: Path) -> None:
    path = _file(tmp_path, user_id=pa.array([UUID.bytes], pa.uuid()), sandbox_id=pa.array(['"box"'], pa.json_()))
    assert land(home, path).accepted == 1
    assert (events(home)[0]["user_id"], events(home)[0]["sandbox_id"]) == (str(UUID), "box")
    assert land(home, _file(tmp_path, user_id=pa.array(['{"id": 7}'], pa.json_()))).by_reason == {"bad_id": 1}
    duckdb.sql(
        f"copy (select 'ada' as customer_id, 'pro'::enum('pro', 'hobby') as plan_id, '2026-01-01T00:00Z' as effective_at)"
        f" to '{tmp_path}/plans.parquet'"
    )
    assert land(home, tmp_path / "plans.parquet", Kind.SUBSCRIPTIONS).accepted == 1


def test_bytes_that_are_no_utf_8_are_unreadable(home: Home, tmp_path: Path) -> None:
    assert land(home, _file(tmp_path, user_id=pa.array([b"caf\xe9"]))).by_reason == {"unreadable": 1}


def test_numbers_and_ids_mean_the_same_in_every_format(tmp_path: Path) -> None:
    """Blank or over-precise, and numbers that only some programs read: JSON, CSV and Parquet agree on each."""
    texts = [
        "1e3",
        "1_000",
        "\u0663",
        "NaN",
        "Infinity",
        "-0",
        "0.1234567",
        "1,5",
        "true",
        " 5 ",
        "0x10",
        "1e-7",
        "+1",
        ".5",
        "5.",
    ]
    header = "event_id,sandbox_id,user_id,timestamp,event_type,vcpu_count"
    formats: dict[str, list[Path]] = {"jsonl": [], "csv": [], "parquet": []}
    for place, text in enumerate(texts):
        line = event_line(f"e{place}", timestamp="2026-01-01T10:00Z", vcpu_count=text)
        cells = f'e{place},box,ada,2026-01-01T10:00Z,sandbox_started,"{text}"'
        formats["jsonl"].append(write_lines(tmp_path / f"{place}.jsonl", [line]))
        formats["csv"].append(write_lines(tmp_path / f"{place}.csv", [header, cells]))
        formats["parquet"].append(_file(tmp_path, f"e{place}", vcpu_count=pa.array([text])))
    found = []
    for format, paths in formats.items():
        home = Home.open(tmp_path / f"home-{format}")
        assert land_files(home, paths).problems == []
        landed = {row["event_id"]: row["vcpu_count"] for row in events(home)}
        rejected = {row["event_id"]: row["reason"] for row in quarantined(home)}
        assert len(landed) + len(rejected) == len(texts)
        assert landed and rejected
        found.append({text: {**landed, **rejected}[f"e{place}"] for place, text in enumerate(texts)})
    assert found[0] == found[1] == found[2]
