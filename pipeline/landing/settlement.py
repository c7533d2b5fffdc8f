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
from pipeline.core.sql import quoted
from pipeline.landing.quarantine_report import CHOSEN, create_view, is_utf_8
from pipeline.landing.raw_files import copy_rows
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.quarantine_settlements import SETTLEMENTS


@dataclass(frozen=True)
class SettlementResult:
    """The rows that one call settled."""

    settled_by: str
    rows: int
    by_reason: dict[str, int]
    """The rows by the reason for which they are in quarantine."""
    already_settled: int
    """Rows that were chosen, and that an earlier call had settled: nothing is written for them."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def settle_rows(
    home: Home, *, reason: str | None = None, file: str | None = None, file_rows: Sequence[int] = (), by: str, why: str
) -> SettlementResult:
    """Settle the rows with a reason, of a file (its name, or the start of its id), or of some of its lines. Safe to repeat.

    `by`: who decides; `why`: for what reason. Raises WrongUsageError where rows are not chosen clearly, or `by` or `why` is empty
    or no line of plain text; BillhouseError where a chosen row is not in quarantine.
    """
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
            "create temp table chosen as select root_file_id, file_row, kind, reason, landed_sequence, settled_at is not null"
            f" as was_settled from quarantined where {CHOSEN}",
            {"reason": reason, "file": file, "file_rows": list(file_rows)},
        )
        _check_choice(connection, file, file_rows)
        counts = "select reason, count(*) from chosen where was_settled = ? group by all order by all"
        by_reason = dict(connection.execute(counts, [False]).fetchall())
        already_settled = sum(number for _, number in connection.execute(counts, [True]).fetchall())
        if by_reason:
            _record(connection, home, by, why)
    return SettlementResult(by, sum(by_reason.values()), by_reason, already_settled)


def _check_choice(connection: duckdb.DuckDBPyConnection, file: str | None, file_rows: Sequence[int]) -> None:
    files = connection.execute("select distinct root_file_id from chosen order by 1").fetchall()
    if not files:
        raise _not_in_quarantine("Such rows are")
    if not file_rows:
        return
    if len(files) > 1:
        starts = ", ".join(file_id[:8] for (file_id,) in files[:5])
        raise WrongUsageError(f"{len(files)} files in quarantine are called {file}.", f"Name one by its id: {starts}")
    found = {row for (row,) in connection.execute("select file_row from chosen").fetchall()}
    missing = sorted(set(file_rows) - found)
    if missing:
        raise _not_in_quarantine(f"Line {missing[0]} of {file} is")


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
