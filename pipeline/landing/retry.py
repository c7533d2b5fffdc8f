"""Checks the quarantined rows of a file again, and lands those that are valid now."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import duckdb

from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.landing.checks import LandingOptions
from pipeline.landing.input_files import InputFile
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.quarantine import QuarantinedFile, load_quarantined_rows
from pipeline.landing.raw_files import copy_rows, write_accepted, write_landed_file, write_quarantine
from pipeline.landing.result import LandedFile
from pipeline.landing.row_checks import accepted_range, check_rows, count_rejected, reject_rows, scratch_database
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import NewFiles, append_files

CHANGED_ROWS = """
    select file_row, superseded_file_id from quarantined_rows
    where file_row not in (select file_row from unchanged)"""
"""SQL: the rows that leave the quarantine, by tables `quarantined_rows` and `unchanged`."""


def retry_rows(
    home: Home, index: LandingIndex, quarantined: QuarantinedFile, spec: Specification, options: LandingOptions
) -> LandedFile:
    """Check a file's quarantined rows as if they landed now, and write the rows whose result changed as a separate landing.

    These supersede the rows in quarantine, by `retried_rows`; rows with the same reason stay. The id of the landing is a hash of
    the rows that it supersedes, so that a row leaves the quarantine once.
    """
    file = quarantined.as_input_file()
    index.update()
    with scratch_database(home) as (connection, _), append_files(home, "land --again") as files:
        not_retryable = load_quarantined_rows(connection, home, quarantined)
        before = LandedRows(connection, home, index, spec)
        profile = check_rows(connection, home, file, spec, options, UnreadColumns(spec), before)
        reject_rows(connection, spec, before)
        connection.execute("""
            create temp table unchanged as
            select rejected.file_row, rejected.verdict, rejected.detail
            from rejected
            inner join quarantined_rows as before on rejected.file_row = before.file_row
            -- The detail names the conflicting row of the first check, and remains correct.
            where rejected.verdict = before.reason
                and (
                    rejected.detail is not distinct from before.detail
                    or rejected.verdict in ('conflicting_duplicate', 'user_mismatch')
                )
            """)
        counts, example = count_rejected(connection)
        connection.execute("delete from rejected where file_row in (select file_row from unchanged)")
        changed_counts, _ = count_rejected(connection)
        duplicates = counts.pop("duplicate", 0)
        changed_counts.pop("duplicate", 0)
        connection.execute("""
            create or replace temp view accepted as
            select * from checked
            where file_row not in (select file_row from rejected union all select file_row from unchanged)""")
        ((accepted, first_at, last_at),) = accepted_range(connection, spec)
        assert profile.received == accepted + duplicates + counts.total(), "every row is accepted, a duplicate or quarantined"
        counts.update(not_retryable)
        landed = LandedFile(
            quarantined.file_name,
            quarantined.file_id,
            profile.received + not_retryable.total(),
            accepted,
            duplicates,
            counts.total(),
            dict(sorted(counts.items())),
            starts_without=profile.starts_without,
            example=example or quarantined.example,
        )
        changed = accepted + duplicates + changed_counts.total()
        if not changed:
            return landed
        file = replace(file, file_id=retry_id(connection, quarantined))
        if accepted:
            write_accepted(connection, files, file, spec, profile)
        if changed_counts:
            write_quarantine(connection, files, file, spec)
        write_retried_rows(connection, files, file)
        recorded = replace(landed, received=changed, quarantined=changed_counts.total())
        sequence = index.landed_rows + 1
        times = first_at, last_at
        write_landed_file(
            files, file, spec, recorded, options, sequence, times, retried_file_id=quarantined.file_id, superseded=changed
        )
    return replace(landed, landed_as=file.file_id)


def retry_id(connection: duckdb.DuckDBPyConnection, file: QuarantinedFile) -> str:
    """The id of a retry: a hash of the rows that leave the quarantine."""
    digest = hashlib.sha256(f"again\n{file.file_id}\n".encode())
    rows = connection.execute(f"{CHANGED_ROWS} order by superseded_file_id, file_row")
    while batch := rows.fetchmany(10_000):
        digest.update("".join(f"{superseded} {row}\n" for row, superseded in batch).encode())
    return digest.hexdigest()


def write_retried_rows(connection: duckdb.DuckDBPyConnection, files: NewFiles, file: InputFile) -> None:
    """Write which rows leave the quarantine."""
    written = files.file(files.home.raw / "retried_rows" / f"{file.file_id}.parquet")
    copy_rows(connection, f"select {quoted(file.file_id)} as file_id, * from ({CHANGED_ROWS}) order by file_row", written)
