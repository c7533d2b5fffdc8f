"""The parts of an invoice that credits can pay, by day, after discounts and corrections. Billing rules, section 6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from .exact import from_minor_units, minor_units, next_month
from .records import DailyUsage, Line, LineType

EARLIER = date.min
"""The day of corrections to closed months and of amounts carried forward: before any grant's expiry."""


@dataclass(frozen=True)
class Part:
    """A part of an invoice's total: the usage of one day, or an amount due from that day."""

    day: date
    is_usage: bool
    amount: Decimal
    """Above zero; an invoice's parts sum to its subtotal."""


@dataclass(frozen=True)
class Spreading:
    """How one customer's lines are distributed over days."""

    usage_days: Sequence[DailyUsage]
    fee_days: Mapping[tuple[str, str, str], date]
    """By service month, plan and fee version: the first day that it is due for."""
    discount_rates: Mapping[str, Fraction]
    """By contract."""
    digits: int
    """Of the currency's minor unit."""


def payable_parts(lines: Sequence[Line], period: str, spreading: Spreading) -> list[Part]:
    """The parts of one invoice that is not negative."""
    usage: dict[date, Decimal] = defaultdict(Decimal)
    other: dict[date, Decimal] = defaultdict(Decimal)
    own_usage: dict[date, Decimal] = defaultdict(Decimal)
    own_discount = Decimal(0)
    for line in lines:
        is_own = line.service_period == period
        match line.line_type:
            case LineType.USAGE if is_own and not line.is_adjustment:
                for used in spreading.usage_days:
                    if _is_of(used, line):
                        own_usage[used.usage_date] += used.amount
            case LineType.USAGE:
                usage[EARLIER] += line.amount
            case LineType.DISCOUNT:
                for_usage = _usage_part(line, lines, spreading)
                if is_own:
                    own_discount += for_usage
                else:
                    usage[EARLIER] += for_usage
                other[_last_day(period) if is_own else EARLIER] += line.amount - for_usage
            case LineType.COMMITMENT if is_own:
                other[_last_day(period)] += line.amount
            case LineType.FEE if line.service_period >= period:
                first_of_month = date.fromisoformat(f"{line.service_period}-01")
                other[spreading.fee_days.get((line.service_period, line.plan_id, line.rate_id), first_of_month)] += line.amount
            case _:
                other[EARLIER] += line.amount
    for day, amount in _discounted(own_usage, own_discount, spreading.digits).items():
        usage[day] += amount
    usage_parts, usage_below_zero = _above_zero(usage)
    other_parts, other_below_zero = _above_zero(other)
    _subtract(usage_parts, other_below_zero)
    _subtract(other_parts, usage_below_zero)
    parts = [Part(day, True, amount) for day, amount in usage_parts] + [Part(day, False, amount) for day, amount in other_parts]
    return [part for part in parts if part.amount > 0]


def _is_of(used: DailyUsage, line: Line) -> bool:
    return (used.period, used.plan_id, used.meter_id, used.rate_id) == (
        line.service_period,
        line.plan_id,
        line.meter_id,
        line.rate_id,
    )


def _usage_part(discount: Line, lines: Sequence[Line], spreading: Spreading) -> Decimal:
    """The part of a discount line that is for usage: rate times the month's usage lines on this invoice, at most the line."""
    base = sum(
        (line.amount for line in lines if line.line_type is LineType.USAGE and line.service_period == discount.service_period),
        Decimal(0),
    )
    rate = spreading.discount_rates.get(discount.rate_id, Fraction(0))
    part = from_minor_units(minor_units(-Fraction(base) * rate, spreading.digits), spreading.digits)
    return max(min(discount.amount, Decimal(0)), min(part, max(discount.amount, Decimal(0))))


def _discounted(days: Mapping[date, Decimal], discount: Decimal, digits: int) -> dict[date, Decimal]:
    """Usage by day less its proportional discount; cumulative amounts are truncated to the minor unit."""
    total = sum(days.values(), Decimal(0))
    if not total:
        return {EARLIER: discount}
    net: dict[date, Decimal] = {}
    so_far = before = Decimal(0)
    for day in sorted(days):
        so_far += days[day]
        exact = Fraction(so_far) * Fraction(total + discount) / Fraction(total)
        up_to_here = from_minor_units(int(exact * 10**digits), digits)
        net[day] = up_to_here - before
        before = up_to_here
    return net


def _above_zero(days: Mapping[date, Decimal]) -> tuple[list[tuple[date, Decimal]], Decimal]:
    """Subtract negative amounts from the latest amounts before them, then from later ones. Returns parts and remainder."""
    parts: list[tuple[date, Decimal]] = []
    below_zero = Decimal(0)
    for day in sorted(days):
        amount = days[day]
        if amount < 0:
            below_zero += _subtract(parts, amount)
        else:
            taken = min(amount, -below_zero)
            below_zero += taken
            parts.append((day, amount - taken))
    return parts, below_zero


def _subtract(parts: list[tuple[date, Decimal]], below_zero: Decimal) -> Decimal:
    """Subtract a negative amount from the latest parts. Returns the remainder."""
    for number in reversed(range(len(parts))):
        day, amount = parts[number]
        taken = min(amount, -below_zero)
        parts[number] = (day, amount - taken)
        below_zero += taken
    return below_zero


def _last_day(period: str) -> date:
    year, month = map(int, period.split("-"))
    return (next_month(datetime(year, month, 1)) - timedelta(days=1)).date()
