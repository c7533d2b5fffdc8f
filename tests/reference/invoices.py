"""An invoice is the difference between what is due and what has been billed. Billing rules, sections 1, 6 and 7."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from .credits import apply_credits
from .exact import next_month
from .price_book import UnsupportedPriceError
from .records import CreditApplication, CreditGrant, Invoice, Line, LineType

LineKey = tuple[str, str, LineType, str, str, str]


def line_key(line: Line) -> LineKey:
    """What makes a due line and a billed one the same line."""
    return (line.customer_id, line.service_period, line.line_type, line.plan_id, line.meter_id or "", line.rate_id)


def lines_to_issue(due: Iterable[Line], billed: Iterable[Line], first_open_period: str) -> list[Line]:
    """Due minus billed, per line key, wherever quantity or amount differ.

    What differs in a month that is closed already is an adjustment on the first open month's invoice; anything else is
    on its own month's.
    """
    due_by_key = {line_key(line): line for line in due}
    billed_by_key: dict[LineKey, Line] = {}
    for line in billed:
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
            issued.append(replace(difference, period=max(difference.service_period, first_open_period)))
    return issued


def _plus(line: Line, other: Line, sign: int) -> Line:
    return replace(
        line,
        quantity=line.quantity + sign * other.quantity,
        billable_quantity=line.billable_quantity + sign * other.billable_quantity,
        amount=line.amount + sign * other.amount,
    )


def draft_invoices(
    lines: Iterable[Line], grants: Sequence[CreditGrant], applied: Sequence[CreditApplication] = ()
) -> tuple[list[Invoice], list[CreditApplication]]:
    """One customer's invoices, month after month as if each had been closed before the next; no lines, no invoice.

    `applied` is what closed invoices took from the grants already. Returns the new applications too.
    """
    lines_of_period: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        lines_of_period[line.period].append(line)
    invoices: list[Invoice] = []
    applications: list[CreditApplication] = []
    for period, of_period in sorted(lines_of_period.items()):
        subtotal = sum((line.amount for line in of_period), Decimal(0))
        if subtotal < 0:
            raise UnsupportedPriceError(f"The subtotal of {period} is negative: giving credit back is not modelled yet.")
        year, month = period.split("-")
        period_end = next_month(datetime(int(year), int(month), 1, tzinfo=UTC))
        now_applied = apply_credits(grants, [*applied, *applications], of_period, period, period_end)
        applications += now_applied
        credit = sum((application.amount for application in now_applied), Decimal(0))
        invoices.append(Invoice(of_period[0].customer_id, period, subtotal, credit, subtotal - credit))
    return invoices, applications
