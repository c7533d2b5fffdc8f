"""The rows of a file as a query, in any format: one column per field.

Text files are read line by line, so that a bad row is reported with its line number and the rows around it land. Fields come as
text, except Parquet columns that already have the field's type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from pipeline.core.sql import quoted
from pipeline.landing.csv_query import csv_header, csv_rows, csv_shape
from pipeline.landing.exact_numbers import MAY_LOSE_DIGITS, ExactNumbers
from pipeline.landing.file_groups import SHAPE_PREFIX, GroupReader, GroupUnread
from pipeline.landing.input_files import InputFile
from pipeline.landing.jsonl_query import jsonl_rows
from pipeline.landing.lines import LINES, LineReader
from pipeline.landing.parquet_query import parquet_raw_rows, parquet_rows, reading_parquet
from pipeline.landing.query_parts import LINE_TEXT, RowsQuery
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns


@contextmanager
def open_rows(
    connection: duckdb.DuckDBPyConnection, file: InputFile, specification: Specification, unread: UnreadColumns
) -> Iterator[RowsQuery]:
    """The query for a file's rows. It runs once, inside the block, unless it `can_be_read_again`.

    Adds the names of columns and keys that no field reads to `unread`. Raises InputFileError if the file cannot be read.
    """
    if file.format == "parquet":
        with reading_parquet(file):
            yield parquet_rows(connection, file, specification, unread)
    elif file.format == "avro" or file.format.startswith("jsonl"):
        exact = ExactNumbers(specification)
        with _functions(connection, unread, exact), open_lines(connection, file, exact):
            yield jsonl_rows(specification, has_flat_keys=file.has_flat_keys)
    else:
        header = csv_header(file, specification)
        unread.add(header)
        with open_lines(connection, file):
            yield csv_rows(specification, header, csv_shape(file).delimiter)


@contextmanager
def open_group_rows(
    connection: duckdb.DuckDBPyConnection, files: Sequence[InputFile], specification: Specification, unread: GroupUnread
) -> Iterator[RowsQuery]:
    """The query for the rows of several files of JSON lines, numbered through. It runs once, inside the block."""
    exact = ExactNumbers(specification)
    reader = GroupReader(files, exact)
    with _functions(connection, unread, exact), _readopen_lines(connection, reader):
        yield jsonl_rows(specification, has_flat_keys=False, shape_prefix=SHAPE_PREFIX)


@contextmanager
def open_raw_rows(connection: duckdb.DuckDBPyConnection, file: InputFile) -> Iterator[str]:
    """A query for (file_row, raw_row), the rows as they were received, for the quarantine. It runs once, inside the block."""
    if file.format == "parquet":
        with reading_parquet(file):
            yield parquet_raw_rows(file)
        return
    with open_lines(connection, file):
        yield f"select file_row, coalesce({LINE_TEXT}, cast(no_text as varchar)) as raw_row from lines"


@contextmanager
def _functions(connection: duckdb.DuckDBPyConnection, unread: UnreadColumns | GroupUnread, exact: ExactNumbers) -> Iterator[None]:
    """Register the functions that the query for JSON lines calls."""
    functions: dict[str, Any] = {"note_keys": unread.note_keys, "numbers_in_quotes": exact.column_in_quotes}
    for name, function in functions.items():
        connection.create_function(
            name,
            function,
            ["VARCHAR"],
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
def open_lines(connection: duckdb.DuckDBPyConnection, file: InputFile, exact: ExactNumbers | None = None) -> Iterator[None]:
    """Provide the table `lines` (see lines.LINES) for one query; `exact` quotes numbers that a float cannot represent."""
    if file.lines is not None:
        line = f"case when regexp_matches(line, {quoted(MAY_LOSE_DIGITS)}) then numbers_in_quotes(line) else line end"
        replaced = f"replace ({line} as line)" if exact is not None else ""
        connection.execute(f"create or replace temp view lines as select * {replaced} from ({file.lines})")
        yield
        return
    with _readopen_lines(connection, LineReader(file, exact, csv_shape(file) if file.format.startswith("csv") else None)):
        yield


@contextmanager
def _readopen_lines(connection: duckdb.DuckDBPyConnection, reader: LineReader | GroupReader) -> Iterator[None]:
    connection.register("lines", pa.RecordBatchReader.from_batches(LINES, reader.batches()))
    try:
        yield
    except duckdb.Error:
        if reader.failure is not None:
            raise reader.failure from None
        raise
    finally:
        connection.unregister("lines")
