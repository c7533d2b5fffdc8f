"""Everything due as of an instant, from events, subscription records and the price book alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from .collection import is_collected
from .contract_lines import contract_lines
from .credits import signup_grant
from .currencies import currencies_of
from .customers import LONG_AGO, Customer, contract_starts
from .exact import next_month
from .executions import Assigned, assign, openings_of_others
from .invoices import draft_invoices, lines_to_issue
from .listings import Listings
from .payable import Spreading
from .price_book import PriceBook
from .rating import fee_days, fee_lines, usage_lines
from .records import (
    CreditGrant,
    CustomerRecord,
    Event,
    EventType,
    IgnoredBecause,
    IgnoredEvent,
    Ledger,
    ListingPart,
    Result,
    SubscriptionRecord,
    Void,
)
from .sessions import Carried, Listed, Run, carried_by, follow, reported_openings, session_of
from .usage import measure


def compute(
    events: Iterable[Event],
    subscriptions: Iterable[SubscriptionRecord],
    price_book: PriceBook,
    as_of: datetime,
    heartbeat_timeout_seconds: int | None = None,
    customers: Iterable[CustomerRecord] = (),
    grants: Sequence[CreditGrant] = (),
    ledger: Ledger | None = None,
    voids: Iterable[Void] = (),
    books_open_at: datetime = LONG_AGO,
    listing_parts: Iterable[ListingPart] = (),
) -> Result:
    """Sessions, lines, invoices and daily usage of every customer.

    `events` are accepted ones (see `accept`) in any order; `subscriptions` and `customers` are accepted ones in the order they
    landed. What is dated at `as_of` exactly is seen, what is dated after it is not. `ledger` is what was closed before.
    Nothing is due before `books_open_at`, the first instant of a month.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a zone: what the rules call an instant is UTC.")
    timeout = None if heartbeat_timeout_seconds is None else timedelta(seconds=heartbeat_timeout_seconds)
    result = Result()
    listings = Listings(listing_parts, as_of)
    in_effect = [void for void in voids if void.voided_at <= as_of]
    voided = {void.event_id for void in in_effect if void.event_id is not None}
    events_of: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if not books_open_at <= event.event_at <= as_of:
            continue
        if event.event_id in voided:
            result.ignored.append(IgnoredEvent(event, IgnoredBecause.VOIDED))
        else:
            events_of[event.user_id].append(event)
    records_of: dict[str, list[SubscriptionRecord]] = defaultdict(list)
    for record in subscriptions:
        if max(record.effective_at, books_open_at) <= as_of:
            records_of[record.customer_id].append(record)

    customer_records_of: dict[str, list[CustomerRecord]] = defaultdict(list)
    for customer_record in customers:
        customer_records_of[customer_record.customer_id].append(customer_record)
    voided_grants = {void.grant_id for void in in_effect if void.grant_id is not None}
    ledger = ledger or Ledger()
    with_contract = {id for id in price_book.contracts if contract_starts(price_book, id, books_open_at, as_of)}
    given = [
        replace(grant, granted_at=max(grant.granted_at, books_open_at))
        for grant in grants
        if grant.expires_at is None or grant.expires_at > books_open_at
    ]
    for customer_id in sorted(events_of.keys() | records_of.keys() | with_contract):
        own_events, own_records = events_of[customer_id], records_of[customer_id]
        currencies = currencies_of(
            customer_records_of[customer_id], [line for line in ledger.lines if line.customer_id == customer_id]
        )
        known = (customer_id, own_events, own_records, price_book, as_of, currencies, books_open_at)
        reported: set[datetime] = set()
        assigned = assign(own_events, books_open_at)
        for timeline in _timelines(assigned.events).values():
            reported |= reported_openings(timeline, Customer(*known), timeout)
        customer = Customer(*known, reported)
        own_grants = [grant for grant in given if grant.customer_id == customer_id and grant.granted_at <= as_of]
        _add(result, customer, assigned, timeout, own_grants, ledger, voided_grants, listings)
    result.ignored.sort(key=lambda one: str(one.event.event_id))
    return result


