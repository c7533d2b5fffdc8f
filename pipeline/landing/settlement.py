"""Settles rows in quarantine: a person records that they need nothing more, such as rows that landed corrected from another file.

    ledger/quarantine_settlements/<instant>-<id>.parquet    one file for each decision, never changed

The rows stay in quarantine, as a record that they were received; they no longer wait. A row is settled once.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from pipeline.core.decisions import checked_by, checked_why
from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.home import Home
from pipeline.core.plain_text import is_utf_8
from pipeline.core.sql import quoted
from pipeline.landing.quarantine_report import CHOSEN, create_view, refuse_empty
from pipeline.landing.raw_files import copy_rows
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.quarantine_settlements import SETTLEMENTS

_LEAST_OF_ID = 8
"""The characters of an id that name a file for good; the lists of rows show as many."""


@dataclass(frozen=True)
class SettledFile:
    """The rows of one file that one call settled."""

    file_id: str
    file_name: str
    rows: int
    lines: str
    """The lines in their order, as in `1-3, 7`."""


@dataclass(frozen=True)
class SettlementResult:
    """The rows that one call settled."""

    settled_by: str
    rows: int
    by_reason: dict[str, int]
    """The rows by the reason for which they are in quarantine."""
    already_settled: int
    """Rows that were chosen, and that an earlier call had settled: nothing is written for them."""
    files: tuple[SettledFile, ...] = ()
    """In order of landing."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def settle_rows(
    home: Home, *, reason: str | None = None, file: str | None = None, file_rows: Sequence[int] = (), by: str, why: str
) -> SettlementResult:
    """Settle the rows with a reason, of a file (its name, or the start of its id), or of some of its lines. Safe to repeat.

    `by`: who decides; `why`: for what reason. Raises WrongUsageError where rows are not chosen clearly, as by an empty text, a
    name of several files or a short start of an id, or `by` or `why` is empty or no line of plain text; BillhouseError where a
    chosen row is not in quarantine.
    """
    refuse_empty(reason, file)
    by, why = checked_by(by), checked_why(why)
    if not why:
        raise WrongUsageError("It does not say why the rows are settled.", "Write the reason: --why TEXT")
    if reason is None and file is None:
        raise WrongUsageError("No rows are chosen.", "Choose them with --file, --row or --reason.")
    if file_rows and file is None:
        raise WrongUsageError("It does not say of which file the row is.", "Name it: --file NAME --row LINE")
    if not all(map(is_utf_8, (reason or "", file or ""))):
        raise _not_in_quarantine("Such rows are")
    with home.writing(), duckdb.connect() as connection:
        finish_interrupted(home)
        create_view(connection, home)
        connection.execute(
            "create temp table chosen as select root_file_id, file_name, file_row, kind, reason, landed_sequence,"
            f" settled_at is not null as was_settled from quarantined where {CHOSEN}",
            {"reason": reason, "file": file, "file_rows": list(file_rows)},
        )
        _check_choice(connection, file, file_rows)
        counts = "select reason, count(*) from chosen where was_settled = ? group by all order by all"
        by_reason = dict(connection.execute(counts, [False]).fetchall())
        already_settled = sum(number for _, number in connection.execute(counts, [True]).fetchall())
        files = _files(connection)
        if by_reason:
            _record(connection, home, by, why)
    return SettlementResult(by, sum(by_reason.values()), by_reason, already_settled, files)


def _check_choice(connection: duckdb.DuckDBPyConnection, file: str | None, file_rows: Sequence[int]) -> None:
    files = connection.execute(
        "select root_file_id, bool_and(file_name = ?) from chosen group by root_file_id order by min(landed_sequence)", [file]
    ).fetchall()
    if not files:
        raise _not_in_quarantine("Such rows are")
    if file is None:
        return
    if len(file) < _LEAST_OF_ID and not all(is_called_so for _, is_called_so in files):
        raise WrongUsageError(
            f"'{file}' is too short to name a file by its id.",
            f"Write at least {_LEAST_OF_ID} characters of the id, or the name.",
        )
    if len(files) > 1:
        starts = ", ".join(file_id[:_LEAST_OF_ID] for file_id, _ in files[:5])
        raise WrongUsageError(f"{len(files)} files with such rows match {file}.", f"Settle those of one, by its id: {starts}")
    if not file_rows:
        return
    found = {row for (row,) in connection.execute("select file_row from chosen").fetchall()}
    missing = sorted(set(file_rows) - found)
    if missing:
        raise _not_in_quarantine(f"Line {missing[0]} of {file} is")


def _files(connection: duckdb.DuckDBPyConnection) -> tuple[SettledFile, ...]:
    """The chosen rows that no earlier call settled, by file."""
    found = connection.execute("""
        with numbered as (
            select *, file_row - row_number() over (partition by root_file_id order by file_row) as lines_before
            from chosen
            where not was_settled
        ),

        ranges as (
            select
                root_file_id, file_name, landed_sequence, min(file_row) as first_line, max(file_row) as last_line,
                count(*) as lines
            from numbered
            group by root_file_id, file_name, landed_sequence, lines_before
        )

        select
            root_file_id, any_value(file_name), sum(lines)::bigint,
            string_agg(first_line || case when last_line > first_line then '-' || last_line else '' end, ', ' order by first_line)
        from ranges
        group by root_file_id
        order by min(landed_sequence), root_file_id""")
    return tuple(SettledFile(*row) for row in found.fetchall())


def _not_in_quarantine(what: str) -> BillhouseError:
    return BillhouseError(f"{what} not in quarantine.", "List the rows: billhouse quarantine; settled ones: --settled")


def _record(connection: duckdb.DuckDBPyConnection, home: Home, by: str, why: str) -> None:
    now = datetime.now(UTC)
    rows = f"""
        select
            root_file_id as file_id, file_row, kind, reason, {quoted(by)} as settled_by,
            {quoted(now.isoformat())}::timestamptz as settled_at, {quoted(why)} as settlement_reason
        from chosen
        where not was_settled
        order by landed_sequence, file_row"""
    with append_files(home, "quarantine --settle") as files:
        target = SETTLEMENTS.path(home) / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        copy_rows(connection, rows, files.file(target))
