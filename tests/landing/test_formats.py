"""The same rows land as the same rows from every format."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.home import Home
from pipeline.landing import land_files
from tests.landing.raw import event_line, events, land, landed_files, quarantined, rows_of, write_lines

RESOURCES = ("vcpu_count", "memory_gb", "storage_gb", "gpu_count", "tokens")
COLUMNS = ("event_id", "sandbox_id", "user_id", "timestamp", "event_type", *RESOURCES, "execution_id", "metadata")
CAMEL_CASE = {
    "sandbox_started": "SandboxStarted",
    "resources_updated": "ResourcesUpdated",
    "sandbox_stopped": "SandboxStopped",
}

START, UPDATE, STOP = CAMEL_CASE
METADATA = '{"note":"a, \\"b\\"","deep":{"list":[1,2.5,null]}}'
ROWS: list[tuple[str | None, ...]] = [
    ("evt-1", "box", "ada", "2026-01-01T10:00:00Z", START, "2", "0.5", "1", "1", "12.5", None, METADATA),
    ("evt-2", "box", "ada", "2026-01-01T23:59:59.999999Z", UPDATE, "4.000001", None, "1000000", None, None, None, None),
    ("evt-3", "box", "ada", "2026-01-02T05:29:59.5+05:30", UPDATE, "0", "0.000001", None, None, None, None, None),
    ("evt-4", "box", "ada", "2026-01-02T05:30:00+05:30", STOP, None, None, None, None, "1000000000", None, None),
    (
        "ид-5 🏳️‍🌈",
        'q"uo,te',
        "Zoë, 株式会社",
        "2026-01-01 19:00:00.000001-05:00",
        START,
        "0.123457",
        "7.25",
        "9",
        None,
        None,
        "run 1",
        None,
    ),
    (None, "box-2", "bob", "2026-01-03T00:00:00Z", START, "1", None, None, None, None, "run-2", None),
    ("bad-1", "box", "ada", "2026-01-03T10:00:00Z", START, "-1", None, None, None, None, None, None),
    ("bad-2", "box", None, "2026-01-03T10:00:00Z", START, "1", None, None, None, None, None, None),
    ("bad-3", "box", "ada", "2026-02-30T10:00:00Z", START, "1", None, None, None, None, None, None),
    ("bad-4", "box", "ada", "2026-01-03T10:00:00Z", "sandbox_exploded", "1", None, None, None, None, None, None),
    ("evt-1", "box", "ada", "2026-01-01T10:00:00.000000Z", START, "2.000000", "0.5", "1", "1.0", "12.500", None, METADATA),
    ("evt-1", "box", "ada", "2026-01-01T10:00:00Z", START, "3", "0.5", "1", "1", "12.5", None, METADATA),
]
"""Good, bad, a duplicate and a contradiction; None: the row has no such value."""

REASONS = {
    7: "bad_number",
    8: "missing_field",
    9: "bad_timestamp",
    10: "bad_event_type",
    12: "conflicting_duplicate",
}
"""By place among the rows, from 1."""


def _expected() -> list[dict[str, Any]]:
    """What the rows mean, by plain Python; the derived id, which this test does not compute, is None."""
    landed = []
    for row in ROWS[:6]:
        values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
        instant = datetime.fromisoformat(str(values.pop("timestamp")))
        landed.append(
            {
                **values,
                **{name: None if values[name] is None else Decimal(values[name]) for name in RESOURCES},
                "event_at": instant.astimezone(UTC),
                "started_at": None,
                "duration_seconds": None,
            }
        )
    return landed


Write = Callable[[Path, list[dict[str, str | None]]], Path]


def _json(row: dict[str, str | None], *, is_nested: bool) -> str:
    """Numbers as numbers, metadata as an object, missing values sometimes null and sometimes absent."""
    fields = []
    for place, name in enumerate(COLUMNS):
        value = row[name]
        if name in RESOURCES and is_nested:
            continue
        if value is None:
            fields += [f'"{name}": null'] if place % 2 else []
        else:
            fields.append(f'"{name}": {value if name in (*RESOURCES, "metadata") else json.dumps(value)}')
    if is_nested:
        inside = (f'"{name}": {row[name]}' for name in RESOURCES if row[name] is not None)
        fields.insert(2, f'"resources": {{{", ".join(inside)}}}')
    return "{" + ", ".join(fields) + "}"


def _json_lines(path: Path, rows: list[dict[str, str | None]]) -> Path:
    return write_lines(path.with_suffix(".jsonl"), [_json(row, is_nested=False) for row in rows])


def _nested_json_lines(path: Path, rows: list[dict[str, str | None]]) -> Path:
    return write_lines(path.with_suffix(".ndjson"), [_json(row, is_nested=True) for row in rows])


def _json_lines_gz(path: Path, rows: list[dict[str, str | None]]) -> Path:
    plain = _json_lines(path, rows)
    compressed = path.with_suffix(".jsonl.gz")
    half = len(plain.read_bytes()) // 2  # two members, as of files that were appended to one another
    compressed.write_bytes(gzip.compress(plain.read_bytes()[:half]) + gzip.compress(plain.read_bytes()[half:]))
    return compressed


def _csv_text(rows: list[dict[str, str | None]], names: tuple[str, ...] = COLUMNS) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name.removeprefix("resources.")] for name in names] for row in rows)
    return text.getvalue()


def _csv(path: Path, rows: list[dict[str, str | None]]) -> Path:
    path.with_suffix(".csv").write_text(_csv_text(rows), encoding="utf-8")
    return path.with_suffix(".csv")


def _csv_gz_with_dotted_names(path: Path, rows: list[dict[str, str | None]]) -> Path:
    names = tuple(f"resources.{name}" if name in RESOURCES else name for name in reversed(COLUMNS))
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(_csv_text(rows, names).encode()))
    return path.with_suffix(".csv.gz")


def _hostile_csv(path: Path, rows: list[dict[str, str | None]]) -> Path:
    """Every cell in quotes, as Windows writes it: byte order mark, carriage returns."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([*COLUMNS, "comment, ignored"])
    writer.writerows([*(row[name] for name in COLUMNS), "?"] for row in rows)
    path.with_suffix(".CSV").write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    return path.with_suffix(".CSV")


