"""Pending work of the month end. It is read from the home, so that it does not depend on Dagster's run history."""

from __future__ import annotations

from datetime import datetime

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.ledger.closed_invoices import closed_invoice_rows
from pipeline.store.approvals import APPROVALS, approved_invoices
from pipeline.store.closes import closed_periods
from pipeline.store.publications import published_invoices
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.reports import open_reports

MONTH_CAN_BE_CLOSED = "month_can_be_closed"
"""The check of `orchestration.closing_check`. The start page reads the checklist itself, as it is now."""
ENDS_BY_ITSELF = frozenset({"grace_period", "last_build"})
"""Items of the closing checklist that stop a close only until an instant, or until a build after the month's end."""


def month_to_close(home: Home, now: datetime) -> BillingPeriod | None:
    """The earliest month with drafts, if its grace period is over and the reports contain all of it. Months close in order."""
    month, record = open_month_that_is_over(home, now), last_build(home)
    if month is None or record is None:
        return None
    return month if record.as_of >= month.end and now >= month.end + Settings.load().close_grace else None


def open_month_that_is_over(home: Home, now: datetime) -> BillingPeriod | None:
    """The earliest month with drafts, if it is over: the next to be closed. Reads the reports alone."""
    if not home.analysts_file.exists():
        return None
    with open_reports(home) as reports:
        ((period,),) = reports.execute("select min(period) from invoices where status = 'draft'").fetchall()
    if period is None:
        return None
    month = BillingPeriod.parse(period)
    return month if now >= month.end and month not in closed_periods(home) else None


def invoices_to_publish(home: Home) -> dict[BillingPeriod, list[str]]:
    """By month: ids of the invoices to publish, including those that are approved automatically."""
    published, approved = published_invoices(home, is_live=None), approved_invoices(home)
    decided = {row["invoice_id"] for row in APPROVALS.read(home).to_pylist()}
    automatic = Settings.load().auto_approve_under
    found: dict[BillingPeriod, list[str]] = {}
    for month in closed_periods(home):
        for row in closed_invoice_rows(home, month):
            id, limit = row["invoice_id"], automatic.get(row["currency"])
            is_automatic = limit is not None and row["total_amount"] < limit and id not in decided
            if row["collection"] != "none" and id not in published and (id in approved or is_automatic):
                found.setdefault(month, []).append(id)
    return found


def month_to_export(home: Home) -> BillingPeriod | None:
    """The latest closed month; its receivables change with each payment."""
    closed = closed_periods(home)
    return closed[-1] if closed else None
