"""Whether an invoice is collected, which depends on its lines. Billing rules, section 7."""

from __future__ import annotations

from collections.abc import Iterable

from .customers import Customer
from .exact import month_of, next_month, period_name
from .records import Line, LineType


def is_collected(customer: Customer, lines: Iterable[Line]) -> bool:
    """Whether any line of an invoice belongs to a plan or contract that collects."""
    return any(collects(customer, line) for line in lines)


def collects(customer: Customer, line: Line) -> bool:
    """A line of a contract does; another one where, in its month, the customer was on its plan while that plan collected or a
    contract was in force. A negative line has nothing to collect, and what is carried forward has no plan.
    """
    if line.amount < 0 or line.line_type is LineType.CARRY_FORWARD:
        return False
    if customer.price_book.is_of_contract(line.rate_id):
        return True
    return any(
        stretch.collects
        for stretch in customer.stretches(next_month(customer.until))
        if stretch.plan_id == line.plan_id and period_name(month_of(stretch.start)) == line.service_period
    )
