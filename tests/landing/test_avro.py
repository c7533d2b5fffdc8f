"""Avro files: each row lands as the same row of JSON lines would, and a hostile file is refused in one line."""

from __future__ import annotations

import io
import json
import random
import resource
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from pipeline.core.home import Home
from pipeline.feeds.objects import collect_objects
from pipeline.landing import LandingSummary, land_files, retry_quarantined
from pipeline.landing.inbox import waiting_files
from pipeline.landing.preview import preview
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from tests.landing.raw import event_line, events, landed_files, quarantined, rows_of

Schema = Any
AT = datetime(2026, 9, 10, 10, 0, 0, 123456, UTC)
STARTED = {"event_type": "sandbox_started", "user_id": "ada", "timestamp": AT, "sandbox_id": "box"}


def optional(type: Schema) -> Schema:
    return ["null", type]


def record(type_name: str, /, **fields: Schema) -> Schema:
    return {"type": "record", "name": type_name, "fields": [{"name": name, "type": type} for name, type in fields.items()]}


def logical(type: str, name: str, **more: Any) -> Schema:
    return {"type": type, "logicalType": name, **more}


MICROS = logical("long", "timestamp-micros")
EVENT = {
    "event_id": "string",
    "sandbox_id": "string",
    "user_id": "string",
    "timestamp": MICROS,
    "event_type": {"type": "enum", "name": "Types", "symbols": ["sandbox_started", "sandbox_stopped"]},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def write(path: Path, rows: list[dict[str, Any]], schema: Schema, codec: str = "null") -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), rows, codec=codec)
    return path


def number(value: int) -> bytes:
    """A whole number as Avro writes it."""
    value, written = (value << 1) ^ (value >> 63), b""
    while value >= 128:
        value, written = value >> 7, written + bytes([value & 127 | 128])
    return written + bytes([value])


