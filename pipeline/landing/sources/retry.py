"""Checks the quarantined rows of a file that landed through a source again, through the same source as it is now."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import duckdb

from pipeline.core.home import Home
from pipeline.landing.checks import LandingOptions
from pipeline.landing.input_files import HAS_COLUMNS, InputFile
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.quarantine import QuarantinedFile, load_quarantined_rows
from pipeline.landing.raw_files import write_accepted, write_landed_file
from pipeline.landing.result import LandedFile
from pipeline.landing.retry import CHANGED_ROWS, retry_id, write_retried_rows
from pipeline.landing.row_checks import accepted_range, check_rows, reject_rows, scratch_database
from pipeline.landing.sources.landing import selected_rows_of, write_source_quarantine
from pipeline.landing.sources.select_rows import SelectProcess
from pipeline.landing.sources.selected_rows import FILE_ROW, accept_by_file_row, create_outcomes, example_of
from pipeline.landing.sources.source_files import Source
from pipeline.landing.sources.source_rows import load_source_rows
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import append_files


def retry_source_rows(
    home: Home,
    index: LandingIndex,
    process: SelectProcess,
    quarantined: QuarantinedFile,
    source: Source,
    spec: Specification,
    options: LandingOptions,
) -> LandedFile:
    """As retry_rows. What a row gives besides its rejected rows has landed before, and is not counted again."""
    file = quarantined.as_input_file()
    index.update()
    with scratch_database(home) as (connection, folder), append_files(home, "land --again") as files:
        not_retryable = load_quarantined_rows(connection, home, quarantined)
        columns = _load_rows(connection, file, has_columns=quarantined.format in HAS_COLUMNS)
        selected = selected_rows_of(connection, process, {0: file}, source, spec, folder, {0: columns})
        before = LandedRows(connection, home, index, spec)
        profile = check_rows(connection, home, selected, spec, options, UnreadColumns(spec), before)
        reject_rows(connection, spec, before)
        create_outcomes(connection)
        accept_by_file_row(connection)
        connection.execute("""
            create temp table unchanged as
            select quarantined.file_row
            from quarantined
            inner join quarantined_rows as before on quarantined.file_row = before.file_row
            where quarantined.verdict = before.reason
                and (
                    quarantined.detail is not distinct from before.detail
                    or quarantined.verdict in ('conflicting_duplicate', 'user_mismatch')
                )
                and quarantined.file_row not in (select file_row from accepted)""")
        is_changed = "quarantined.file_row not in (select file_row from unchanged)"
        counts = _by_reason(connection, "true")
        changed = _by_reason(connection, is_changed)
        ((accepted, first_at, last_at),) = accepted_range(connection, spec)
        duplicates, omitted, superseded = _count_others(connection)
        quarantined_now = counts + not_retryable
        landed = LandedFile(
            quarantined.file_name,
            quarantined.file_id,
            accepted + duplicates + quarantined_now.total() + omitted,
            accepted,
            duplicates,
            quarantined_now.total(),
            dict(sorted(quarantined_now.items())),
            starts_without=profile.starts_without,
            example=example_of(connection, counts) or quarantined.example,
            source=source.name,
            omitted=omitted,
        )
        if not superseded:
            return landed
        file = replace(file, file_id=retry_id(connection, quarantined))
        if accepted:
            write_accepted(connection, files, file, spec, profile)
        if changed:
            write_source_quarantine(connection, files, file, spec, is_changed)
        write_retried_rows(connection, files, file)
        recorded = replace(landed, received=accepted + duplicates + changed.total() + omitted, quarantined=changed.total())
        write_landed_file(
            files,
            file,
            spec,
            recorded,
            options,
            index.landed_rows + 1,
            (first_at, last_at),
            retried_file_id=quarantined.file_id,
            superseded=superseded,
        )
    return replace(landed, landed_as=file.file_id)


def _load_rows(connection: duckdb.DuckDBPyConnection, file: InputFile, *, has_columns: bool) -> list[str]:
    """Create table `source_rows` from the quarantined rows. Returns the columns of the file."""
    if file.format.startswith("csv"):
        return load_source_rows(connection, {0: file})[0]
    # Rows that were joined are stored together, one on each line. A row of JSON, Parquet or Avro contains no line break.
    lines = (
        "select file_row, unnest(string_split(raw_row, chr(10))) as line, null::blob as no_text, null::varchar as over_limit"
        " from quarantined_rows"
    )
    load_source_rows(connection, {0: replace(file, lines=lines)})
    if not has_columns:
        return []
    keys = connection.execute(
        "select distinct unnest(json_keys(row)) from source_rows where row is not null order by 1"
    ).fetchall()
    return [key for (key,) in keys]


def _by_reason(connection: duckdb.DuckDBPyConnection, chosen: str) -> Counter[str]:
    return Counter(dict(connection.execute(f"select verdict, count(*) from quarantined where {chosen} group by 1").fetchall()))


def _count_others(connection: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    """Rows that are duplicates in all they give; rows that give nothing; and rows that leave the quarantine as they were."""
    ((duplicates, omitted, superseded),) = connection.execute(f"""
        with changed as ({CHANGED_ROWS}),
        without_outcome as (
            select file_row in (select {FILE_ROW} from (select number as file_row from selected_rows)) as is_selected
            from changed
            where file_row not in (select file_row from accepted) and file_row not in (select file_row from quarantined)
        )
        select
            (select count(*) from without_outcome where is_selected),
            (select count(*) from without_outcome where not is_selected),
            (select count(*) from changed)""").fetchall()
    return duplicates, omitted, superseded