def _texts(rows: list[dict[str, str | None]], name: str) -> pa.Array:
    return pa.array([row[name] for row in rows], pa.string())


def _parquet(path: Path, rows: list[dict[str, str | None]]) -> Path:
    """Text and numbers in the types a data frame would have, in several row groups."""
    columns = {name: _texts(rows, name) for name in COLUMNS if name not in RESOURCES}
    for name in RESOURCES:
        columns[name] = pa.array([None if row[name] is None else float(str(row[name])) for row in rows], pa.float64())
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"), row_group_size=4)
    return path.with_suffix(".parquet")


def _nested_parquet(path: Path, rows: list[dict[str, str | None]]) -> Path:
    """`resources` as a struct, decimals, dictionaries, more columns than asked for."""
    columns = {name: _texts(rows, name) for name in COLUMNS if name not in RESOURCES}
    columns["event_type"] = columns["event_type"].dictionary_encode()
    decimals = pa.decimal128(20, 7)
    structs = [
        None
        if all(row[name] is None for name in RESOURCES)
        else {name: None if row[name] is None else Decimal(str(row[name])) for name in RESOURCES}
        for row in rows
    ]
    columns["resources"] = pa.array(structs, pa.struct([(name, decimals) for name in RESOURCES]))
    columns["columns"] = pa.array(range(len(rows)))
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"), compression="zstd")
    return path.with_suffix(".parquet")


FORMATS: dict[str, tuple[Write, str, int]] = {
    "json lines": (_json_lines, "jsonl", 0),
    "nested json lines": (_nested_json_lines, "jsonl", 0),
    "json lines, compressed": (_json_lines_gz, "jsonl.gz", 0),
    "csv": (_csv, "csv", 1),
    "csv, dotted names, compressed": (_csv_gz_with_dotted_names, "csv.gz", 1),
    "csv, all in quotes": (_hostile_csv, "csv", 1),
    "parquet": (_parquet, "parquet", 0),
    "nested parquet": (_nested_parquet, "parquet", 0),
}
"""(file name, whose ending is the format; lines before the first row)."""