def _add(
    result: Result,
    customer: Customer,
    assigned: Assigned,
    heartbeat_timeout: timedelta | None,
    landed_grants: Sequence[CreditGrant],
    ledger: Ledger,
    voided_grants: Collection[str],
    listings: Listings,
) -> None:
    """One customer's part of the result."""
    runs: list[Run] = []
    meters = customer.price_book.meters
    carried: list[Carried] = [quantities for event in assigned.ignored if (quantities := carried_by(event, meters))]
    result.ignored += [IgnoredEvent(event, IgnoredBecause.NO_EXECUTION) for event in assigned.ignored]
    events = assigned.events
    for (sandbox_id, execution_id), timeline in sorted(_timelines(events).items()):
        others = [event for event in events if event.sandbox_id == sandbox_id and (event.execution_id or "") != execution_id]
        opened_at = [event.event_at for event in others if event.event_type in (EventType.START, EventType.RESUME)]
        listed = Listed(listings, openings_of_others(others, execution_id, customer.books_open_at))
        followed = follow(timeline, customer, heartbeat_timeout, opened_at, listed)
        runs += followed.runs
        carried += followed.carried
        result.sessions += [session_of(run, sandbox_id, execution_id, customer) for run in followed.runs]
        result.ignored += [IgnoredEvent(assigned.as_sent(event), reason) for event, reason in followed.ignored]

    contracts = customer.price_book.contracts.get(customer.customer_id, ())
    stretches = customer.stretches()
    groups = measure(runs, carried, stretches, customer.price_book.meters)
    due, daily = usage_lines(customer, groups)
    fee_stretches = customer.stretches(next_month(customer.until))
    due += fee_lines(customer, fee_stretches)
    due += contract_lines(customer, due)
    result.usage_daily += daily

    signup = signup_grant(customer)
    frozen = {grant.grant_id: grant for grant in ledger.grants if grant.customer_id == customer.customer_id}
    known = [*([] if signup is None else [signup]), *landed_grants]
    grants = [*frozen.values(), *(grant for grant in known if grant.grant_id not in frozen)]
    issued = lines_to_issue(due, [line for line in ledger.lines if line.customer_id == customer.customer_id], ledger.periods)
    result.grants += grants
    for currency in sorted({line.currency for line in issued}):
        lines, invoices, applications = draft_invoices(
            [line for line in issued if line.currency == currency],
            [grant for grant in grants if grant.currency == currency and grant.grant_id not in voided_grants],
            _of(ledger, customer.customer_id, currency),
            Spreading(
                daily,
                fee_days(fee_stretches),
                {contract.contract_id: contract.discount_rate for contract in contracts},
                customer.price_book.minor_unit_digits[currency],
            ),
        )
        result.lines += lines
        result.invoices += [
            replace(invoice, is_collected=is_collected(customer, [line for line in lines if line.period == invoice.period]))
            for invoice in invoices
        ]
        result.credit_applications += applications


def _timelines(events: Iterable[Event]) -> dict[tuple[str, str], list[Event]]:
    """By sandbox and execution."""
    timelines: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        timelines[event.sandbox_id, event.execution_id or ""].append(event)
    return timelines


def _of(ledger: Ledger, customer_id: str, currency: str) -> Ledger:
    """One customer's part of the ledger, in one currency."""
    invoices = [one for one in ledger.invoices if (one.customer_id, one.currency) == (customer_id, currency)]
    periods = {invoice.period for invoice in invoices}
    return Ledger(
        ledger.periods,
        [one for one in ledger.lines if (one.customer_id, one.currency) == (customer_id, currency)],
        invoices,
        [one for one in ledger.credit_applications if one.customer_id == customer_id and one.period in periods],
    )
