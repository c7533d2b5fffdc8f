"""Lands files through a source: selects their rows, checks these like any rows, and writes them with their file and line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import duckdb

from pipeline.core.errors import BillhouseError, InputFileError
from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.landing.checks import LandingOptions
from pipeline.landing.column_profile import ColumnProfile
from pipeline.landing.converted_files import with_readable_rows
from pipeline.landing.csv_query import csv_header_line
from pipeline.landing.documents import WHOLE, with_document_rows
from pipeline.landing.input_files import InputFile, while_unchanged
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.raw_files import copy_rows, write_accepted, write_landed_file
from pipeline.landing.record_kinds import Kind
from pipeline.landing.result import LandedFile
from pipeline.landing.row_checks import accepted_range, check_rows, reject_rows, scratch_database
from pipeline.landing.row_numbers import ROW_MASK, NumberedFiles
from pipeline.landing.sources.select_rows import SelectProcess
from pipeline.landing.sources.selected_rows import (
    RAW_ROWS,
    SourceCounts,
    accept_by_file_row,
    count_outcomes,
    create_outcomes,
    select_source_rows,
)
from pipeline.landing.sources.source_files import Source
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import NewFiles, append_files


def land_source_file(
    home: Home,
    index: LandingIndex,
    process: SelectProcess,
    file: InputFile,
    source: Source,
    spec: Specification,
    options: LandingOptions,
) -> LandedFile:
    """Land a file that has not landed. Raises InputFileError if it cannot be read or selected from."""
    with scratch_database(home) as (connection, folder), append_files(home, "land") as files:
        profile = judge_source_files(connection, home, index, process, {0: file}, source, spec, options, folder)
        counts = count_outcomes(connection)
        if spec.kind is Kind.RUNNING and counts.accepted and counts.quarantined:
            raise InputFileError(
                file.path,
                f"is a listing of running sandboxes with rows that cannot be read ({counts.example}); none of it landed.",
                "A listing without them would end sessions that run. Fetch it again.",
            )
        ((_, first_at, last_at),) = accepted_range(connection, spec)
        if counts.accepted:
            write_accepted(connection, files, file, spec, profile)
        if counts.quarantined:
            write_source_quarantine(connection, files, file, spec)
        landed = result_of(file, source, counts, profile)
        write_landed_file(files, file, spec, landed, options, index.landed_rows + 1, (first_at, last_at))
    return landed


def judge_source_files(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    index: LandingIndex,
    process: SelectProcess,
    files: NumberedFiles,
    source: Source,
    spec: Specification,
    options: LandingOptions,
    folder: Path,
) -> ColumnProfile:
    """Select from each file and check the rows together: creates view `accepted`, tables `rejected` and `quarantined`."""
    read = {number: with_readable_rows(file, folder) for number, file in files.items()}
    with ExitStack() as unchanged:
        for file in files.values():
            unchanged.enter_context(while_unchanged(file))
        if options.rows_at != WHOLE:
            assert len(files) == 1
            read = {number: with_document_rows(connection, file, options.rows_at) for number, file in read.items()}
        selected = selected_rows_of(connection, process, read, source, spec, folder)
    before = LandedRows(connection, home, index, spec)
    profile = check_rows(connection, home, selected, spec, options, UnreadColumns(spec), before)
    reject_rows(connection, spec, before)
    create_outcomes(connection)
    accept_by_file_row(connection)
    return profile


def selected_rows_of(
    connection: duckdb.DuckDBPyConnection,
    process: SelectProcess,
    files: NumberedFiles,
    source: Source,
    spec: Specification,
    folder: Path,
    columns: Mapping[int, list[str]] | None = None,
) -> InputFile:
    """As select_source_rows; a select that fails is the problem of the first file, so that other files land."""
    try:
        return select_source_rows(connection, process, files, source, spec, folder, columns)
    except InputFileError:
        raise
    except BillhouseError as error:
        first = next(iter(files.values()))
        raise InputFileError(first.path, f"did not land. {error.message}", error.next_step) from error


def result_of(file: InputFile, source: Source, counts: SourceCounts, profile: ColumnProfile) -> LandedFile:
    """The result of landing a file."""
    return LandedFile(
        file.path.name,
        file.file_id,
        counts.received,
        counts.accepted,
        counts.duplicates,
        counts.quarantined.total(),
        dict(sorted(counts.quarantined.items())),
        landed_as=file.file_id,
        starts_without=profile.starts_without,
        example=counts.example,
        source=source.name,
        omitted=counts.omitted,
    )


def write_source_quarantine(
    connection: duckdb.DuckDBPyConnection, files: NewFiles, file: InputFile, spec: Specification, chosen: str = "true"
) -> None:
    """Write the rows of table `quarantined` of a file, of which `chosen` is true, with the rows as they were received."""
    has_ids = spec.kind in (Kind.USAGE, Kind.VOIDS)
    event_id = "(select any_value(event_id) from checked where checked.file_row = quarantined.number)" if has_ids else "null"
    header = quoted(csv_header_line(file)) if file.format.startswith("csv") else "null"
    copy_rows(
        connection,
        f"""
        select {quoted(file.file_id)} as file_id, {quoted(file.path.name)} as file_name,
            quarantined.file_row & {ROW_MASK} as file_row,
            {quoted(spec.kind)} as kind, quarantined.verdict as reason, quarantined.detail, raw.raw_row,
            cast({event_id} as varchar) as event_id, cast({header} as varchar) as header
        from quarantined
        inner join ({RAW_ROWS}) as raw on quarantined.file_row = raw.file_row
        where {chosen}
        order by quarantined.file_row""",
        files.file(files.home.raw / "quarantine" / f"{file.file_id}.parquet"),
    )
