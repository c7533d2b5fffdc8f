"""A customer over time: its plan, prices and terms. Billing rules, section 5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from .currencies import ALWAYS, DEFAULT_CURRENCY, Currencies
from .exact import month_of, next_month
from .price_book import Fee, PriceBook, Rate
from .records import Event, SubscriptionRecord

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The default opening of the books."""


@dataclass(frozen=True)
class Stretch:
    """A part of one month in which a customer's prices do not change."""

    start: datetime
    end: datetime
    plan_id: str
    rates: dict[str, Rate | None]
    """By meter."""
    fee: Fee | None
    is_trial: bool = False
    """Nothing is charged for it."""
    collects: bool = True
    """Whether its plan collects, or a contract is in force."""

    @property
    def duration(self) -> timedelta:
        return self.end - self.start


class Customer:
    """One customer's plan and prices at any instant from its first event, record or contract to the end of as_of's month."""

    def __init__(
        self,
        customer_id: str,
        events: Iterable[Event],
        records: Iterable[SubscriptionRecord],
        price_book: PriceBook,
        as_of: datetime,
        currencies: Currencies = ((ALWAYS, DEFAULT_CURRENCY),),
        books_open_at: datetime = LONG_AGO,
        reported_openings: Iterable[datetime] = (),
    ) -> None:
        """Events before the books open and after `as_of`, and records after `as_of`, must have been left out; records come in
        the order they landed.
        """
        self.customer_id = customer_id
        self._currencies = currencies
        self.price_book = price_book
        self.as_of = as_of
        self.books_open_at = books_open_at
        # A later landed record for the same instant supersedes the earlier one. What is effective before the books open counts
        # from their opening; of several, the latest effective one.
        plan_from: dict[datetime, tuple[str, bool]] = {}
        for record in sorted(records, key=lambda record: record.effective_at):
            plan_from[max(record.effective_at, books_open_at)] = (record.plan_id, record.is_trial)
        self._plan_from = sorted(plan_from.items())
        self.first_seen_at = min([event.event_at for event in events] + list(reported_openings) + list(plan_from), default=None)
        """Its first event, the start that an event reports, or its first record, whichever is earliest; None if it has only a
        contract.
        """
        beginnings = [] if self.first_seen_at is None else [self.first_seen_at]
        self.since = min(beginnings + contract_starts(price_book, customer_id, books_open_at, as_of))
        """The start of the customer; a contract starts it, too."""
        self.until = next_month(month_of(as_of))
        """Time on a plan counts to the end of the current month."""

    def plan_at(self, instant: datetime) -> str:
        """The plan in force: before the first record, the price book's default plan."""
        return self._plan_and_trial_at(instant)[0]

    def _plan_and_trial_at(self, instant: datetime) -> tuple[str, bool]:
        in_force = (self.price_book.default_plan, False)
        for effective_at, recorded in self._plan_from:
            if effective_at <= instant:
                in_force = recorded
        return in_force

    def currency_at(self, instant: datetime) -> str:
        """The currency in force: that of the month's lines."""
        return [currency for starts_at, currency in self._currencies if starts_at <= instant][-1]

    def maximum_session(self, started_at: datetime) -> timedelta | None:
        return self.price_book.maximum_session(self.customer_id, self.plan_at(started_at), started_at)

    def default_resource(self, column: str, instant: datetime) -> Decimal:
        return self.price_book.default_resource(self.customer_id, self.plan_at(instant), column, instant)

    def signup_credit(self) -> Decimal | None:
        """The amount of the plan (or contract) in force at its first event or record; a contract alone gives none."""
        if self.first_seen_at is None:
            return None
        plan_id, currency = self.plan_at(self.first_seen_at), self.currency_at(self.first_seen_at)
        return self.price_book.signup_credit(self.customer_id, plan_id, currency, self.first_seen_at)

    def stretches(self, until: datetime | None = None) -> list[Stretch]:
        """Its time, split where the month, the plan, a rate or a fee can change; to the end of as_of's month, or `until`."""
        until = until or self.until
        cuts = {effective_at for effective_at, _ in self._plan_from} | self.price_book.change_instants(self.customer_id)
        month = month_of(self.since)
        while month < until:
            cuts.add(month)
            month = next_month(month)
        starts = [self.since, *sorted(cut for cut in cuts if self.since < cut < until)]
        return [self._stretch(start, end) for start, end in zip(starts, [*starts[1:], until], strict=True)]

    def _stretch(self, start: datetime, end: datetime) -> Stretch:
        plan_id, is_trial = self._plan_and_trial_at(start)
        currency = self.currency_at(start)
        return Stretch(
            start,
            end,
            plan_id,
            {
                meter.meter_id: self.price_book.rate(self.customer_id, plan_id, meter.meter_id, currency, start)
                for meter in self.price_book.meters
            },
            self.price_book.fee(self.customer_id, plan_id, currency, start),
            is_trial,
            self.price_book.collects(self.customer_id, plan_id, start),
        )


def contract_starts(price_book: PriceBook, customer_id: str, books_open_at: datetime, as_of: datetime) -> list[datetime]:
    """The starts of a customer's contracts up to as_of, not before the books open."""
    starts = [
        max(contract.starts_at, books_open_at)
        for contract in price_book.contracts.get(customer_id, ())
        if contract.ends_at is None or contract.ends_at > books_open_at
    ]
    return [start for start in starts if start <= as_of]
