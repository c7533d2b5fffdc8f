"""From what ran to quantities: resource x seconds, by day, plan and rate version. Billing rules, sections 4 and 5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction

from .customers import Stretch
from .exact import days_of, month_of, seconds
from .price_book import Meter, Rate
from .sessions import Carried, Run


@dataclass(frozen=True)
class GroupKey:
    """A rating group of one customer: service month x plan x rate version x meter."""

    month: datetime
    plan_id: str
    meter_id: str
    rate_id: str


@dataclass
class Group:
    """What was used in a rating group, and for how long its allowance was given."""

    rate: Rate
    first_day: date
    """The first day of its time outside of a trial: a flat fee that is due without any use is shown there."""
    allowance_seconds: Fraction = Fraction(0)
    quantity_by_day: dict[date, Fraction] = field(default_factory=dict)
    """All that was used."""
    billed_by_day: dict[date, Fraction] = field(default_factory=dict)
    """Of that, what was used outside of a trial."""
    is_trial: bool = True
    """Whether all of its time is a trial, for which nothing is owed."""

    @property
    def quantity(self) -> Fraction:
        return sum(self.quantity_by_day.values(), Fraction(0))

    @property
    def billed_quantity(self) -> Fraction:
        """What was used outside of a trial."""
        return sum(self.billed_by_day.values(), Fraction(0))


def measure(
    runs: Iterable[Run], carried: Iterable[Carried], stretches: list[Stretch], meters: tuple[Meter, ...]
) -> dict[GroupKey, Group]:
    """Every rating group of one customer, the ones in which nothing ran too."""
    groups: dict[GroupKey, Group] = {}
    for stretch in stretches:
        for meter_id, rate in stretch.rates.items():
            if rate is not None:
                group = groups.setdefault(_key(stretch, meter_id), Group(rate, stretch.start.date()))
                if not stretch.is_trial:
                    if group.is_trial:
                        group.is_trial, group.first_day = False, stretch.start.date()
                    group.allowance_seconds += seconds(stretch.duration)
    for run in runs:
        for start, end, resources in run.pieces():
            for stretch in stretches:
                for day, duration in days_of(max(start, stretch.start), min(end, stretch.end)):
                    for meter in meters:
                        if not meter.is_summed:
                            _add(groups, stretch, meter, day, resources[meter.event_column] * seconds(duration))
    for instant, quantities in carried:
        for stretch in stretches:
            if stretch.start <= instant < stretch.end:
                for meter in meters:
                    if meter.is_summed:
                        _add(groups, stretch, meter, instant.date(), quantities[meter.event_column])
    return groups


def _add(groups: dict[GroupKey, Group], stretch: Stretch, meter: Meter, day: date, quantity: Fraction) -> None:
    if quantity:
        group = groups[_key(stretch, meter.meter_id)]
        for by_day in (group.quantity_by_day,) if stretch.is_trial else (group.quantity_by_day, group.billed_by_day):
            by_day[day] = by_day.get(day, Fraction(0)) + quantity


def _key(stretch: Stretch, meter_id: str) -> GroupKey:
    rate = stretch.rates[meter_id]
    if rate is None:
        raise LookupError(f"The price book has no {meter_id} rate for plan {stretch.plan_id} at {stretch.start}.")
    return GroupKey(month_of(stretch.start), stretch.plan_id, meter_id, rate.rate_id)
