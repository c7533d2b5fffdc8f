"""Parts that the row queries of all formats share: quoting, the text of lines, and common messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import InputFileError
from pipeline.landing.input_files import InputFile
from pipeline.landing.specification import CLEARED_FIELDS, Specification

IN_A_NEW_FILE = "Correct the row and land it in a new file."
NOT_UTF_8 = f"The line is not UTF-8. {IN_A_NEW_FILE}"
LINE_TEXT = "case when ends_with(line, chr(13)) then rtrim(line, chr(13)) else line end"
"""SQL: the line without carriage returns at its end."""
STRIPPED_LINES = f"""
stripped as (
    select file_row, over_limit, no_text, {LINE_TEXT} as row
    from lines
    -- Leaves out lines that are blank. The test of the first character is fast, and decides nearly always.
    where line is null or over_limit is not null or ascii(line) > 32 or trim(line, ' ' || chr(9) || chr(13)) <> ''
)"""
"""A CTE `stripped` (file_row, over_limit, no_text, row) over the table `lines`."""


@dataclass(frozen=True)
class RowsQuery:
    """A query for the rows of a file: (file_row, over_limit, unreadable, one column per field [, cleared_fields])."""

    query: str
    """`over_limit` says which limit a row exceeds, `unreadable` why it cannot be read; both are null for other rows."""
    typed: frozenset[str] = frozenset()
    """The fields whose column has the field's own type; the others are text."""
    can_be_read_again: bool = False
    """Whether the query may run several times, and outside the block that yielded it."""
    carried: tuple[str, ...] = ()
    """Further columns of the query that `id_type_errors` reads."""
    id_type_errors: Mapping[str, str] = field(default_factory=dict)
    """By id field, an SQL condition that its value was neither text nor a whole number. Evaluated for unusual ids only."""


def quoted_name(column: str) -> str:
    """A column name as a quoted SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def first_filled(places: Sequence[str], *, keep_empty: bool = False) -> str:
    """SQL: the first of several expressions that is neither null nor empty; else '' if one is empty and `keep_empty`."""
    filled = [f"nullif({place}, '')" for place in places]
    return f"cast(coalesce({', '.join([*filled, *(places if keep_empty else ()), 'null'])}) as varchar)"


def no_cleared_fields(specification: Specification) -> str:
    """The column `cleared_fields` for formats that have no way to clear a field."""
    return f", cast(null as varchar) as {CLEARED_FIELDS}" if specification.is_merged else ""


def is_id_type_error(document: str, path: str) -> str:
    """SQL: whether the JSON value at a path is neither text nor a whole number."""
    # Whole numbers of any length are allowed; those of more than 64 bits are DOUBLE to DuckDB.
    return (
        f"json_type({document}, {path}) in ('OBJECT', 'ARRAY', 'BOOLEAN', 'DOUBLE')"
        f" and not regexp_full_match({document} ->> {path}, '-?[0-9]+')"
    )


def reject_group_columns(file: InputFile, specification: Specification, columns: Mapping[str, str]) -> None:
    """Raise InputFileError for a column (by name, with its type) that has the name of a group and is not a struct.

    Its values would be ignored, since fields are found by their names inside the group.
    """
    for group in specification.groups & columns.keys():
        inside = [path for field in specification.fields for path in field.paths if path.startswith(f"{group}.")]
        raise InputFileError(
            file.path,
            f"has a column {group} of type {columns[group]}, which cannot be read.",
            f"Write its values as separate columns: {', '.join(inside)}.",
            line=1,
        )
