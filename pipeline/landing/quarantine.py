"""Rows in quarantine, to be judged again from what was kept of them.

A row is in quarantine while no later landing supersedes it: `retried_rows` names the rows that do, each once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.core.errors import InputFileError
from pipeline.core.home import Home
from pipeline.core.sql import parquet_files, quoted
from pipeline.landing.files_to_land import Source
from pipeline.landing.lines import TOO_LONG
from pipeline.landing.record_kinds import Kind

_NOT_UTF_8 = r"\\x[0-9A-F]{2}"
"""Bytes that are no text are kept in this writing, which is no longer what came."""
_UNCHANGEABLE = (
    f"(reason = 'unreadable' and regexp_matches(raw_row, {quoted(_NOT_UTF_8)})"
    f" or reason = 'over_limit' and starts_with(detail, {quoted(TOO_LONG)}))"
)
"""So is a line of which only the beginning was kept."""


@dataclass(frozen=True)
class QuarantinedFile:
    """A landed file with rows in quarantine."""

    file_id: str
    """The file's own, whatever retries its rows went through."""
    file_name: str
    kind: Kind
    format: str
    header: str | None
    """The header of its rows of CSV; None for other formats, and for rows refused before headers were kept."""
    example: str
    """What is wrong with the first of its rows."""

    def source(self) -> Source:
        """Its rows in quarantine as something to land, once they are loaded. Raises InputFileError where a header is missing."""
        is_csv = self.format.startswith("csv")
        if is_csv and self.header is None:
            raise InputFileError(
                self.file_name,
                "has rows in quarantine that were kept without the file's header, and cannot be judged without it.",
                "Land the file again: its rows in quarantine are then judged again.",
            )
        return Source(
            Path(self.file_name),
            self.file_id,
            0,
            "csv" if is_csv else "jsonl",
            None,
            lines="select file_row, raw_row as line, null::blob as no_text, null::varchar as over_limit from quarantined_rows",
            header=self.header,
            flat_keys=self.format == "parquet",
        )


def quarantined_files(home: Home, file_id: str | None = None) -> list[QuarantinedFile]:
    """Files with rows in quarantine, in order of landing; or the one of an id, if it has any."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            f"""
            select roots.file_id, roots.file_name, roots.kind, roots.format, max(rows.header),
                arg_min(rows.reason || ', line ' || rows.file_row || ': ' || rows.detail, rows.file_row)
            from ({_current_rows(home)}) as rows
            inner join {parquet_files(home.raw / "landed_files", "*.parquet")} as roots on rows.root_file_id = roots.file_id
            where $file_id is null or roots.file_id = $file_id
            group by all
            order by min(roots.landed_sequence)""",
            {"file_id": file_id},
        ).fetchall()
    return [QuarantinedFile(id, name, Kind(kind), format, header, example) for id, name, kind, format, header, example in found]


def load_quarantined_rows(connection: duckdb.DuckDBPyConnection, home: Home, file: QuarantinedFile) -> Counter[str]:
    """Make table `quarantined_rows` of a file's rows that can be judged again. Returns the others, by reason."""
    rows = f"select * from ({_current_rows(home)}) where root_file_id = {quoted(file.file_id)}"
    connection.execute(f"create temp table quarantined_rows as select * from ({rows}) where not {_UNCHANGEABLE}")
    others = connection.execute(f"select reason, count(*) from ({rows}) where {_UNCHANGEABLE} group by reason").fetchall()
    return Counter(dict(others))


def _current_rows(home: Home) -> str:
    """Rows in quarantine now, with the file that each came in first."""
    files = parquet_files(home.raw / "landed_files", "*.parquet")
    return f"""
        select
            rows.file_id as superseded_file_id, rows.file_row, rows.reason, rows.detail, rows.raw_row, rows.header,
            coalesce(files.retried_file_id, files.file_id) as root_file_id
        from {parquet_files(home.raw / "quarantine", "*.parquet")} as rows
        inner join {files} as files on rows.file_id = files.file_id
        where not exists (
            select 1
            from {parquet_files(home.raw / "retried_rows", "*.parquet")} as retried
            where retried.superseded_file_id = rows.file_id and retried.file_row = rows.file_row
        )"""
