"""JSON documents whose rows are inside of them, as in {"data": [{...}, {...}]}: each row becomes a line."""

from __future__ import annotations

import zlib
from dataclasses import replace

import duckdb
import pyarrow as pa

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import MAX_ROW_BYTES
from pipeline.core.sql import quoted
from pipeline.landing.exact_numbers import ANY_MAY_LOSE_DIGITS, all_in_quotes
from pipeline.landing.input_files import InputFile
from pipeline.landing.lines import BYTE_ORDER_MARK, OVER_LIMIT, open_text, read_error

MAX_DOCUMENT_BYTES = 64 << 20
"""Maximum bytes of a document, decompressed: it is read as a whole."""
WHOLE = "$"
"""The path that means: the file itself is JSON lines, or an array."""


def with_document_rows(connection: duckdb.DuckDBPyConnection, file: InputFile, rows_at: str) -> InputFile:
    """The file with the rows at a JSON path as its lines, numbered from 1. Creates table `document_rows`.

    At the path is a list of rows, or one object, which is one row. Raises InputFileError if there is neither.
    """
    if not file.format.startswith("jsonl"):
        raise InputFileError(file.path, "is no JSON document.", "Land it without a path of its rows.")
    ((found,),) = connection.execute("select json_extract($text, $path)", {"text": _text(file), "path": rows_at}).fetchall()
    ((type,),) = connection.execute("select json_type($found::json)", {"found": found}).fetchall()
    if type not in ("ARRAY", "OBJECT"):
        raise InputFileError(
            file.path,
            f"has no list of rows at '{rows_at}'; none of its rows landed.",
            "Check the path: $.data for the list that is called data.",
        )
    rows = "unnest(json_extract($found::json, '$[*]'))" if type == "ARRAY" else "$found::json"
    connection.execute(
        "create or replace temp table document_rows as select row_number() over () as file_row, cast(row as varchar) as line"
        f" from (select {rows} as row)",
        {"found": found},
    )
    lines = (
        "select file_row, case when strlen(line) > {bytes} then left(line, 1000) else line end as line, null::blob as no_text,"
        " case when strlen(line) > {bytes} then {reason} end as over_limit from document_rows"
    )
    return replace(file, lines=lines.format(bytes=MAX_ROW_BYTES, reason=quoted(OVER_LIMIT)))


def _text(file: InputFile) -> str:
    """The document; numbers that a float cannot represent are put in quotes, since DuckDB writes a row's numbers again."""
    content = b""
    try:
        with open_text(file) as stream:
            while len(content) <= MAX_DOCUMENT_BYTES and (chunk := stream.read(MAX_DOCUMENT_BYTES + 1 - len(content))):
                content += chunk
    except (EOFError, zlib.error, OSError) as error:
        raise read_error(file, error, 1) from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InputFileError(
            file.path,
            f"is a document of more than {MAX_DOCUMENT_BYTES:,} bytes; none of its rows landed.",
            "Write a row on each line, and land that.",
        )
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise InputFileError(file.path, f"is not UTF-8 ({error.reason}).", "Write it in UTF-8.") from error
    with duckdb.connect() as connection:
        checks = "select json_valid($1), regexp_matches($1, $2)"
        ((valid, loses_digits),) = connection.execute(checks, [text, ANY_MAY_LOSE_DIGITS]).fetchall()
    if not valid:
        raise InputFileError(file.path, "is not one JSON document; none of its rows landed.", "Copy it again from its source.")
    return str(all_in_quotes(pa.array([text]))[0].as_py()) if loses_digits else text
