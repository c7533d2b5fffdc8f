"""The items of the closing checklist that the report tables answer, as of the last build."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb

from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.core.sql import rows_as_dictionaries
from pipeline.ledger.adjustments import Adjustment, billed_by_month, drafted_adjustments, large_adjustments
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item
from pipeline.ledger.closing_usage import usage_item
from pipeline.ledger.reason_words import END_REASONS, IGNORED_REASONS, listed
from pipeline.pricebook.price_book import minor_unit_digits

_SHOWN = 10
_CLOSED_LINES = """(
    select lines.* from invoice_lines as lines inner join invoices using (invoice_id) where invoices.status <> 'draft'
) as closed"""
_IN_MONTH = "started_at < $end and ended_at > $start"


def report_items(
    reports: duckdb.DuckDBPyConnection, period: BillingPeriod, closed: Sequence[BillingPeriod], *, is_published: bool
) -> list[ChecklistItem]:
    """The items, of a connection whose default schema is `billing`. `is_published`: whether any invoice is in Stripe."""
    return [
        usage_item(reports, period),
        _drafts(reports, period),
        _adjustments(reports, period, closed),
        _open_sessions(reports, period),
        _inferred_ends(reports, period),
        _defaulted_resources(reports, period),
        _ignored_events(reports, period),
        _stripe(reports, is_published),
    ]


def _state(has_rows: object) -> CheckState:
    return CheckState.ATTENTION if has_rows else CheckState.OK


def _drafts(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    sums = _rows(
        reports,
        "select currency, count(*) as invoices, sum(total_amount) as total from invoices"
        " where status = 'draft' and period = $period group by currency order by currency",
        period,
    )
    if not sums:
        detail, next_step = (
            "None: nothing is due for the month.",
            f"Is its usage landed? List its invoices: billhouse invoices {period}",
        )
        return item("drafts", "Draft invoices", CheckState.ATTENTION, detail, next_step)
    totals = ", ".join(format_money(row["total"], row["currency"]) for row in sums)
    return item("drafts", "Draft invoices", CheckState.OK, f"{sum(row['invoices'] for row in sums):,}, {totals} in total.")


def _adjustments(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, closed: Sequence[BillingPeriod]) -> ChecklistItem:
    title = "Adjustments of closed months"
    found = drafted_adjustments(reports, period, closed[-1]) if closed else []
    if not found:
        return item("adjustments", title, CheckState.OK, "This close bills none.")
    limit = Settings.load().adjustment_limit_share
    large = large_adjustments(found, billed_by_month(reports, _CLOSED_LINES), limit)
    sums: dict[str, Decimal] = {}
    for one in found:
        sums[one.currency] = sums.get(one.currency, Decimal(0)) + one.adjustment_amount
    totals = ", ".join(format_money(amount, currency) for currency, amount in sorted(sums.items()))
    taken_back = _events_without_execution(reports, found, closed)
    detail = f"{len(found):,} (customers x months), {totals} in total. Largest: {found[0]}."
    if taken_back:
        detail += (
            f" Customers whose adjustment is negative have {taken_back:,} events in closed months without an execution:"
            " sessions that were billed for them may be taken back."
        )
    examples = [
        {
            "customer_id": one.customer_id,
            "service_period": one.service_period,
            "currency": one.currency,
            "billed_amount": str(one.billed_amount),
            "adjustment_amount": str(one.adjustment_amount),
        }
        for one in found[:_SHOWN]
    ]
    if large:
        detail += f" {len(large):,} are above {limit:.0%} of the billed amount."
        next_step = (
            f"Check the drafts: billhouse invoices {period}. If they are right: billhouse close {period} --accept-adjustments"
        )
        return item("adjustments", title, CheckState.BLOCKS, detail, next_step, *examples)
    return item("adjustments", title, CheckState.ATTENTION, detail, "Expected? docs/use/correct-a-mistake.md", *examples)


def _events_without_execution(
    reports: duckdb.DuckDBPyConnection, adjustments: Sequence[Adjustment], closed: Sequence[BillingPeriod]
) -> int:
    """The events of closed months that name no execution, of customers with a negative adjustment."""
    customers = sorted({one.customer_id for one in adjustments if one.adjustment_amount < 0})
    counted = reports.execute(
        "select count(*) from ignored_events where reason = 'no_execution'"
        " and customer_id in (select unnest($customers::varchar[])) and list_contains($months, strftime(event_at, '%Y-%m'))",
        {"customers": customers, "months": [str(month) for month in closed]},
    )
    return int(counted.fetchall()[0][0])


def _open_sessions(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    rows = _rows(
        reports,
        "select sandbox_id, customer_id, started_at, currency, list_amount from sessions"
        " where end_reason = 'open' and started_at < $end order by started_at, session_id",
        period,
    )
    detail = "None of the month is open."
    if rows:
        first, sums = rows[0], defaultdict[str, Decimal](Decimal)
        for row in rows:
            sums[row["currency"]] += row["list_amount"]
        amounts = ", ".join(_rounded_money(amount, currency) for currency, amount in sorted(sums.items()))
        detail = f"{len(rows):,} of the month are billed to its end, {amounts} at list prices since they started."
        detail += f" Longest: {first['sandbox_id']} of {first['customer_id']}."
    next_step = "Are they gone? Land a listing of running sandboxes, or their stops; later stops become adjustments"
    return item("open_sessions", "Open sessions", _state(rows), detail, next_step, *_texts(rows))


def _rounded_money(amount: Decimal, currency: str) -> str:
    """An amount that is not rounded yet, in the currency's minor unit."""
    digits = dict(minor_unit_digits()).get(currency, 2)
    return format_money(amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP), currency)


