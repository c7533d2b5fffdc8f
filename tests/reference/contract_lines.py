"""Lines of a contract for a whole month: discount and minimum commitment. Billing rules, section 5."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from .customers import Customer
from .exact import MICROSECOND, from_minor_units, minor_units, month_of, next_month, period_name, seconds
from .price_book import Contract
from .records import Line, LineType


def contract_lines(customer: Customer, due: Sequence[Line]) -> list[Line]:
    """Discount and commitment lines, from the month's rounded usage and fee lines."""
    contracts = customer.price_book.contracts.get(customer.customer_id, ())
    lines: list[Line] = []
    month = month_of(min((contract.starts_at for contract in contracts), default=customer.until))
    while month < customer.until:
        currency = customer.currency_at(month)
        lines += _of_month(customer, [contract for contract in contracts if contract.currency == currency], month, due)
        month = next_month(month)
    return lines


def _of_month(customer: Customer, contracts: Sequence[Contract], month: datetime, due: Sequence[Line]) -> list[Line]:
    month_end = next_month(month)
    in_force: list[tuple[datetime, datetime, Contract]] = []
    for contract in contracts:
        start, end = max(contract.starts_at, month, customer.books_open_at), min(contract.ends_at or month_end, month_end)
        if start < end:
            in_force.append((start, end, contract))
    if not in_force:
        return []
    _, last_end, last = max(in_force, key=lambda piece: piece[0])
    currency = customer.currency_at(month)
    digits = customer.price_book.minor_unit_digits[currency]
    period = period_name(month)
    base = sum((line.amount for line in due if line.service_period == period), Decimal(0))
    discount = minor_units(-Fraction(base) * last.discount_rate, digits)
    length = seconds(month_end - month)
    commitment = sum(
        (contract.monthly_commitment * seconds(end - start) / length for start, end, contract in in_force), Fraction(0)
    )
    shortfall = minor_units(commitment, digits) - minor_units(Fraction(base), digits) - discount

    def line(line_type: LineType, units: int) -> Line:
        return Line(
            customer_id=customer.customer_id,
            period=period,
            service_period=period,
            line_type=line_type,
            plan_id=customer.plan_at(last_end - MICROSECOND),
            meter_id=None,
            rate_id=last.contract_id,
            quantity=Decimal(0),
            billable_quantity=Decimal(0),
            amount=from_minor_units(units, digits),
            currency=currency,
        )

    lines = [line(LineType.DISCOUNT, discount)] if discount else []
    return lines + ([line(LineType.COMMITMENT, shortfall)] if shortfall > 0 else [])
