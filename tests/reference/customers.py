"""A customer over time: which plan it is on, and what holds for it. Billing rules, section 5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from .currencies import ALWAYS, DEFAULT_CURRENCY, Currencies
from .exact import month_of, next_month
from .price_book import Fee, PriceBook, Rate
from .records import Event, SubscriptionRecord

FIRST_PLAN = "hobby"


@dataclass(frozen=True)
class Stretch:
    """A piece of one month in which nothing about a customer's prices changes."""

    start: datetime
    end: datetime
    plan_id: str
    rates: dict[str, Rate | None]
    """By meter."""
    fee: Fee | None

    @property
    def duration(self) -> timedelta:
        return self.end - self.start


class Customer:
    """One customer's plan and prices at any instant from its first event or record to the end of as_of's month."""

    def __init__(
        self,
        customer_id: str,
        events: Iterable[Event],
        records: Iterable[SubscriptionRecord],
        price_book: PriceBook,
        as_of: datetime,
        currencies: Currencies = ((ALWAYS, DEFAULT_CURRENCY),),
    ) -> None:
        """Events and records after `as_of` must have been left out; records come in the order they landed."""
        self.customer_id = customer_id
        self._currencies = currencies
        self.price_book = price_book
        self.as_of = as_of
        # A later landed record for the same instant supersedes the earlier one.
        plan_from = {record.effective_at: record.plan_id for record in records}
        self._plan_from = sorted(plan_from.items())
        self.since = min([event.event_at for event in events] + list(plan_from))
        """Its first event or its first record, whichever is earlier."""
        self.until = next_month(month_of(as_of))
        """Time on a plan counts to the end of the month that is still running."""

    def plan_at(self, instant: datetime) -> str:
        """The plan in force: before the first record, and with none, it is hobby."""
        plan_id = FIRST_PLAN
        for effective_at, recorded_plan_id in self._plan_from:
            if effective_at <= instant:
                plan_id = recorded_plan_id
        return plan_id

    def currency_at(self, instant: datetime) -> str:
        """The currency in force: that of the month's lines."""
        return [currency for starts_at, currency in self._currencies if starts_at <= instant][-1]

    def maximum_session(self, started_at: datetime) -> timedelta | None:
        return self.price_book.maximum_session(self.customer_id, self.plan_at(started_at), started_at)

    def default_resource(self, column: str, instant: datetime) -> Decimal:
        return self.price_book.default_resource(self.customer_id, self.plan_at(instant), column, instant)

    def signup_credit(self) -> Decimal | None:
        """The amount of the plan (or contract) in force at its very beginning."""
        currency = self.currency_at(self.since)
        return self.price_book.signup_credit(self.customer_id, self.plan_at(self.since), currency, self.since)

    def stretches(self, until: datetime | None = None) -> list[Stretch]:
        """All its time, cut where the month, the plan, a rate or a fee may change; to the end of as_of's month, or longer."""
        until = until or self.until
        cuts = {effective_at for effective_at, _ in self._plan_from} | self.price_book.change_instants(self.customer_id)
        month = month_of(self.since)
        while month < until:
            cuts.add(month)
            month = next_month(month)
        starts = [self.since, *sorted(cut for cut in cuts if self.since < cut < until)]
        return [self._stretch(start, end) for start, end in zip(starts, [*starts[1:], until], strict=True)]

    def _stretch(self, start: datetime, end: datetime) -> Stretch:
        plan_id, currency = self.plan_at(start), self.currency_at(start)
        return Stretch(
            start,
            end,
            plan_id,
            {
                meter.meter_id: self.price_book.rate(self.customer_id, plan_id, meter.meter_id, currency, start)
                for meter in self.price_book.meters
            },
            self.price_book.fee(self.customer_id, plan_id, currency, start),
        )
