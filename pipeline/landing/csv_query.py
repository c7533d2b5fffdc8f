"""The header and the rows of a CSV file, as a query with one column per field.

The header's delimiter is that of the file: a comma, or else a tab, a semicolon or a vertical bar. A quoted cell may contain
delimiters and line breaks; a bad row is reported with the number of its first line, and the rows around it land.
"""

from __future__ import annotations

import csv
import zlib
from collections import Counter

from pipeline.core.errors import InputFileError
from pipeline.core.sql import quoted
from pipeline.landing.input_files import InputFile
from pipeline.landing.lines import BYTE_ORDER_MARK, open_text, read_error
from pipeline.landing.query_parts import (
    IN_A_NEW_FILE,
    NOT_UTF_8,
    STRIPPED_LINES,
    RowsQuery,
    first_filled,
    no_cleared_fields,
    quoted_name,
    reject_group_columns,
)
from pipeline.landing.quoted_rows import CsvShape
from pipeline.landing.row_numbers import ROW_MASK
from pipeline.landing.specification import Specification

_MAX_HEADER_BYTES = 1 << 20
_LONG_ROW = 1 << 14
_MAX_COMMAS = 1 << 14
"""A row without quotes that has more commas is rejected."""
_DELIMITERS = ",\t;|"
_CSV_CELLS = f"Put a cell with a delimiter, a quote or a line break in quotes. {IN_A_NEW_FILE}"


def csv_header_line(file: InputFile) -> str:
    """The first line of a CSV file. Raises InputFileError if it cannot be read."""
    if file.header is not None:
        return file.header
    try:
        with open_text(file) as stream:
            return (
                stream.readline(_MAX_HEADER_BYTES).removeprefix(BYTE_ORDER_MARK).decode("utf-8", errors="replace").rstrip("\r\n")
            )
    except (EOFError, zlib.error, OSError) as error:
        raise read_error(file, error, row=1) from error


def csv_shape(file: InputFile) -> CsvShape:
    """The delimiter of a CSV file, and how many cells its rows have. Raises InputFileError if its header cannot be read."""
    first = csv_header_line(file)
    delimiter = next((mark for mark in _DELIMITERS if mark in first), ",")
    return CsvShape(delimiter, len(_cells(file, first, delimiter)))


def _cells(file: InputFile, first: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([first], delimiter=delimiter), [])
    except csv.Error as error:
        raise InputFileError(
            file.path,
            f"the header cannot be read ({error}).",
            "Write one row per line and the column names in the first line, separated by commas.",
            line=1,
        ) from error


def csv_names(file: InputFile) -> list[str]:
    """The column names of a CSV file. Raises InputFileError if one is repeated."""
    first = csv_header_line(file)
    header = [name.strip() for name in _cells(file, first, csv_shape(file).delimiter)]
    repeated = [name for name, times in Counter(header).items() if times > 1 and name]
    if repeated:
        raise InputFileError(
            file.path,
            f"has repeated columns: {', '.join(repeated)}.",
            "Write each column once, since it is unclear which one counts.",
            line=1,
        )
    return header


def csv_header(file: InputFile, specification: Specification) -> list[str]:
    """The column names of a CSV file. Raises InputFileError if one is repeated or a required one is missing."""
    header = csv_names(file)
    missing = [field for field in specification.fields if field.is_required and not {field.name, *field.paths} & set(header)]
    if missing:
        raise InputFileError(
            file.path,
            f"the header has no column {', '.join(field.name for field in missing)}; it reads: {csv_header_line(file)[:200]}",
            "Add a header line that names them, separated by commas.",
            line=1,
        )
    reject_group_columns(file, specification, dict.fromkeys(header, "text"))
    return header


def csv_rows(specification: Specification, header: list[str], delimiter: str) -> RowsQuery:
    """The query for the rows of a CSV file with this header and delimiter."""
    columns = []
    for field in specification.fields:
        places = [header.index(name) + 1 for name in (field.name, *field.paths) if name in header]
        columns.append(f"{first_filled([f'cells[{place}]' for place in places])} as {quoted_name(field.name)}")
    query = f"""
        with {split_cells(delimiter)}
        select
            file_row,
            over_limit,
            {unreadable_cells(len(header))} as unreadable,
            {", ".join(columns)}{no_cleared_fields(specification)}
        from split"""
    return RowsQuery(query)


def split_cells(delimiter: str) -> str:
    """A CTE `split` (file_row, over_limit, no_text, row, cells) over the table `lines`; cells is null for a bad line."""
    mark = quoted(delimiter)
    cell = f'("(?:[^"]|"")*"|[^"{delimiter}]*)[{delimiter}]'
    return f"""
        {STRIPPED_LINES},
        split as (
            select
                file_row,
                over_limit,
                no_text,
                row,
                case
                    -- Splitting a long row that consists of commas would take gigabytes.
                    when
                        strlen(row) > {_LONG_ROW}
                        and not contains(row, '"')
                        and strlen(row) - strlen(replace(row, {mark}, '')) >= {_MAX_COMMAS}
                        then null
                    when not contains(row, '"') then string_split(row, {mark})
                    when regexp_full_match(row || {mark}, '({cell})*') then list_transform(
                        regexp_extract_all(row || {mark}, '{cell}', 1),
                        lambda quoted: case
                            when starts_with(quoted, '"') then replace(quoted[2:-2], '""', '"')
                            else quoted
                        end
                    )
                end as cells
            from stripped
            where file_row & {ROW_MASK} > 1
        )"""


def unreadable_cells(count: int) -> str:
    """SQL over `split`: why a line is not a row of `count` cells; null if it is one."""
    return f"""case
                when row is null then {quoted(NOT_UTF_8)}
                when cells is null then {quoted(f"The line's quotes are not in pairs, or it is too long. {_CSV_CELLS}")}
                when len(cells) <> {count}
                    then 'The line has ' || len(cells) || {quoted(f" cells, but the header has {count}. {_CSV_CELLS}")}
            end"""
