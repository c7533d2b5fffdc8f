"""Columns and keys that no field reads are named when their file lands, wherever in the file they are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import SEEDS, Home
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import specification
from pipeline.landing.unread_columns import KEY_SEPARATOR, UnreadColumns
from tests.landing.raw import event_line, land, landed_files, write_lines
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def _write(path: Path, format: str) -> Path:
    """Two starts, of which the second has `vcpu` and `memory` instead of vcpu_count and memory_gb, as each format has them."""
    more = {"vcpu": 64, "memory": 256}
    if format == "jsonl":
        return write_lines(path.with_suffix(".jsonl"), [event_line("a"), event_line("b", **more)])
    event = json.loads(event_line("a"))
    if format == "nested jsonl":
        return write_lines(path.with_suffix(".jsonl"), [event_line("a"), event_line("b", resources=more)])
    if format == "csv":
        rows = [[*event.values(), "", ""], ["b", *list(event.values())[1:], 64, 256]]
        lines = [",".join([*event, *more]), *(",".join(map(str, row)) for row in rows)]
        return write_lines(path.with_suffix(".csv"), lines)
    columns: dict[str, list[object]] = {name: [value, value] for name, value in event.items()} | {"event_id": ["a", "b"]}
    if format == "nested parquet":
        columns["resources"] = [None, more]
    else:
        columns |= {name: [None, value] for name, value in more.items()}
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("format", ["jsonl", "nested jsonl", "csv", "parquet", "nested parquet"])
def test_misspelt_resources_are_named_with_the_field_that_was_meant(format: str, home: Home, tmp_path: Path) -> None:
    landed = land(home, _write(tmp_path / "rows", format))
    prefix = "resources." if format.startswith("nested") else ""
    assert landed.accepted == 2
    assert landed.unread_columns == [f"{prefix}vcpu", f"{prefix}memory"]
    assert landed.suggestions == {f"{prefix}vcpu": "vcpu_count", f"{prefix}memory": "memory_gb"}
    assert landed.misspelt_resources == landed.unread_columns
    assert landed.starts_without == {"vcpu_count": 2, "memory_gb": 2, "storage_gb": 2}
    assert landed_files(home)[0]["unread_columns"] == f"{prefix}vcpu, {prefix}memory"


def test_the_command_warns_of_unread_columns_and_says_what_is_billed_instead(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows", "csv")
    shown = " ".join(billhouse(tmp_path / "home", "land", path).stdout.split())
    assert "rows.csv: columns that are not read: vcpu, memory." in shown
    assert "Did you mean vcpu_count for vcpu, memory_gb for memory?" in shown
    assert "vcpu, memory look like misspelt resources" in shown
    assert "2 have no vcpu_count" in shown
    as_json = billhouse(tmp_path / "other", "land", "--json", path).json
    assert as_json["unread_columns"] == ["vcpu", "memory"]


def test_a_file_whose_columns_are_all_read_names_none_and_metadata_is_free(home: Home, tmp_path: Path) -> None:
    full = {"vcpu_count": 1, "memory_gb": 1, "storage_gb": 1, "metadata": {"vcpu": 1, "a": {"b": 2}}}
    landed = land(home, write_lines(tmp_path / "a.jsonl", [event_line("a", **full)]))
    assert (landed.unread_columns, landed.starts_without, landed.misspelt_resources) == ([], {}, [])
    assert landed_files(home)[0]["unread_columns"] is None


def test_of_many_names_some_are_shown_and_the_others_counted(home: Home, tmp_path: Path) -> None:
    lines = [event_line(str(place), **{f"key-{place}": 1}) for place in range(50)]
    landed = land(home, write_lines(tmp_path / "a.jsonl", lines))
    assert len(landed.unread_columns) == 50
    assert str(landed_files(home)[0]["unread_columns"]).endswith("and 30 more")


def test_names_are_in_the_order_of_the_rows_in_whatever_order_these_are_read(home: Home, tmp_path: Path) -> None:
    unread = UnreadColumns(specification(Kind.USAGE, SEEDS))
    for row, keys in ((7, ["event_id", "late"]), (9, ["b", "late"]), (5, ["a", "between"]), (4, ["between"]), (3, ["b", "late"])):
        shapes = pa.array([None, KEY_SEPARATOR.join(keys)])
        assert unread.note_keys(shapes, pa.array([1, row])).to_pylist() == [None, False]
    assert unread.names == ["b", "late", "between", "a"]
    # Enough rows for several threads.
    lines = [event_line(str(place), **({f"key-{-place}": 1} if place % 400 == 0 else {})) for place in range(40_000)]
    landed = land(home, write_lines(tmp_path / "a.jsonl", lines))
    assert landed.unread_columns == [f"key-{-place}" for place in range(0, 40_000, 400)]


def test_records_name_their_unread_columns_too(home: Home, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", ["customer_id,Name,mail", "ada,Ada,a@b.c"])
    landed = land(home, path, Kind.CUSTOMERS)
    assert landed.suggestions == {"Name": "name", "mail": "email"}
