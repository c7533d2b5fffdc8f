"""From quantities and time to due lines, each rounded once. Billing rules, sections 2 and 5."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from fractions import Fraction

from .customers import Customer, Stretch
from .exact import from_minor_units, minor_units, month_of, next_month, period_name, seconds, share_out, to_decimal
from .price_book import Fee, Rate
from .records import DailyUsage, Line, LineType
from .usage import Group, GroupKey


def charge(rate: Rate, billable_quantity: Fraction) -> Fraction:
    """What a billable quantity costs, unrounded. The one charge model so far is `per_unit`."""
    return billable_quantity * rate.unit_amount


def billable(group: Group) -> Fraction:
    """What is left of a quantity after the allowance: a level, free for all the time that it was given."""
    return max(Fraction(0), group.quantity - group.rate.allowance_level * group.allowance_seconds)


def usage_lines(customer: Customer, groups: dict[GroupKey, Group]) -> tuple[list[Line], list[DailyUsage]]:
    """One line a rating group in which anything was used, and the same by day."""
    digits = customer.price_book.minor_unit_digits[customer.currency]
    lines: list[Line] = []
    daily: list[DailyUsage] = []
    for key, group in groups.items():
        billable_quantity = billable(group)
        units = minor_units(charge(group.rate, billable_quantity), digits)
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
            )
        )
        shares = share_out(units, group.quantity_by_day)
        daily += [
            DailyUsage(
                customer_id=customer.customer_id,
                usage_date=day,
                period=period,
                plan_id=key.plan_id,
                meter_id=key.meter_id,
                rate_id=key.rate_id,
                quantity=to_decimal(quantity),
                amount=from_minor_units(shares[day], digits),
            )
            for day, quantity in sorted(group.quantity_by_day.items())
        ]
    return lines, daily


def fee_lines(customer: Customer, stretches: list[Stretch]) -> list[Line]:
    """One line a service month, plan and fee version: the fee x time on it / the month's length, in arrears.

    The times of several stays are added before the one rounding. A fee of zero makes no line.
    """
    digits = customer.price_book.minor_unit_digits[customer.currency]
    time_on: dict[tuple[datetime, str, Fee], timedelta] = defaultdict(timedelta)
    for stretch in stretches:
        if stretch.fee is not None and stretch.fee.monthly_amount:
            time_on[month_of(stretch.start), stretch.plan_id, stretch.fee] += stretch.duration
    lines: list[Line] = []
    for (month, plan_id, fee), duration in time_on.items():
        share_of_month = seconds(duration) / seconds(next_month(month) - month)
        lines.append(
            Line(
                customer_id=customer.customer_id,
                period=period_name(month),
                service_period=period_name(month),
                line_type=LineType.FEE,
                plan_id=plan_id,
                meter_id=None,
                rate_id=fee.fee_id,
                quantity=to_decimal(seconds(duration)),
                billable_quantity=to_decimal(seconds(duration)),
                amount=from_minor_units(minor_units(fee.monthly_amount * share_of_month, digits), digits),
            )
        )
    return lines
