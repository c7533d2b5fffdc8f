"""The rows of files as a query, in any format: one column per field.

Text files are read line by line, so that a bad row is reported with its line number and the rows around it land. Fields come as
text, except Parquet columns that already have the field's type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from pipeline.core.sql import quoted
from pipeline.landing.csv_query import csv_header, csv_rows, csv_shape
from pipeline.landing.exact_numbers import MAY_LOSE_DIGITS, ExactNumbers
from pipeline.landing.file_groups import GroupReader, GroupUnread
from pipeline.landing.jsonl_query import jsonl_rows
from pipeline.landing.lines import LINES
from pipeline.landing.parquet_query import parquet_raw_rows, parquet_rows, reading_parquet, unread_names
from pipeline.landing.query_parts import LINE_TEXT, RowsQuery
from pipeline.landing.row_numbers import NumberedFiles
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns


@contextmanager
def open_rows(
    connection: duckdb.DuckDBPyConnection,
    files: NumberedFiles,
    specification: Specification,
    unread: UnreadColumns | GroupUnread,
) -> Iterator[RowsQuery]:
    """The query for the rows of files of one layout. It runs once, inside the block, unless it `can_be_read_again`.

    Adds the names of columns and keys that no field reads to `unread`. Raises InputFileError if a file cannot be read.
    """
    file = next(iter(files.values()))
    if file.format == "parquet":
        with reading_parquet(files):
            rows = parquet_rows(connection, files, specification)
            for number, each in files.items():
                unread.of_file(number).add(unread_names(each, specification))
            yield rows
    elif file.format == "avro" or file.format.startswith("jsonl"):
        exact = ExactNumbers(specification)
        with _functions(connection, unread, exact), open_lines(connection, files, exact):
            yield jsonl_rows(specification, has_flat_keys=file.has_flat_keys, shape_prefix=unread.shape_prefix)
    else:
        header = csv_header(file, specification)
        for number in files:
            unread.of_file(number).add(header)
        with open_lines(connection, files):
            yield csv_rows(specification, header, csv_shape(file).delimiter)


@contextmanager
def open_raw_rows(connection: duckdb.DuckDBPyConnection, files: NumberedFiles) -> Iterator[str]:
    """A query for (file_row, raw_row), the rows of files of one layout as they were received, for the quarantine.

    It runs once, inside the block.
    """
    if next(iter(files.values())).format == "parquet":
        with reading_parquet(files):
            yield parquet_raw_rows(files)
        return
    with open_lines(connection, files):
        yield f"select file_row, coalesce({LINE_TEXT}, cast(no_text as varchar)) as raw_row from lines"


@contextmanager
def _functions(connection: duckdb.DuckDBPyConnection, unread: UnreadColumns | GroupUnread, exact: ExactNumbers) -> Iterator[None]:
    """Register the functions that the query for JSON lines calls."""
    functions: dict[str, Any] = {"note_keys": unread.note_keys, "numbers_in_quotes": exact.column_in_quotes}
    for name, function in functions.items():
        connection.create_function(
            name,
            function,
            ["VARCHAR", "BIGINT"] if name == "note_keys" else ["VARCHAR"],
            "BOOLEAN" if name == "note_keys" else "VARCHAR",
            type=PythonUDFType.ARROW,
            side_effects=name == "note_keys",
        )
    try:
        yield
    finally:
        for name in functions:
            connection.remove_function(name)


@contextmanager
def open_lines(connection: duckdb.DuckDBPyConnection, files: NumberedFiles, exact: ExactNumbers | None = None) -> Iterator[None]:
    """Provide the table `lines` (see lines.LINES) for one query; `exact` quotes numbers that a float cannot represent."""
    file = next(iter(files.values()))
    if file.lines is not None:
        assert len(files) == 1
        line = f"case when regexp_matches(line, {quoted(MAY_LOSE_DIGITS)}) then numbers_in_quotes(line) else line end"
        replaced = f"replace ({line} as line)" if exact is not None else ""
        connection.execute(f"create or replace temp view lines as select * {replaced} from ({file.lines})")
        yield
        return
    reader = GroupReader(files, exact)
    connection.register("lines", pa.RecordBatchReader.from_batches(LINES, reader.batches()))
    try:
        yield
    except duckdb.Error:
        if reader.failure is not None:
            raise reader.failure from None
        raise
    finally:
        connection.unregister("lines")