def _inferred_ends(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    rows = _rows(
        reports,
        "select end_reason, count(*) as sessions, currency, sum(list_amount) as list_amount from sessions"
        f" where end_reason not in ('open', 'stopped') and {_IN_MONTH} group by all order by sessions desc, end_reason, currency",
        period,
    )
    sessions: Counter[str] = Counter()
    for row in rows:  # one per reason and currency
        sessions[row["end_reason"]] += row["sessions"]
    reasons = listed(sessions.most_common(), END_REASONS)
    detail = f"{sessions.total():,} sessions have no stop: {reasons}." if rows else "Every session has its stop."
    next_step = "select * from billing.sessions where end_reason not in ('open', 'stopped')"
    return item("inferred_ends", "Inferred ends", _state(rows), detail, next_step, *_texts(rows))


def _defaulted_resources(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    rows = _rows(
        reports,
        f"select customer_id, count(*) as sessions from sessions where has_defaulted_resources and {_IN_MONTH}"
        " group by customer_id order by sessions desc, customer_id",
        period,
    )
    detail = "Every session names its resources."
    if rows:
        sessions = sum(row["sessions"] for row in rows)
        detail = f"{sessions:,} sessions of {len(rows):,} customers have resources of their plan's default."
    next_step = "Do the senders name vcpu_count, memory_gb and storage_gb? docs/reference/input-files.md"
    return item("defaulted_resources", "Default resources", _state(rows), detail, next_step, *_texts(rows))


def _ignored_events(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    rows = _rows(
        reports,
        "select reason, count(*) as events from ignored_events where event_at >= $start and event_at < $end"
        " group by reason order by events desc, reason",
        period,
    )
    reasons = listed(((row["reason"], row["events"]) for row in rows), IGNORED_REASONS)
    detail = f"{sum(row['events'] for row in rows):,} had no effect on a session: {reasons}." if rows else "None."
    return item("ignored_events", "Ignored events", _state(rows), detail, "select * from billing.ignored_events", *_texts(rows))


def _stripe(reports: duckdb.DuckDBPyConnection, is_published: bool) -> ChecklistItem:
    title = "Stripe"
    synced = reports.execute("select max(synced_at) from stripe_reconciliation").fetchall()[0][0]
    if synced is None and is_published:
        detail = "Invoices are published, and no sync is in the reports: not compared."
        return item("stripe", title, CheckState.ATTENTION, detail, "billhouse sync-stripe; billhouse reconcile")
    if synced is None:
        return item("stripe", title, CheckState.OK, "Nothing is published: nothing to compare.")
    rows = _rows(
        reports,
        "select invoice_id, stripe_invoice_id, difference from stripe_reconciliation where difference <> 'none' order by all",
        None,
    )
    detail = f"{len(rows):,} invoices differ, as of the sync at {synced:%Y-%m-%d %H:%M} UTC."
    return item("stripe", title, _state(rows), detail, "billhouse sync-stripe; billhouse reconcile", *_texts(rows))


def _rows(reports: duckdb.DuckDBPyConnection, sql: str, period: BillingPeriod | None) -> list[dict[str, Any]]:
    values = {"period": str(period), "start": period.start, "end": period.end} if period else {}
    found = reports.execute(sql, {name: value for name, value in values.items() if f"${name}" in sql})
    return rows_as_dictionaries(found)


def _texts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first rows, whose instants and amounts are text."""
    return [
        {name: value if isinstance(value, int) or value is None else str(value) for name, value in row.items()}
        for row in rows[:_SHOWN]
    ]
