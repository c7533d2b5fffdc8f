"""What is in quarantine, for people: by reason, and row by row. It writes nothing. docs/reference/input-files.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb

from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.plain_text import is_utf_8
from pipeline.core.sql import rows_as_dictionaries
from pipeline.landing.quarantine import current_rows
from pipeline.landing.record_kinds import Kind
from pipeline.store.quarantine_settlements import SETTLEMENTS
from pipeline.store.raw import landed_files_sql, read_beside_merges

_EXAMPLE = "file_name || ', line ' || file_row || ': ' || detail"


def reasons_in_quarantine(home: Home, *, landed_from: datetime | None = None, is_settled: bool = False) -> list[dict[str, Any]]:
    """A row for each kind and reason, the most frequent first: kind, reason, rows, files, first_landed_at, example.

    Of the rows that wait for a person; with `is_settled`, of those that one settled. `landed_from`: only rows of files that
    landed since then. `example` names file and line of the first row that landed, and what is wrong with it.
    """
    return _query(
        home,
        f"""
        select kind, reason, count(*) as rows, count(distinct root_file_id) as files, min(landed_at) as first_landed_at,
            arg_min({_EXAMPLE}, (landed_sequence, file_row)) as example
        from quarantined
        where (settled_at is not null) = $is_settled and ($landed_from::timestamptz is null or landed_at >= $landed_from)
        group by kind, reason
        order by rows desc, kind, reason""",
        landed_from=landed_from,
        is_settled=is_settled,
    )


def rows_in_quarantine(
    home: Home,
    *,
    reason: str | None = None,
    file: str | None = None,
    file_rows: Sequence[int] = (),
    is_settled: bool = False,
    limit: int,
) -> list[dict[str, Any]]:
    """At most `limit` rows in order of landing, with file_id, file_name, file_row, kind, reason, detail, landed_at and raw_row.

    Rows that wait for a person; with `is_settled`, those that one settled, with settled_at, settled_by and settlement_reason.
    `reason`: only these; `file`: only of files of this name, or whose id begins so; `file_rows`: only these lines.
    Raises WrongUsageError for an empty reason or file.
    """
    refuse_empty(reason, file)
    if not all(map(is_utf_8, (reason or "", file or ""))):
        return []  # a file with such a name does not land
    settled = ", settled_at, settled_by, settlement_reason" if is_settled else ""
    return _query(
        home,
        f"""
        select root_file_id as file_id, file_name, file_row, kind, reason, detail, landed_at, raw_row{settled}
        from quarantined
        where (settled_at is not null) = $is_settled and {CHOSEN}
        order by landed_sequence, file_row
        limit $limit""",
        reason=reason,
        file=file,
        file_rows=list(file_rows),
        is_settled=is_settled,
        limit=limit,
    )


def settled_rows(home: Home, kind: Kind | None = None) -> int:
    """The rows in quarantine, of a kind or of all, that a person settled. Reads none where none was ever settled."""
    if not SETTLEMENTS.has_rows(home):
        return 0
    sql = "select count(*) as rows from quarantined where ($kind is null or kind = $kind) and settled_at is not null"
    return int(_query(home, sql, kind=kind)[0]["rows"])


CHOSEN = """
    ($reason is null or reason = $reason)
    and ($file is null or file_name = $file or starts_with(root_file_id, $file))
    and (len($file_rows::bigint[]) = 0 or list_contains($file_rows::bigint[], file_row))"""
"""SQL: the rows of view `quarantined` with a reason, of a file and of some lines."""


def create_view(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Create view `quarantined`: the rows in quarantine with their file, and who settled them when and why, or null."""
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"""
        create temp view quarantined as
        select
            rows.*, files.file_name, files.kind, files.landed_at, files.landed_sequence,
            settlements.settled_at, settlements.settled_by, settlements.settlement_reason
        from ({current_rows(home)}) as rows
        inner join {landed_files_sql(home)} as files on rows.root_file_id = files.file_id
        left join {SETTLEMENTS.rows_sql(home)} as settlements
            on rows.root_file_id = settlements.file_id and rows.file_row = settlements.file_row""")


def _query(home: Home, sql: str, **parameters: object) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        with duckdb.connect() as connection:
            create_view(connection, home)
            return rows_as_dictionaries(connection.execute(sql, parameters))

    rows = read_beside_merges(read)
    return [{name: _utc(value) for name, value in row.items()} for row in rows]


def refuse_empty(reason: str | None, file: str | None) -> None:
    """Raises WrongUsageError for an empty reason or file, as of an unset variable of a script: each file's id begins with ''."""
    for option, value in (("--file", file), ("--reason", reason)):
        if value == "":
            raise WrongUsageError(f"{option} is empty.", "Write a value, or leave the option out.")


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