@pytest.mark.parametrize("is_camel_case", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_the_same_rows_land_the_same_from_every_format(name: str, is_camel_case: bool, tmp_path: Path) -> None:
    write, format, lines_before = FORMATS[name]
    rows: list[dict[str, str | None]] = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    if is_camel_case:
        rows = [{**row, "event_type": CAMEL_CASE.get(str(row["event_type"]), "SandboxExploded")} for row in rows]
    home = Home.open(tmp_path / "home")
    landed = land(home, write(tmp_path / "rows", rows))
    assert (landed.received, landed.accepted, landed.duplicates, landed.quarantined) == (12, 6, 1, 5)
    assert landed.by_reason == dict.fromkeys(sorted(REASONS.values()), 1)

    found = rows_of(home)
    derived = next(row["event_id"] for row in found if row["sandbox_id"] == "box-2")
    assert derived
    expected = [{**row, "event_id": row["event_id"] or derived} for row in _expected()]
    assert events(home) == sorted(expected, key=lambda row: str(row["event_id"]))
    assert {row["event_id"]: row["file_row"] - lines_before for row in found} == {
        row["event_id"]: place for place, row in enumerate(expected, start=1)
    }
    assert {row["file_row"] - lines_before: row["reason"] for row in quarantined(home)} == REASONS
    (file,) = landed_files(home)
    assert file["format"] == format
    assert (file["first_at"], file["last_at"]) == (
        datetime(2026, 1, 1, 10, tzinfo=UTC),
        datetime(2026, 1, 3, tzinfo=UTC),
    )


def test_a_parquet_file_lands_the_same_whether_it_is_read_again_or_materialized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _parquet(tmp_path / "rows", [dict(zip(COLUMNS, row, strict=True)) for row in ROWS])
    left: dict[tuple[int, int], Any] = {}
    for few_days, few_bytes in ((0, 0), (10, 0), (0, 1 << 17)):
        monkeypatch.setattr("pipeline.landing.row_checks._FEW_BYTES", few_bytes)
        monkeypatch.setattr("pipeline.landing.row_checks._FEW_DAYS", few_days)
        home = Home.open(tmp_path / f"home-{len(left)}")
        land(home, path)
        left[few_days, few_bytes] = rows_of(home), quarantined(home)
    again, *others = left.values()
    assert others == [again, again]
    assert [len(rows) for rows in again] == [6, 5]


def test_the_same_rows_in_another_format_are_all_duplicates(tmp_path: Path) -> None:
    """Derived ids do not depend on the format either."""
    home = Home.open(tmp_path / "home")
    rows: list[dict[str, str | None]] = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    first = land(home, _json_lines(tmp_path / "a", rows))
    before = events(home)
    for place, (write, _, _) in enumerate(list(FORMATS.values())[1:]):
        folder = tmp_path / str(place)
        folder.mkdir()
        again = land(home, write(folder / "b", rows))
        assert (again.accepted, again.duplicates, again.quarantined) == (0, 7, 5)
        assert not again.is_already_landed
    assert events(home) == before
    assert len(landed_files(home)) == len(FORMATS)
    assert first.accepted == 6


def test_raw_rows_have_the_types_that_the_models_count_on_and_lie_by_day(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    land(home, _csv(tmp_path / "rows", [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]))
    days = []
    for path in home.raw.glob("usage_events/event_date=*/*.parquet"):
        schema = pq.read_schema(path)
        assert schema.field("event_at").type == pa.timestamp("us", tz="UTC")
        assert {schema.field(name).type for name in RESOURCES} == {pa.decimal128(18, 6)}
        assert "event_date" not in schema.names
        day = date.fromisoformat(path.parent.name.removeprefix("event_date="))
        assert {instant.date() for instant in pq.read_table(path, partitioning=None)["event_at"].to_pylist()} == {day}
        days.append(day)
    assert sorted(days) == [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]


def test_a_day_lies_in_order_of_sandbox_and_instant_also_where_few_sandboxes_say_much(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    boxes = ["ß", "Z", "a", "it's", "a b"]
    written = [
        (boxes[place % 5], f"2026-01-01T{place * 7 % 24:02}:00:00Z", json.dumps({"note": "'"}) if place % 3 else None)
        for place in range(100)
    ]
    lines = [
        event_line(f"evt-{place}", sandbox_id=box, timestamp=at, metadata=note) for place, (box, at, note) in enumerate(written)
    ]
    land(home, write_lines(tmp_path / "rows.jsonl", lines))
    (file,) = home.raw.glob("usage_events/event_date=2026-01-01/*.parquet")
    table = pq.read_table(file, partitioning=None)
    assert table.schema.field("sandbox_id").type == pa.string()
    rows = [(row["sandbox_id"], row["event_at"], row["file_row"], row["metadata"]) for row in table.to_pylist()]
    assert [row[:3] for row in rows] == sorted(row[:3] for row in rows)
    expected = [
        (box, datetime.fromisoformat(at), place, note and '{"note":"\'"}')
        for place, (box, at, note) in enumerate(written, start=1)
    ]
    assert sorted(rows, key=lambda row: row[2]) == expected


LINES = [event_line(f"evt-{place}", timestamp=f"2026-01-01T10:00:0{place}Z", vcpu_count=place) for place in range(4)]


@pytest.mark.parametrize(
    ("content", "line_of_last"),
    [
        ("\n".join(LINES), 4),
        ("\r\n".join(LINES) + "\r\n", 4),
        ("\ufeff" + "\n".join(LINES) + "\n", 4),
        ("\n\n" + "\n \t \n\r\n".join(LINES) + "\n\n\n", 12),
        ("\ufeff\r\n" + "\r\n".join(LINES), 5),
        ("".join(f"  {line}\t \n" for line in LINES), 4),
    ],
)
def test_line_ends_marks_and_blank_lines_change_nothing_but_the_line_numbers(
    content: str, line_of_last: int, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(content.encode())
    home = Home.open(tmp_path / "home")
    assert land(home, path).received == 4
    rows = {row["event_id"]: row for row in rows_of(home)}
    assert sorted(rows) == ["evt-0", "evt-1", "evt-2", "evt-3"]
    assert rows["evt-3"]["file_row"] == line_of_last


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_without_a_last_line_end_and_with_blank_lines_lands_completely(end: str, tmp_path: Path) -> None:
    lines = ["event_id,sandbox_id,user_id,timestamp,event_type", "", "a,box,ada,2026-01-01T10:00:00Z,SandboxStarted"]
    lines += ["  ", '"b,2","box ""x""",ada,2026-01-01T11:00:00Z,SandboxStarted']
    path = tmp_path / "rows.csv"
    path.write_bytes(end.join(lines).encode())
    home = Home.open(tmp_path / "home")
    assert land(home, path).received == 2
    assert [(row["event_id"], row["sandbox_id"]) for row in events(home)] == [("a", "box"), ("b,2", 'box "x"')]
    assert sorted(row["file_row"] for row in rows_of(home)) == [3, 5]


def test_an_incomplete_csv_row_is_one_row_in_quarantine(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "rows.csv",
        [
            "event_id,sandbox_id,user_id,timestamp,event_type,vcpu_count",
            "a,box,ada,2026-01-01T10:00:00Z,SandboxStarted,2",
            "b,box,ada,2026-01-01T10:00:00Z,SandboxStarted",
            "c,box,ada,2026-01-01T10:00:00Z,SandboxStarted,1,5",
            '"d,box,ada,2026-01-01T10:00:00Z,SandboxStarted,2',
            'e"e,box,ada,2026-01-01T10:00:00Z,SandboxStarted,2',
            'f,box,ada,2026-01-01T10:00:00Z,SandboxStarted,"1,5"',
            b"\xff,box,ada,2026-01-01T10:00:00Z,SandboxStarted,2",
            "h,box,ada,2026-01-01T11:00:00Z,SandboxStopped,",
        ],
    )
    home = Home.open(tmp_path / "home")
    assert land(home, path).accepted == 2
    assert [(row["file_row"], row["reason"]) for row in quarantined(home)] == [
        (3, "unreadable"),
        (4, "unreadable"),
        (5, "unreadable"),
        (6, "unreadable"),
        (7, "bad_number"),
        (8, "unreadable"),
    ]


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [
        (pa.timestamp("us", tz="UTC"), datetime(2026, 1, 1, 10, 0, 0, 123456, UTC), 123456),
        (pa.timestamp("us", tz="Asia/Kolkata"), datetime(2026, 1, 1, 10, 0, 0, 123456, UTC), 123456),
        (pa.timestamp("ms", tz="UTC"), datetime(2026, 1, 1, 10, 0, 0, 123000, UTC), 123000),
        (pa.timestamp("s", tz="UTC"), datetime(2026, 1, 1, 10, tzinfo=UTC), 0),
        (pa.timestamp("ns", tz="UTC"), 1767261600123456789, 123456),
        (pa.string(), "2026-01-01T15:30:00.123456+05:30", 123456),
    ],
)
def test_an_instant_in_parquet_lands_to_the_microsecond(type: pa.DataType, value: Any, expected: int, tmp_path: Path) -> None:
    table = pa.table(
        {
            "sandbox_id": ["box"],
            "user_id": ["ada"],
            "timestamp": pa.array([value], type),
            "event_type": ["SandboxStarted"],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    home = Home.open(tmp_path / "home")
    land(home, tmp_path / "rows.parquet")
    (row,) = events(home)
    assert row["event_at"] == datetime(2026, 1, 1, 10, 0, 0, expected, UTC)


def test_numbers_in_parquet_keep_the_value_they_were_written_with(tmp_path: Path) -> None:
    base = {"sandbox_id": ["box"], "user_id": ["ada"], "timestamp": ["2026-01-01T10:00:00Z"], "event_type": ["SandboxStarted"]}
    kinds = [pa.array([0.1], pa.float32()), pa.array([0.1]), pa.array([Decimal("0.10000")]), pa.array(["0.1"])]
    for place, array in enumerate(kinds):
        path = tmp_path / f"{place}.parquet"
        pq.write_table(pa.table({**base, "event_id": [str(place)], "vcpu_count": array}), path)
        land(Home.open(tmp_path / "home"), path)
    assert [row["vcpu_count"] for row in events(Home(tmp_path / "home"))] == [Decimal("0.1")] * 4


_INSTANTS = st.none() | st.datetimes(datetime(1969, 12, 31), datetime(2030, 1, 1)).map(lambda at: at.replace(microsecond=0))
_WHOLE = st.none() | st.integers(-2, 3) | st.sampled_from([999_999, 1_000_000, 1_000_001, 2**62])
_EXACT = st.none() | st.decimals(-2, 1_000_002, places=6)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.tuples(_INSTANTS, _WHOLE, _EXACT), min_size=1, max_size=20),
    instant=st.sampled_from([pa.timestamp("s"), pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="Asia/Kolkata")]),
    exact=st.sampled_from([pa.decimal128(13, 6), pa.decimal128(38, 6)]),
)
def test_a_typed_column_gives_the_same_result_as_its_text(
    rows: list[tuple[datetime | None, int | None, Decimal | None]], instant: pa.DataType, exact: pa.DataType
) -> None:
    """Typed columns of Parquet are not read as text: the two ways must agree on every value, good or bad."""
    at, whole, decimals = (list(column) for column in zip(*rows, strict=True))
    same = {"event_id": [f"e{number}" for number in range(len(rows))], "sandbox_id": ["box"] * len(rows)}
    same |= {"user_id": ["ada"] * len(rows), "event_type": ["sandbox_started"] * len(rows)}
    typed = {
        "timestamp": pa.array([value and value.replace(tzinfo=UTC) for value in at], pa.timestamp("us", tz="UTC")).cast(instant),
        "vcpu_count": pa.array(whole, pa.int64()),
        "memory_gb": pa.array(decimals, exact),
    }
    text = {
        "timestamp": [value and value.isoformat() for value in at],
        "vcpu_count": [None if value is None else str(value) for value in whole],
        "memory_gb": [None if value is None else f"{value:f}" for value in decimals],
    }
    judged = []
    with TemporaryDirectory() as folder:
        for name, columns in (("typed", typed), ("text", text)):
            path = Path(folder) / f"{name}.parquet"
            pq.write_table(pa.table({**same, **columns}), path)
            home = Home.open(Path(folder) / name)
            land(home, path)
            judged.append((events(home), [(row["file_row"], row["reason"]) for row in quarantined(home)]))
    assert judged[0] == judged[1]


def test_metadata_lands_from_every_type_that_can_hold_it(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    base = {"sandbox_id": ["box"], "user_id": ["ada"], "timestamp": ["2026-01-01T10:00:00Z"], "event_type": ["SandboxStarted"]}
    arrays = [
        pa.array([{"region": "eu"}]),
        pa.array([[("region", "eu")]], pa.map_(pa.string(), pa.string())),
        pa.array(['{ "region" : "eu" }']),
    ]
    for place, array in enumerate(arrays):
        path = tmp_path / f"{place}.parquet"
        pq.write_table(pa.table({**base, "event_id": [str(place)], "metadata": array}), path)
        land(home, path)
    lines = [event_line("3", metadata={"region": "eu"}), event_line("4", metadata='{"region": "eu"}')]
    land(home, write_lines(tmp_path / "lines.jsonl", lines))
    assert [row["metadata"] for row in events(home)] == ['{"region":"eu"}'] * 5


def test_a_value_given_in_two_places_counts_from_the_first_that_has_one(tmp_path: Path) -> None:
    """An empty column does not hide the value of an alternative column."""
    home = Home.open(tmp_path / "home")
    header = "event_id,sandbox_id,user_id,timestamp,event_type,vcpu_count,resources.vcpu_count"
    cells = "box,ada,2026-01-01T10:00:00Z,SandboxStarted"
    land(home, write_lines(tmp_path / "a.csv", [header, f"1,{cells},2,", f"2,{cells},,2", f"3,{cells},2,9"]))
    lines = [event_line("4", vcpu_count="", resources={"vcpu_count": 2}), event_line("5", vcpu_count=2, resources=None)]
    land(home, write_lines(tmp_path / "b.jsonl", lines))
    table = pa.table(
        {
            "event_id": ["6"],
            "sandbox_id": ["box"],
            "user_id": ["ada"],
            "timestamp": ["2026-01-01T10:00:00Z"],
            "event_type": ["SandboxStarted"],
            "vcpu_count": pa.array([None], pa.int64()),
            "resources": pa.array([{"vcpu_count": 2}]),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    land(home, tmp_path / "c.parquet")
    assert [row["vcpu_count"] for row in events(home)] == [Decimal(2)] * 6


def test_an_offset_of_every_spelling_is_the_same_instant(tmp_path: Path) -> None:
    """And an instant that names no zone is UTC, as all of them are."""
    home = Home.open(tmp_path / "home")
    ten = datetime(2026, 1, 1, 10, tzinfo=UTC)
    texts = [
        "2026-01-01T10:00:00Z",
        "2026-01-01T10:00:00",
        "2026-01-01 10:00:00+00",
        "2026-01-01T10:00:00.000000000-00:00",
        "2026-01-01T05:00:00-0500",
    ]
    texts += [ten.astimezone(timezone(timedelta(minutes=minutes))).isoformat() for minutes in (-1439, -210, 345, 1439)]
    land(home, write_lines(tmp_path / "a.jsonl", [event_line(None, timestamp=text) for text in texts]))
    (row,) = events(home)
    assert row["event_at"] == ten


@pytest.mark.parametrize("name", ["rows.jsonl.zst", "rows.json.zst", "rows.csv.zst"])
def test_files_compressed_with_zstd_land_like_others_also_in_several_frames(name: str, home: Home, tmp_path: Path) -> None:
    rows = [json.loads(event_line(f"e{number}")) for number in range(3)]
    lines = [json.dumps(row) for row in rows]
    if name.startswith("rows.csv"):
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    text = json.dumps(rows, indent=1) if ".json." in name else "\n".join(lines)
    whole = text.encode()
    codec = pa.Codec("zstd")
    path = tmp_path / name
    path.write_bytes(codec.compress(whole[:40]).to_pybytes() + codec.compress(whole[40:]).to_pybytes())
    assert land(home, path).accepted == 3
    path.write_bytes(path.read_bytes()[:-3])
    (problem,) = land_files(home, [path]).problems
    assert "none of its rows landed" in problem.reason
    path.write_bytes(b"not zstd")
    assert "cannot be read" in land_files(home, [path]).problems[0].reason


def test_a_zstd_file_that_expands_too_far_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bomb.jsonl.zst").write_bytes(pa.Codec("zstd").compress(b" " * (65 << 20)).to_pybytes())
    assert "expands from" in land_files(home, [tmp_path / "bomb.jsonl.zst"]).problems[0].reason
