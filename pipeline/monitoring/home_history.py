"""What a home has already, as reports for a Dagster that begins to serve it: landed rows, the last build, closed months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.core.home import Home
from pipeline.landing.quarantine_report import reasons_in_quarantine
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.close import CloseResult, totals_by_currency
from pipeline.monitoring.command_reports import BuildReport, days_landed, report_command
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.raw import landed_file_rows
from pipeline.warehouse.build_record import last_build

LANDED = "history of landing"
BUILT = "history of building"
CLOSED = "history of closing"


@dataclass(frozen=True)
class KindHistory:
    """What has landed of a kind until now."""

    kind: Kind
    rows: dict[str, int]
    """Files and rows by outcome; a row in quarantine that was checked again counts once, with its latest outcome."""


@dataclass(frozen=True)
class LandingHistory:
    """What has landed until now."""

    kinds: list[KindHistory]
    by_reason: dict[str, int]
    """Rows that wait in quarantine now, by reason."""


def report_history(home: Home) -> None:
    """Write a report for what landed, for the last build if it succeeded, and for each closed month, each with its own time."""
    rows = landed_file_rows(home).to_pylist()
    if rows:
        by_reason: dict[str, int] = {}
        for reason in reasons_in_quarantine(home):
            by_reason[reason["reason"]] = by_reason.get(reason["reason"], 0) + reason["rows"]
        kinds = [
            KindHistory(Kind(kind), _counts([row for row in rows if row["kind"] == kind]))
            for kind in dict.fromkeys(row["kind"] for row in rows)
        ]
        report_command(home, LANDED, LandingHistory(kinds, by_reason), max(row["landed_at"] for row in rows))
    record = last_build(home)
    if record is not None and record.inputs:
        report_command(home, BUILT, BuildReport(record.as_of, [], sorted(days_landed(home, since=0.0))), record.as_of)
    for month in closed_periods(home):
        invoices = read_close(home, month, "invoices")
        closed = CloseResult(month, already_closed=True, invoices=invoices.num_rows, totals=totals_by_currency(invoices))
        (closed_at,) = read_close(home, month, "close")["closed_at"].to_pylist()
        report_command(home, CLOSED, closed, closed_at or datetime.now(UTC))


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """As `billhouse status` counts: a retry replaces the rows of the landing that it checked again."""
    retries = [row for row in rows if row["retried_file_id"] is not None]
    replaced = sum(row["received_rows"] if row["superseded_rows"] is None else row["superseded_rows"] for row in retries)
    sums = {name: sum(row[name] or 0 for row in rows) for name in _ROWS}
    sums["received_rows"] -= replaced
    sums["quarantined_rows"] -= replaced
    return {"files": len(rows) - len(retries), **sums}


_ROWS = ("received_rows", "accepted_rows", "duplicate_rows", "quarantined_rows", "omitted_rows")
