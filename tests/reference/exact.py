"""Exact numbers and instants. Billing rules, section 2.

Inside the engine every quantity and amount is a `Fraction`, which cannot lose a digit; what it hands out is `Decimal`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact
from fractions import Fraction

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)

_EXACT = Context(prec=200, traps=[Inexact])


def seconds(duration: timedelta) -> Fraction:
    """Seconds, to the microsecond."""
    return Fraction(duration // MICROSECOND, 1_000_000)


def to_decimal(value: Fraction) -> Decimal:
    """The same number as a Decimal. Raises decimal.Inexact where it has no finite decimal form."""
    return _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))


def minor_units(amount: Fraction, digits: int) -> int:
    """An amount in whole minor units (USD: cents), rounded half away from zero."""
    doubled_plus_one = abs(amount) * 10**digits * 2 + 1
    rounded = int(doubled_plus_one // 2)
    return rounded if amount >= 0 else -rounded


def from_minor_units(units: int, digits: int) -> Decimal:
    """Cents back to dollars (digits = 2)."""
    return to_decimal(Fraction(units, 10**digits)).quantize(Decimal(1).scaleb(-digits), context=_EXACT)


def share_out(units: int, weights: dict[date, Fraction]) -> dict[date, int]:
    """Split whole units over days by weight so that they sum back: largest remainder, ties to the earliest day.

    Billing rules, section 2: a breakdown of a line sums back to the line exactly.
    """
    whole = sum(weights.values(), Fraction(0))
    exact = {day: units * weight / whole for day, weight in weights.items()}
    shares = {day: share.numerator // share.denominator for day, share in exact.items()}
    leftover = units - sum(shares.values())
    by_remainder = sorted(exact, key=lambda day: (-(exact[day] - shares[day]), day))
    for day in by_remainder[:leftover]:
        shares[day] += 1
    return shares


def month_of(instant: datetime) -> datetime:
    """The first instant of the month, in UTC, that an instant falls in."""
    return datetime(instant.year, instant.month, 1, tzinfo=UTC)


def next_month(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def period_name(month: datetime) -> str:
    """'2024-02'."""
    return f"{month.year:04d}-{month.month:02d}"


def days_of(start: datetime, end: datetime) -> Iterator[tuple[date, timedelta]]:
    """The UTC days that [start, end) touches, each with how much of it."""
    while start < end:
        midnight = datetime(start.year, start.month, start.day, tzinfo=UTC) + DAY
        until = min(end, midnight)
        yield start.date(), until - start
        start = until
