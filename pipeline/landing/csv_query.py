"""The header and the rows of a CSV file, as a query with one column per field.

A cell may be quoted and contain commas, but not line breaks: each line is one row, so that a bad row is reported with its line
number and the rows around it land.
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
from pipeline.landing.specification import Specification

_MAX_HEADER_BYTES = 1 << 20
_LONG_ROW = 1 << 14
_MAX_COMMAS = 1 << 14
"""A row without quotes that has more commas is rejected."""
_CSV_CELLS = f"Put a cell with a comma or a quote in quotes; a cell holds no line break. {IN_A_NEW_FILE}"


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


def csv_header(file: InputFile, specification: Specification) -> list[str]:
    """The column names of a CSV file. Raises InputFileError if one is repeated or a required one is missing."""
    first = csv_header_line(file)
    try:
        header = [name.strip() for name in next(csv.reader([first]), [])]
    except csv.Error as error:
        raise InputFileError(
            file.path,
            f"the header cannot be read ({error}).",
            "Write one row per line and the column names in the first line, separated by commas.",
            line=1,
        ) from error
    repeated = [name for name, times in Counter(header).items() if times > 1 and name]
    if repeated:
        raise InputFileError(
            file.path,
            f"has repeated columns: {', '.join(repeated)}.",
            "Write each column once, since it is unclear which one counts.",
            line=1,
        )
    missing = [field for field in specification.fields if field.is_required and not {field.name, *field.paths} & set(header)]
    if missing:
        other = next((mark for mark in ";\t|" if mark in first and "," not in first), None)
        shown = {"\t": "tab"}.get(other or "", f"'{other}'")
        raise InputFileError(
            file.path,
            f"the header has no column {', '.join(field.name for field in missing)}; it reads: {first[:200]}",
            f"It seems to be delimited by {shown}: separate its cells with commas."
            if other
            else "Add a header line that names them, separated by commas.",
            line=1,
        )
    reject_group_columns(file, specification, dict.fromkeys(header, "text"))
    return header


def csv_rows(specification: Specification, header: list[str]) -> RowsQuery:
    """The query for the rows of a CSV file with this header."""
    columns = []
    for field in specification.fields:
        places = [header.index(name) + 1 for name in (field.name, *field.paths) if name in header]
        columns.append(f"{first_filled([f'cells[{place}]' for place in places])} as {quoted_name(field.name)}")
    cell = '("(?:[^"]|"")*"|[^",]*),'
    query = f"""
        with {STRIPPED_LINES},
        split as (
            select
                file_row,
                over_limit,
                row,
                case
                    -- Splitting a long row that consists of commas would take gigabytes.
                    when
                        strlen(row) > {_LONG_ROW}
                        and not contains(row, '"')
                        and strlen(row) - strlen(replace(row, ',', '')) >= {_MAX_COMMAS}
                        then null
                    when not contains(row, '"') then string_split(row, ',')
                    when regexp_full_match(row || ',', '({cell})*') then list_transform(
                        regexp_extract_all(row || ',', '{cell}', 1),
                        lambda quoted: case
                            when starts_with(quoted, '"') then replace(quoted[2:-2], '""', '"')
                            else quoted
                        end
                    )
                end as cells
            from stripped
            where file_row > 1
        )
        select
            file_row,
            over_limit,
            case
                when row is null then {quoted(NOT_UTF_8)}
                when cells is null then {quoted(f"The line's quotes are not in pairs, or it is too long. {_CSV_CELLS}")}
                when len(cells) <> {len(header)}
                    then 'The line has ' || len(cells) || {quoted(f" cells, but the header has {len(header)}. {_CSV_CELLS}")}
            end as unreadable,
            {", ".join(columns)}{no_cleared_fields(specification)}
        from split"""
    return RowsQuery(query)
