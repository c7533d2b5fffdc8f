"""The rows of a file for the select of a source: each as one JSON value, in every format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from pipeline.core.input_limits import MAX_NESTING_LEVELS
from pipeline.core.sql import quoted
from pipeline.landing.csv_query import csv_names, csv_shape, split_cells, unreadable_cells
from pipeline.landing.exact_numbers import ANY_MAY_LOSE_DIGITS, all_in_quotes
from pipeline.landing.file_groups import by_layout, check_row_numbers
from pipeline.landing.file_rows import open_lines
from pipeline.landing.parquet_query import check_columns, parquet_raw_rows, reading_parquet
from pipeline.landing.query_parts import IN_A_NEW_FILE, NOT_UTF_8, STRIPPED_LINES
from pipeline.landing.row_numbers import NumberedFiles

_RAW_ROW = "coalesce(row, cast(no_text as varchar))"
"""SQL: a line as the quarantine stores it; bytes that are not UTF-8 in the notation of DuckDB."""
_NO_JSON = f"The line is not a JSON object or list. Write one on each line. {IN_A_NEW_FILE}"
_REPEATED = f"A key occurs twice in one object. Write each key once. {IN_A_NEW_FILE}"
_DEEP = f"The row is nested more than {MAX_NESTING_LEVELS} levels deep, or has too long numbers. {IN_A_NEW_FILE}"


def load_source_rows(connection: duckdb.DuckDBPyConnection, files: NumberedFiles) -> dict[int, list[str]]:
    """Create table `source_rows(file_row, raw_row, row, reason, detail)`, with the rows numbered through.

    Returns the columns of each CSV, Parquet or Avro file, by its number. `raw_row` is as received; `row` is the same as JSON,
    with numbers that a float cannot represent as text. It is null where `reason` and `detail` say why nothing can be selected
    from the row. Raises InputFileError if a file cannot be read.
    """
    connection.execute(
        "create or replace temp table source_rows (file_row bigint, raw_row varchar, row varchar, reason varchar, detail varchar)"
    )
    columns: dict[int, list[str]] = {}
    with _functions(connection):
        for of_layout in by_layout(files):
            names = _insert_rows(connection, of_layout)
            columns |= dict.fromkeys(of_layout, names)
    if len(files) > 1:
        check_row_numbers(connection, "source_rows", files)
    return columns


def _insert_rows(connection: duckdb.DuckDBPyConnection, files: NumberedFiles) -> list[str]:
    """Insert the rows of files of one layout. Returns their columns."""
    file = next(iter(files.values()))
    if file.format == "parquet":
        columns = check_columns(files)
        with reading_parquet(files):
            _insert(
                connection,
                f"select *, null::varchar as over_limit, raw_row as row, null::varchar as unreadable"
                f" from ({parquet_raw_rows(files)})",
            )
        return columns
    if file.format.startswith("csv"):
        columns = csv_names(file)
        with open_lines(connection, files):
            _insert(connection, _csv_rows(columns, csv_shape(file).delimiter))
        return columns
    with open_lines(connection, files):
        _insert(
            connection,
            f"with {STRIPPED_LINES} select file_row, over_limit, {_RAW_ROW} as raw_row, row,"
            f" case when row is null then {quoted(NOT_UTF_8)} end as unreadable from stripped",
        )
    return list(file.columns)


def _csv_rows(columns: list[str], delimiter: str) -> str:
    cells = ", ".join(
        f"case when cells[{place}] <> '' then {quoted(json.dumps(name, ensure_ascii=False) + ':')} || to_json(cells[{place}]) end"
        for place, name in enumerate(columns, start=1)
    )
    return f"""
        with {split_cells(delimiter)}
        select
            file_row,
            over_limit,
            {_RAW_ROW} as raw_row,
            {unreadable_cells(len(columns))} as unreadable,
            '{{' || concat_ws(',', {cells}) || '}}' as row
        from split"""


def _insert(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Insert the result of a query for (file_row, over_limit, raw_row, row, unreadable)."""
    opened = "strlen(row) - strlen(replace(replace(row, '[', ''), '{', ''))"
    connection.execute(f"""
        insert into source_rows
        with judged as (
            select
                file_row,
                raw_row,
                row,
                case
                    when over_limit is not null then ['over_limit', over_limit]
                    when unreadable is not null then ['unreadable', unreadable]
                    when opened > {MAX_NESTING_LEVELS} and broken_json_bound(row) is not null
                        then ['over_limit', {quoted(_DEEP)}]
                    when not regexp_matches(row, '^\\s*[\\[{{]') or not json_valid(row) then ['unreadable', {quoted(_NO_JSON)}]
                    when has_repeated_key(row) then ['unreadable', {quoted(_REPEATED)}]
                end as problem
            from (select *, {opened} as opened from ({query}))
        )
        select
            file_row,
            raw_row,
            case
                when problem is not null then null
                when regexp_matches(row, {quoted(ANY_MAY_LOSE_DIGITS)}) then all_in_quotes(row)
                else row
            end as row,
            problem[1] as reason,
            problem[2] as detail
        from judged""")


@contextmanager
def _functions(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    functions: dict[str, tuple[Any, str]] = {
        "has_repeated_key": (_have_repeated_keys, "BOOLEAN"),
        "all_in_quotes": (all_in_quotes, "VARCHAR"),
    }
    for name, (function, result) in functions.items():
        connection.create_function(name, function, ["VARCHAR"], result, type=PythonUDFType.ARROW)
    try:
        yield
    finally:
        for name in functions:
            connection.remove_function(name)


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _RepeatedKeyError


def _have_repeated_keys(rows: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Whether a key comes twice in an object, at any depth."""
    return pa.array([row is not None and _has_repeated_key(row) for row in rows.to_pylist()], pa.bool_())


def _has_repeated_key(row: str) -> bool:
    try:
        # The values do not matter, and long numbers would take long.
        json.loads(row, object_pairs_hook=_object, parse_int=str, parse_float=str)
    except _RepeatedKeyError:
        return True
    except (ValueError, RecursionError):
        return False  # DuckDB has read it
    return False
