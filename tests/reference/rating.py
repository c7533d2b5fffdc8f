"""Calculates due lines from quantities and time; each is rounded once. Billing rules, sections 2 and 5."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction

from .charges import charge
from .customers import Customer, Stretch
from .exact import MICROSECOND, from_minor_units, minor_units, month_of, next_month, period_name, seconds, share_out, to_decimal
from .price_book import Fee
from .records import DailyUsage, Line, LineType
from .usage import Group, GroupKey


def billable(group: Group) -> Fraction:
    """The quantity above the allowance, which is a level that is free while it is in force. Usage in a trial is free."""
    return max(Fraction(0), group.billed_quantity - group.rate.allowance_level * group.allowance_seconds)


def usage_lines(customer: Customer, groups: dict[GroupKey, Group]) -> tuple[list[Line], list[DailyUsage]]:
    """One line for each rating group with usage or an amount, and the same by day."""
    lines: list[Line] = []
    daily: list[DailyUsage] = []
    for key, group in groups.items():
        currency = customer.currency_at(key.month)
        digits = customer.price_book.minor_unit_digits[currency]
        billable_quantity = billable(group)
        units = 0 if group.is_trial else minor_units(charge(group.rate, billable_quantity), digits)
        if not group.quantity and not units:
            continue
        period = period_name(key.month)
        lines.append(
            Line(
                customer_id=customer.customer_id,
                period=period,
                service_period=period,
                line_type=LineType.USAGE,
                plan_id=key.plan_id,
                meter_id=key.meter_id,
                rate_id=key.rate_id,
                quantity=to_decimal(group.quantity),
                billable_quantity=to_decimal(billable_quantity),
                amount=from_minor_units(units, digits),
                currency=currency,
            )
        )
        shares = share_out(units, group.billed_by_day or {group.first_day: Fraction(1)})
        days = {day: Fraction(0) for day, share in shares.items() if share} | group.quantity_by_day
        daily += [
            DailyUsage(
                customer_id=customer.customer_id,
                usage_date=day,
                period=period,
                plan_id=key.plan_id,
                meter_id=key.meter_id,
                rate_id=key.rate_id,
                quantity=to_decimal(quantity),
                amount=from_minor_units(shares.get(day, 0), digits),
            )
            for day, quantity in sorted(days.items())
        ]
    return lines, daily


def fee_lines(customer: Customer, stretches: list[Stretch]) -> list[Line]:
    """One line for each service month, plan and fee version: fee x time outside a trial / length of the month.

    The times of several stays are added before the one rounding. A fee of zero makes no line. A fee in advance is due at
    the close of the month before, for customers on the plan when its own month begins; that of the first billing month in
    that month. `stretches` reach to the end of the month after as_of's.
    """
    time_on: dict[tuple[datetime, str, Fee], timedelta] = defaultdict(timedelta)
    billed_time: dict[tuple[datetime, str, Fee], timedelta] = defaultdict(timedelta)
    from_the_first: set[tuple[datetime, str, Fee]] = set()
    for stretch in stretches:
        if stretch.fee is not None and stretch.fee.monthly_amount:
            key = (month_of(stretch.start), stretch.plan_id, stretch.fee)
            time_on[key] += stretch.duration
            billed_time[key] += timedelta(0) if stretch.is_trial else stretch.duration
            if stretch.start == key[0]:
                from_the_first.add(key)
    lines: list[Line] = []
    for (month, plan_id, fee), duration in time_on.items():
        is_due_before = fee.is_in_advance and (month, plan_id, fee) in from_the_first and month > customer.books_open_at
        due_in = month_of(month - MICROSECOND) if is_due_before else month
        if due_in >= customer.until:
            continue
        currency = customer.currency_at(month)
        digits = customer.price_book.minor_unit_digits[currency]
        billed = seconds(billed_time[month, plan_id, fee])
        share_of_month = billed / seconds(next_month(month) - month)
        lines.append(
            Line(
                customer_id=customer.customer_id,
                period=period_name(due_in),
                service_period=period_name(month),
                line_type=LineType.FEE,
                plan_id=plan_id,
                meter_id=None,
                rate_id=fee.fee_id,
                quantity=to_decimal(seconds(duration)),
                billable_quantity=to_decimal(billed),
                amount=from_minor_units(minor_units(fee.monthly_amount * share_of_month, digits), digits),
                currency=currency,
            )
        )
    return lines


def fee_days(stretches: list[Stretch]) -> dict[tuple[str, str, str], date]:
    """The first day of each fee, by service month, plan and fee version; a trial has no fee."""
    days: dict[tuple[str, str, str], date] = {}
    for stretch in sorted(stretches, key=lambda stretch: stretch.is_trial):
        if stretch.fee is not None:
            days.setdefault((period_name(month_of(stretch.start)), stretch.plan_id, stretch.fee.fee_id), stretch.start.date())
    return days