def container(schema: Schema | bytes, *blocks: tuple[int, bytes], codec: str = "null") -> bytes:
    """A file of these blocks, which the library would not write: (number of rows, bytes)."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    values = {b"avro.schema": text, b"avro.codec": codec.encode()}
    meta = b"".join(number(len(part)) + part for pair in values.items() for part in pair)
    sync = b"S" * 16
    written = b"".join(number(rows) + number(len(block)) + block + sync for rows, block in blocks)
    return b"Obj\x01" + number(len(values)) + meta + number(0) + sync + written


def land(home: Home, path: Path, **options: Any) -> LandingSummary:
    summary = land_files(home, [path], **options)
    assert summary.problems == []
    return summary


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_rows_land_with_their_number_in_every_codec(codec: str, home: Home, tmp_path: Path) -> None:
    schema, path = record("Event", **EVENT), tmp_path / "a.avro"
    rows = [STARTED | {"event_id": f"e{number}"} for number in range(3)]
    if codec in ("snappy", "zstandard"):  # which the library writes with further packages only
        block = io.BytesIO()
        for row in rows:
            fastavro.schemaless_writer(block, fastavro.parse_schema(schema), row)
        packed = pa.Codec({"zstandard": "zstd"}.get(codec, codec)).compress(block.getvalue(), asbytes=True)
        packed += zlib.crc32(block.getvalue()).to_bytes(4, "big") if codec == "snappy" else b""
        path.write_bytes(container(schema, (3, packed), codec=codec))
    else:
        write(path, rows, schema, codec)
    assert land(home, path).accepted == 3
    assert sorted((row["event_id"], row["file_row"]) for row in rows_of(home)) == [("e0", 1), ("e1", 2), ("e2", 3)]
    assert [row["format"] for row in landed_files(home)] == ["avro"]
    assert land(home, path).duplicates == 3


def test_values_are_read_exactly(home: Home, tmp_path: Path) -> None:
    resources = record(
        "Resources",
        vcpu_count=optional(logical("bytes", "decimal", precision=30, scale=6)),
        memory_gb=optional("float"),
        storage_gb=logical("fixed", "decimal", precision=9, scale=3) | {"name": "Nine", "size": 4},
    )
    schema = record(
        "Event",
        **EVENT
        | {
            "event_id": "long",
            "sandbox_id": logical("fixed", "uuid") | {"name": "Id", "size": 16},
            "user_id": "bytes",
            "resources": optional(resources),
            "started_at": optional(logical("long", "local-timestamp-millis")),
            "metadata": {"type": "map", "values": ["null", "string", "long", {"type": "array", "items": "double"}]},
            "unknown": optional("int"),
        },
    )
    row = STARTED | {
        "event_id": 2**60 + 1,
        "sandbox_id": bytes(range(16)),
        "user_id": "ada é".encode(),
        "resources": {"vcpu_count": Decimal("0.100001"), "memory_gb": 0.1, "storage_gb": Decimal("1.250")},
        "metadata": {"a": None, "b": 'c"\n', "n": 2**53 + 1, "l": [0.1, 1e300]},
    }
    summary = land(home, write(tmp_path / "a.avro", [row], schema))
    (landed,) = events(home)
    assert (landed["event_id"], landed["user_id"], landed["event_at"]) == (str(2**60 + 1), "ada é", AT)
    assert landed["sandbox_id"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    amounts = [Decimal("0.100001"), Decimal("0.1"), Decimal("1.25")]
    assert [landed[name] for name in ("vcpu_count", "memory_gb", "storage_gb")] == amounts
    assert json.loads(str(landed["metadata"])) == row["metadata"]
    assert summary.files[0].unread_columns == ["unknown"]


@pytest.mark.parametrize(
    ("type", "value", "instant"),
    [
        (logical("long", "timestamp-millis"), 1789034400123, datetime(2026, 9, 10, 10, 0, 0, 123000, UTC)),
        (MICROS, 1789034400123456, AT),
        (logical("long", "timestamp-nanos"), 1789034400123456789, AT),
        (logical("long", "local-timestamp-micros"), 1789034400123456, AT),
        (logical("long", "local-timestamp-nanos"), 1789034400123456999, AT),
        ("string", "2026-09-10T10:00:00.123456Z", AT),
        (MICROS, 2**62, None),
        (MICROS, -(2**62), None),
        (logical("int", "date"), 20706, None),
        ("long", 1789034400, None),
    ],
)
def test_an_instant_is_read_or_quarantines_its_row(
    type: Schema, value: Any, instant: datetime | None, home: Home, tmp_path: Path
) -> None:
    schema = record("Event", **EVENT | {"timestamp": type})
    rows = io.BytesIO()
    raw = record("Event", **EVENT | {"timestamp": type["type"] if isinstance(type, dict) else type})
    fastavro.schemaless_writer(rows, fastavro.parse_schema(raw), STARTED | {"event_id": "a", "timestamp": value})
    (tmp_path / "a.avro").write_bytes(container(schema, (1, rows.getvalue())))
    summary = land(home, tmp_path / "a.avro")
    assert [row["event_at"] for row in events(home)] == ([instant] if instant else [])
    assert summary.by_reason == ({} if instant else {"bad_timestamp": 1})


def test_a_value_that_cannot_be_read_quarantines_its_row_and_no_other(home: Home, tmp_path: Path) -> None:
    schema = record(
        "Event",
        **EVENT
        | {
            "sandbox_id": "bytes",
            "vcpu_count": ["null", "double", "string", logical("bytes", "decimal", precision=9, scale=2)],
            "memory_gb": optional("float"),
        },
    )
    good = STARTED | {"sandbox_id": b"box"}
    changes: list[dict[str, Any]] = [
        {},
        {"sandbox_id": b"\xff\xfe"},
        {"vcpu_count": float("nan")},
        {"memory_gb": float("inf")},
        {"vcpu_count": "many"},
        {"vcpu_count": Decimal("-1.50")},
        {"user_id": "x" * 70_000},
        {"vcpu_count": b""},  # a decimal without a digit
        {"vcpu_count": Decimal("1.50")},
    ]
    rows = [good | {"event_id": f"e{place}"} | change for place, change in enumerate(changes, start=1)]
    assert land(home, write(tmp_path / "a.avro", rows, schema)).accepted == 2
    found = [(row["file_row"], row["reason"]) for row in quarantined(home)]
    assert found == [
        (2, "bad_id"),
        (3, "bad_number"),
        (4, "bad_number"),
        (5, "bad_number"),
        (6, "bad_number"),
        (7, "over_limit"),
        (8, "bad_number"),
    ]
    assert '"vcpu_count":-1.50' in str(quarantined(home)[4]["raw_row"])


def test_text_that_is_not_utf_8_quarantines_its_row(home: Home, tmp_path: Path) -> None:
    schema, rows = fastavro.parse_schema(record("Event", **EVENT)), io.BytesIO()
    for event_id in ("good", "bad!", "last"):
        fastavro.schemaless_writer(rows, schema, STARTED | {"event_id": event_id})
    broken = rows.getvalue().replace(b"bad!", b"bad\xff")
    (tmp_path / "a.avro").write_bytes(container(record("Event", **EVENT), (3, broken)))
    assert land(home, tmp_path / "a.avro").by_reason == {"unreadable": 1}
    assert [row["file_row"] for row in quarantined(home)] == [2]


def test_a_null_does_not_clear_a_field_of_a_customer(home: Home, tmp_path: Path) -> None:
    schema = record("Customer", customer_id="string", name=optional("string"), email=optional("string"))
    land(home, write(tmp_path / "a.avro", [{"customer_id": "ada", "name": "Ada"}], schema), kind=Kind.CUSTOMERS)
    assert [(row["name"], row["cleared_fields"]) for row in rows_of(home, "customers")] == [("Ada", None)]


def test_quarantined_rows_are_checked_again_and_clear_nothing(home: Home, tmp_path: Path) -> None:
    schema = record("Event", **EVENT | {"timestamp": "long", "vcpu_count": optional("int")})
    land(home, write(tmp_path / "a.avro", [STARTED | {"event_id": "a", "timestamp": 1789034400}], schema))
    assert retry_quarantined(home, timestamps="seconds").accepted == 1  # type: ignore[arg-type]
    assert [row["event_at"] for row in events(home)] == [datetime(2026, 9, 10, 10, tzinfo=UTC)]


def test_a_source_selects_nested_values_also_in_a_dry_run(home: Home, tmp_path: Path) -> None:
    home.sources.mkdir()
    (home.sources / "mine.sql").write_text(
        "-- description: mine\n-- kind: usage\n"
        "select file_row, id as event_id, row ->> '$.box.id' as sandbox_id, 'ada' as user_id, moment as timestamp,"
        " 'sandbox_started' as event_type, cast(row ->> '$.box.cpus[0]' as decimal(18, 6)) as vcpu_count from rows"
    )
    schema = record("Row", id="long", moment=MICROS, box=record("Box", id="string", cpus={"type": "array", "items": "double"}))
    rows = [
        {"id": 2**60 + 1, "moment": AT, "box": {"id": "one", "cpus": [0.5]}},
        {"id": 2, "moment": AT, "box": {"id": "two", "cpus": [1e30]}},
    ]
    path = write(tmp_path / "a.avro", rows, schema)
    source = find_source(home, "mine")
    shown = preview(home, path, source=source)
    assert (shown.accepted, shown.quarantined, rows_of(home)) == (1, 1, [])
    assert land(home, path, source=source).by_reason == {"unreadable": 1}
    (landed,) = events(home)
    assert (landed["event_id"], landed["sandbox_id"], landed["vcpu_count"]) == (str(2**60 + 1), "one", Decimal("0.5"))
    assert [(row["file_row"], json.loads(str(row["raw_row"]))["box"]["id"]) for row in quarantined(home)] == [(2, "two")]


def test_the_inbox_and_collected_objects_take_avro_under_any_name(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    write(tmp_path / "bucket" / "part-0", [STARTED | {"event_id": "a"}], record("Event", **EVENT))
    (path,) = collect_objects(home, str(tmp_path / "bucket"), name="lake", folder="usage").files
    assert path.suffix == ".avro"
    assert waiting_files(home, "usage") == [path]
    assert land(home, path).accepted == 1


def nested_arrays(levels: int) -> bytes:
    return b'{"type":"array","items":' * levels + b'"int"' + b"}" * levels


def doubling(levels: int, inner: str) -> Schema:
    """A record that contains two of the record before, and so on."""
    schema: Schema = record("R0", x=inner)
    for level in range(1, levels):
        schema = record(f"R{level}", a=schema, b=f"R{level - 1}")
    return schema


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


ARRAY = {"type": "array", "items": record("Item", x="int")}
HOSTILE = {
    "recursive schema": (container(record("E", next=optional("E")), (1, b"\x02" * 100_000)), "recursive schema"),
    "record in itself": (container(record("E", next="E"), (1, b"")), "recursive schema"),
    "deep schema": (
        container(b'{"type":"record","name":"E","fields":[{"name":"a","type":%b}]}' % nested_arrays(70)),
        "64 levels",
    ),
    "very deep schema": (container(nested_arrays(20_000)), "no valid schema"),
    "large schema": (container(doubling(40, "int"), (1, b"\0")), "10,000 types"),
    "large schema of nulls": (container(doubling(40, "null"), (1, b"")), "without content"),
    "array of nulls": (container(record("E", a={"type": "array", "items": "null"}), (1, number(2**40))), "without content"),
    "rows without bytes": (container(record("E"), (2**40, b"")), "rows in"),
    "negative rows": (container(record("E", a="int"), (-1, b"")), "is broken"),
    "text beyond the end": (container(record("E", a="string"), (1, number(2**60) + b"a")), "broken in row 1"),
    "text of negative size": (container(record("E", a="string"), (1, number(-5) + b"a")), "broken in row 1"),
    "array beyond the end": (container(record("E", a=ARRAY), (1, number(2**60) + b"\2")), "broken in row 1"),
    "large row": (container(record("E", a=ARRAY), (1, number(5_000_000) + b"\2" * 5_000_000)), "262,144 bytes. It is row 1"),
    "no branch": (container(record("E", a=optional("int")), (1, number(7))), "broken in row 1"),
    "bytes after the rows": (container(record("E", a="int"), (1, b"\2\2")), "bytes follow row 1"),
    "large block": (container(record("E", a="int"))[:-16] + b"S" * 16 + number(1) + number(2**40), "block of more than"),
    "deflate bomb": (container(record("E", a="string"), (1, deflated(bytes(100 << 20))), codec="deflate"), "expands"),
    "zstandard bomb": (
        container(record("E", a="int"), (1, pa.Codec("zstd").compress(bytes(100 << 20), asbytes=True)), codec="zstandard"),
        "expands",
    ),
    "snappy bomb": (container(record("E", a="int"), (1, b"\xff\xff\xff\xff\x0f" + b"x" * 9), codec="snappy"), "expands"),
    "broken compression": (container(record("E", a="int"), (1, b"nonsense"), codec="deflate"), "cannot be decompressed"),
    "unknown codec": (container(record("E", a="int"), codec="lz4"), "Readable: null, deflate"),
    "no record": (container({"type": "array", "items": "int"}, (1, b"\0")), "not records"),
    "repeated field": (
        container({"type": "record", "name": "E", "fields": [{"name": "a", "type": "int"}] * 2}, (1, b"\2\2")),
        "repeated",
    ),
    "no schema": (container(b"nonsense"), "no valid schema"),
    "scale": (container(record("E", a=logical("bytes", "decimal", precision=9, scale=10**9))), "scale"),
    "fixed": (container(record("E", a={"type": "fixed", "name": "F", "size": 2**40})), "fixed type"),
    "no magic": (b"Obj\x02" + bytes(100), "does not begin like"),
    "no header": (b"Obj\x01\x04", "header"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(case: str, home: Home, tmp_path: Path) -> None:
    content, reason = HOSTILE[case]
    (tmp_path / "a.avro").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (problem,) = land_files(home, [tmp_path / "a.avro"]).problems
    assert reason in problem.reason
    assert "None of its rows landed." in problem.reason
    assert len(str(problem).splitlines()) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KB
    assert (rows_of(home), landed_files(home)) == ([], [])


def test_a_file_that_is_cut_off_anywhere_is_refused(home: Home, tmp_path: Path) -> None:
    path = write(tmp_path / "a.avro", [STARTED | {"event_id": "a"}], record("Event", **EVENT), "deflate")
    whole = path.read_bytes()
    header = whole.index(whole[-16:]) + 16  # a file without blocks is whole
    for length in [*range(1, header, 97), *range(header + 1, len(whole), 11)]:
        path.write_bytes(whole[:length])
        assert len(land_files(home, [path]).problems) == 1, length
    path.write_bytes(whole)
    assert land(home, path).accepted == 1


def test_changed_bytes_land_refuse_the_file_or_quarantine_rows(home: Home, tmp_path: Path) -> None:
    rows = [STARTED | {"event_id": f"e{place}", "vcpu_count": 2} for place in range(3)]
    schema = record("Event", **EVENT | {"vcpu_count": optional("int"), "metadata": {"type": "map", "values": "string"}})
    path = write(tmp_path / "a.avro", [row | {"metadata": {"a": "b"}} for row in rows], schema)
    whole, chance = path.read_bytes(), random.Random(1)
    for _ in range(20):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 2, 5])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        summary = land_files(home, [path])
        assert len(summary.files) + len(summary.problems) == 1
        assert all("Traceback" not in str(problem) for problem in summary.problems)


def test_rows_of_avro_are_those_of_json_lines(home: Home, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [STARTED | {"event_id": f"e{place}", "vcpu_count": place / 8} for place in range(9)]
    schema = record("Event", **EVENT | {"vcpu_count": "double"})
    land(home, write(tmp_path / "a.avro", rows, schema))
    lines = [event_line(**row | {"timestamp": AT.isoformat()}) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert land(home, tmp_path / "a.jsonl").duplicates == 9
