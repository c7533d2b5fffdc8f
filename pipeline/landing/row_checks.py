"""Checks the rows of a file in a scratch database: field rules, currency changes, then duplicates and conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.landing.checks import LandingOptions, checked_query
from pipeline.landing.column_profile import ColumnProfile, profile_columns
from pipeline.landing.currency_changes import find_currency_changes
from pipeline.landing.duplicates import find_duplicates, is_filled
from pipeline.landing.file_groups import GroupUnread, by_layout, check_row_numbers
from pipeline.landing.file_rows import open_rows
from pipeline.landing.input_files import InputFile
from pipeline.landing.instants import MACROS
from pipeline.landing.json_bounds import create_functions
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.record_kinds import Kind
from pipeline.landing.row_numbers import NUMBER_MACROS, NumberedFiles
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.scratch_folders import scratch_folder

MEMORY_LIMIT = "1200MB"
"""Memory of DuckDB for one landing."""
_FEW_DAYS = 2
"""Each day is written by a separate query. For up to so many days, reading the file again is faster than storing its rows."""
_FEW_BYTES = 1 << 17
"""The rows of a file of up to so many bytes are stored: planning a query that reads the file takes longer than all its rows."""


def check_rows(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    file: InputFile,
    spec: Specification,
    options: LandingOptions,
    unread: UnreadColumns,
    landed: LandedRows,
) -> ColumnProfile:
    """Create `checked`, the file's rows with typed columns; `invalid`, those with an error; and `valid`, the others.

    Adds the columns that no field reads to `unread`.
    """
    with open_rows(connection, {0: file}, spec, unread) as rows:
        query = _with_derived_ids(spec, checked_query(spec, rows, options))
        is_read_again = rows.can_be_read_again and file.file_bytes > _FEW_BYTES
        connection.execute(f"create temp {'view' if is_read_again else 'table'} checked as {query}")
        profile = profile_columns(connection, spec)
        if is_read_again and spec.partition is not None and profile.days > _FEW_DAYS:
            connection.execute("create temp table checked_rows as from checked")
            connection.execute("create or replace temp view checked as from checked_rows")
        # Usually no row is invalid, and the rows need not be checked a second time.
        chosen = "reason is not null" if profile.invalid else "false"
        # Planning a scan of Parquet with all conditions of `reason` pushed into it takes seconds.
        connection.execute("set disabled_optimizers = 'filter_pushdown'")
        connection.execute(f"create temp table invalid as select file_row, reason, detail from checked where {chosen}")
        connection.execute("reset disabled_optimizers")
        if spec.kind is Kind.CUSTOMERS and (rejected := find_currency_changes(connection, home, landed, options.landed_at)):
            connection.executemany("insert into invalid values (?, ?, ?)", rejected)
    _create_view_without(connection, "valid", "invalid")
    return profile


def check_group(
    connection: duckdb.DuckDBPyConnection,
    files: NumberedFiles,
    spec: Specification,
    options: LandingOptions,
    unread: GroupUnread,
) -> None:
    """Create the tables of `check_rows` with the rows of several files, numbered through.

    Raises InputFileError if it is unclear which file a row is from.
    """
    target = "create temp table checked as"
    for of_layout in by_layout(files):
        with open_rows(connection, of_layout, spec, unread) as rows:
            connection.execute(f"{target} {_with_derived_ids(spec, checked_query(spec, rows, options))}")
        target = "insert into checked by name"
    check_row_numbers(connection, "checked", files)
    connection.execute("create temp table invalid as select file_row, reason, detail from checked where reason is not null")
    _create_view_without(connection, "valid", "invalid")


def set_file_ids(connection: duckdb.DuckDBPyConnection, file_ids: Sequence[str]) -> None:
    """Set the ids of the files that are checked, by their numbers: for the details of rejected rows, and the rows of a group."""
    connection.execute("set variable file_ids = $ids", {"ids": list(file_ids)})


def _create_view_without(connection: duckdb.DuckDBPyConnection, name: str, excluded: str) -> None:
    """Create a view with the rows of `checked` that are not in a table."""
    is_in = f"where not exists (select 1 from {excluded} where {excluded}.file_row = checked.file_row)"
    chosen = is_in if is_filled(connection, excluded) else ""
    connection.execute(f"create temp view {name} as select * from checked {chosen}")


def _with_derived_ids(spec: Specification, checked: str) -> str:
    """Add computed columns. An event without an id gets a hash of its content, so that a repeat is a duplicate. Section 3."""
    if spec.derived:
        return f"select *, {', '.join(f'{sql} as {name}' for name, sql in spec.derived)} from ({checked})"
    if spec.kind is not Kind.USAGE:
        return checked
    parts = ["sandbox_id", "user_id", "epoch_us(event_at)::varchar", "event_type"]
    parts += [f"coalesce({resource}::varchar, '-')" for resource in ("vcpu_count", "memory_gb", "storage_gb")]
    derived = "md5(" + " || chr(31) || ".join(parts)
    for field in spec.fields:
        if field.is_added_later:
            derived += f" || coalesce(chr(31) || '{field.name}=' || {field.name}::varchar, '')"
    derived += ")"
    return f"""
        select * replace (coalesce(event_id, case when reason is null then {derived} end) as event_id)
        from ({checked})"""


def reject_rows(connection: duckdb.DuckDBPyConnection, spec: Specification, landed: LandedRows) -> None:
    """Create table `rejected` (file_row, verdict, detail): invalid rows and duplicates; and view `accepted`: the others."""
    find_duplicates(connection, landed, spec)
    connection.execute("""
        create temp table rejected as
        select file_row, reason as verdict, detail from invalid
        union all
        select file_row, verdict, detail from verdicts where verdict <> 'accepted'""")
    _create_view_without(connection, "accepted", "rejected")


def count_rejected(connection: duckdb.DuckDBPyConnection) -> tuple[Counter[str], str]:
    """Rejected rows by verdict, and reason and detail of the first row with the most frequent reason."""
    counts = Counter[str](dict(connection.execute("select verdict, count(*) from rejected group by 1").fetchall()))
    reasons = [(number, reason) for reason, number in counts.items() if reason != "duplicate"]
    if not reasons:
        return counts, ""
    most = max(reasons)[1]
    ((row, detail),) = connection.execute(
        "select file_row, detail from rejected where verdict = ? order by file_row limit 1", [most]
    ).fetchall()
    return counts, f"{most}, line {row}: {detail}"


def accepted_range(
    connection: duckdb.DuckDBPyConnection, spec: Specification
) -> list[tuple[int, datetime | None, datetime | None]]:
    """One row: the number of accepted rows, and their first and last instant."""
    instant = spec.instant or "null::timestamptz"
    return connection.execute(f"select count(*), min({instant}), max({instant}) from accepted").fetchall()


@contextmanager
def scratch_database(home: Home) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database and a folder for one landing. The database spills to the folder, so that memory use is limited."""
    with scratch_folder(home, "land") as folder, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")  # rows are numbered, and sorted where it matters
        connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("set enable_progress_bar = false")  # it would be printed into the output of --json
        connection.execute(f"set temp_directory = {quoted(folder / 'spill')}")
        connection.execute(MACROS)
        connection.execute(NUMBER_MACROS)
        create_functions(connection)
        yield connection, folder
