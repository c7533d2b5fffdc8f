"""What is in quarantine, for people: by reason, and row by row. It writes nothing. docs/reference/input-files.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from pipeline.core.home import Home
from pipeline.core.sql import rows_as_dictionaries
from pipeline.landing.quarantine import current_rows
from pipeline.store.raw import landed_files_sql, read_beside_merges

_EXAMPLE = "file_name || ', line ' || file_row || ': ' || detail"


def reasons_in_quarantine(home: Home, *, landed_from: datetime | None = None) -> list[dict[str, Any]]:
    """A row for each kind and reason, the most frequent first: kind, reason, rows, files, first_landed_at, example.

    `landed_from`: only rows of files that landed since then. `example` names file and line of the first row that landed, and what
    is wrong with it.
    """
    return _query(
        home,
        f"""
        select kind, reason, count(*) as rows, count(distinct root_file_id) as files, min(landed_at) as first_landed_at,
            arg_min({_EXAMPLE}, (landed_sequence, file_row)) as example
        from quarantined
        where $landed_from::timestamptz is null or landed_at >= $landed_from
        group by kind, reason
        order by rows desc, kind, reason""",
        landed_from=landed_from,
    )


def rows_in_quarantine(home: Home, *, reason: str | None, file: str | None, limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows in order of landing: file_name, file_row, kind, reason, detail, landed_at, raw_row (as it came).

    `reason`: only these; `file`: only of files of this name, or whose id begins so.
    """
    if not all(map(_is_utf_8, (reason or "", file or ""))):
        return []  # a file with such a name does not land
    return _query(
        home,
        """
        select file_name, file_row, kind, reason, detail, landed_at, raw_row
        from quarantined
        where
            ($reason is null or reason = $reason)
            and ($file is null or file_name = $file or starts_with(root_file_id, $file))
        order by landed_sequence, file_row
        limit $limit""",
        reason=reason,
        file=file,
        limit=limit,
    )


def _query(home: Home, sql: str, **parameters: object) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(f"""
                create temp view quarantined as
                select rows.*, files.file_name, files.kind, files.landed_at, files.landed_sequence
                from ({current_rows(home)}) as rows
                inner join {landed_files_sql(home)} as files on rows.root_file_id = files.file_id""")
            return rows_as_dictionaries(connection.execute(sql, parameters))

    rows = read_beside_merges(read)
    return [{name: _utc(value) for name, value in row.items()} for row in rows]


def _is_utf_8(text: str) -> bool:
    """Whether a text has none of the characters that stand for bytes of an argument that are not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
