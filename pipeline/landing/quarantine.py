"""Rows in quarantine, to be checked again from their stored text.

A row is in quarantine until a later landing supersedes it: `retried_rows` lists the superseded rows, each once. It waits for a
person until one settles it (`pipeline.landing.settlement`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from pipeline.core.errors import InputFileError
from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.landing.input_files import HAS_COLUMNS, InputFile
from pipeline.landing.lines import TOO_LONG
from pipeline.landing.record_kinds import Kind
from pipeline.store.quarantine_settlements import SETTLEMENTS
from pipeline.store.raw import RAW, landed_files_sql

_NOT_UTF_8 = r"\\x[0-9A-F]{2}"
"""Bytes that are not text are stored in this notation, so the original is lost."""
_NOT_RETRYABLE = (
    f"(reason = 'unreadable' and regexp_matches(raw_row, {quoted(_NOT_UTF_8)})"
    f" or reason = 'over_limit' and starts_with(detail, {quoted(TOO_LONG)}))"
)
"""Rows whose text is not stored completely: not UTF-8, or cut off."""


@dataclass(frozen=True)
class QuarantinedFile:
    """A landed file with rows in quarantine."""

    file_id: str
    """The id of the file that the rows came in, not of a retry."""
    file_name: str
    kind: Kind
    format: str
    header: str | None
    """The header of CSV rows; None for other formats, and for rows of versions that did not store it."""
    source_name: str | None
    """The source that the file was read with."""
    example: str
    """The reason and detail of its first row in quarantine."""
    with_settled: bool = True
    """Whether rows that a person settled are checked again, too."""

    def as_input_file(self) -> InputFile:
        """Its rows in quarantine as an input file, after `load_quarantined_rows`. Raises InputFileError without a header."""
        is_csv = self.format.startswith("csv")
        if is_csv and self.header is None:
            raise InputFileError(
                self.file_name,
                "has CSV rows in quarantine that were stored without their header, so they cannot be checked again.",
                "Land the file again: its rows in quarantine are then checked again.",
            )
        return InputFile(
            Path(self.file_name),
            self.file_id,
            0,
            "csv" if is_csv else "jsonl",
            None,
            lines="select file_row, raw_row as line, null::blob as no_text, null::varchar as over_limit from quarantined_rows",
            header=self.header,
            has_flat_keys=self.format in HAS_COLUMNS,
        )


def quarantined_files(home: Home, file_id: str | None = None, *, with_settled: bool = True) -> list[QuarantinedFile]:
    """The files with rows in quarantine, in order of landing; with `file_id`, only that one.

    Without `with_settled`, rows that a person settled are not checked again: they were corrected elsewhere.
    """
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            f"""
            select roots.file_id, roots.file_name, roots.kind, roots.format, max(rows.header), roots.source_name,
                arg_min(rows.reason || ', line ' || rows.file_row || ': ' || rows.detail, rows.file_row)
            from ({current_rows(home) if with_settled else open_rows(home)}) as rows
            inner join {landed_files_sql(home)} as roots on rows.root_file_id = roots.file_id
            where $file_id is null or roots.file_id = $file_id
            group by all
            order by min(roots.landed_sequence)""",
            {"file_id": file_id},
        ).fetchall()
    return [
        replace(QuarantinedFile(id, name, Kind(kind), *others), with_settled=with_settled) for id, name, kind, *others in found
    ]


def load_quarantined_rows(connection: duckdb.DuckDBPyConnection, home: Home, file: QuarantinedFile) -> Counter[str]:
    """Create table `quarantined_rows` with a file's rows that can be checked again. Returns the number of others by reason."""
    found = current_rows(home) if file.with_settled else open_rows(home)
    rows = f"select * from ({found}) where root_file_id = {quoted(file.file_id)}"
    connection.execute(f"create temp table quarantined_rows as select * from ({rows}) where not {_NOT_RETRYABLE}")
    others = connection.execute(f"select reason, count(*) from ({rows}) where {_NOT_RETRYABLE} group by reason").fetchall()
    return Counter(dict(others))


def current_rows(home: Home) -> str:
    """SQL: the rows that are in quarantine now, with the id of the file that they came in."""
    files = landed_files_sql(home)
    return f"""
        select
            rows.file_id as superseded_file_id, rows.file_row, rows.reason, rows.detail, rows.raw_row, rows.header,
            coalesce(files.retried_file_id, files.file_id) as root_file_id
        from {RAW["quarantine"].rows_sql(home)} as rows
        inner join {files} as files on rows.file_id = files.file_id
        where not exists (
            select 1
            from {RAW["retried_rows"].rows_sql(home)} as retried
            where retried.superseded_file_id = rows.file_id and retried.file_row = rows.file_row
        )"""


def open_rows(home: Home) -> str:
    """SQL: the rows of `current_rows` that wait for a person: those that were not settled."""
    return f"""
        select rows.*
        from ({current_rows(home)}) as rows
        where not exists (
            select 1
            from {SETTLEMENTS.rows_sql(home)} as settlements
            where settlements.file_id = rows.root_file_id and settlements.file_row = rows.file_row
        )"""
