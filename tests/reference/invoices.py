"""An invoice is the difference between what is due and what has been billed. Billing rules, sections 1, 6 and 7."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from .credits import apply_credits, restore_credits
from .exact import next_month, period_name
from .payable import Spreading, payable_parts
from .records import CreditApplication, CreditGrant, Invoice, Ledger, Line, LineType

LineKey = tuple[str, str, LineType, str, str, str, str]


def line_key(line: Line) -> LineKey:
    """What makes a due line and a billed one the same line."""
    return (
        line.customer_id,
        line.service_period,
        line.line_type,
        line.plan_id,
        line.meter_id or "",
        line.rate_id,
        line.currency,
    )


def lines_to_issue(due: Iterable[Line], billed: Iterable[Line], closed_periods: Sequence[str]) -> list[Line]:
    """Due minus billed, per line key, wherever quantity or amount differ.

    A line is on the invoice of the month in which it is due; if that month is closed, on the first open one's. It is an
    adjustment where something was billed for it before, or its service month is closed.
    """
    closed_through = max(closed_periods, default="")
    first_open_period = _next_period(closed_through) if closed_through else ""
    due_by_key = {line_key(line): line for line in due}
    billed_by_key: dict[LineKey, Line] = {}
    for line in billed:
        if line.line_type is LineType.CARRY_FORWARD:
            continue
        earlier = billed_by_key.get(line_key(line))
        billed_by_key[line_key(line)] = line if earlier is None else _plus(earlier, line, +1)
    issued: list[Line] = []
    for key in sorted(due_by_key.keys() | billed_by_key.keys()):
        is_due, was_billed = due_by_key.get(key), billed_by_key.get(key)
        like = is_due or was_billed
        assert like is not None
        nothing = replace(like, quantity=Decimal(0), billable_quantity=Decimal(0), amount=Decimal(0))
        difference = _plus(is_due or nothing, was_billed or nothing, -1)
        if difference.quantity or difference.amount:
            due_period = is_due.period if is_due else difference.service_period
            issued.append(
                replace(
                    difference,
                    period=max(due_period, first_open_period),
                    is_adjustment=was_billed is not None or difference.service_period <= closed_through,
                )
            )
    return issued


def _plus(line: Line, other: Line, sign: int) -> Line:
    return replace(
        line,
        quantity=line.quantity + sign * other.quantity,
        billable_quantity=line.billable_quantity + sign * other.billable_quantity,
        amount=line.amount + sign * other.amount,
    )


def _period_start(period: str) -> datetime:
    year, month = period.split("-")
    return datetime(int(year), int(month), 1, tzinfo=UTC)


def _period_end(period: str) -> datetime:
    return next_month(_period_start(period))


def _next_period(period: str) -> str:
    return period_name(_period_end(period))


def draft_invoices(
    lines: Iterable[Line], grants: Sequence[CreditGrant], ledger: Ledger, spreading: Spreading
) -> tuple[list[Line], list[Invoice], list[CreditApplication]]:
    """One customer's invoices in one currency, month after month as if each had been closed before the next; no lines, no
    invoice. `ledger` holds this customer's closed ones in that currency, `grants` are those that are not voided. Returns the
    lines with what was carried forward.
    """
    lines_of_period: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        lines_of_period[line.period].append(line)
    carried = sum((invoice.carried_forward for invoice in ledger.invoices), Decimal(0))
    carried -= sum((line.amount for line in ledger.lines if line.line_type is LineType.CARRY_FORWARD), Decimal(0))
    all_lines: list[Line] = []
    invoices: list[Invoice] = []
    applications: list[CreditApplication] = []
    for period, of_period in sorted(lines_of_period.items()):
        customer_id, currency = of_period[0].customer_id, of_period[0].currency
        if carried:
            nothing = Decimal(0)
            forward = (customer_id, period, period, LineType.CARRY_FORWARD, "", None, "", nothing, nothing, carried, currency)
            of_period.append(Line(*forward))
        subtotal = sum((line.amount for line in of_period), Decimal(0))
        before = [*ledger.credit_applications, *applications]
        if subtotal < 0:
            now = restore_credits(grants, before, subtotal, period, _period_end(period))
        else:
            parts = payable_parts(of_period, period, spreading)
            now = apply_credits(grants, before, parts, period, _period_start(period), _period_end(period))
        credit = sum((application.amount for application in now), Decimal(0))
        carried = min(subtotal - credit, Decimal(0))
        invoices.append(Invoice(customer_id, period, subtotal, credit, subtotal - credit - carried, currency, carried))
        applications += now
        all_lines += of_period
    return all_lines, invoices, applications
