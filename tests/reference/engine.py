"""Everything due as of an instant, from events, subscription records and the price book alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from .credits import signup_grant
from .customers import Customer
from .invoices import draft_invoices, lines_to_issue
from .price_book import PriceBook
from .rating import fee_lines, usage_lines
from .records import Event, Result, SubscriptionRecord
from .sessions import Run, follow, session_of
from .usage import measure

NOTHING_CLOSED = ""
"""Before every period: no month is closed."""


def compute(
    events: Iterable[Event],
    subscriptions: Iterable[SubscriptionRecord],
    price_book: PriceBook,
    as_of: datetime,
    heartbeat_timeout_seconds: int | None = None,
) -> Result:
    """Sessions, lines, invoices and daily usage of every customer.

    `events` are accepted ones (see `accept`) in any order; `subscriptions` come in the order they landed. What is dated
    at `as_of` exactly is seen, what is dated after it is not.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a zone: what the rules call an instant is UTC.")
    timeout = None if heartbeat_timeout_seconds is None else timedelta(seconds=heartbeat_timeout_seconds)
    events_of: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.event_at <= as_of:
            events_of[event.user_id].append(event)
    records_of: dict[str, list[SubscriptionRecord]] = defaultdict(list)
    for record in subscriptions:
        if record.effective_at <= as_of:
            records_of[record.customer_id].append(record)

    result = Result()
    for customer_id in sorted(events_of.keys() | records_of.keys()):
        own_events, own_records = events_of[customer_id], records_of[customer_id]
        customer = Customer(customer_id, own_events, own_records, price_book, as_of)
        _add(result, customer, own_events, timeout)
    return result


def _add(result: Result, customer: Customer, events: list[Event], heartbeat_timeout: timedelta | None) -> None:
    """One customer's part of the result."""
    timelines: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        timelines[event.sandbox_id, event.execution_id or ""].append(event)
    runs: list[Run] = []
    for (sandbox_id, execution_id), timeline in sorted(timelines.items()):
        followed = follow(timeline, customer, heartbeat_timeout)
        runs += followed
        result.sessions += [session_of(run, sandbox_id, execution_id, customer) for run in followed]

    stretches = customer.stretches()
    groups = measure(runs, stretches, customer.price_book.meters)
    due, daily = usage_lines(customer, groups)
    due += fee_lines(customer, stretches)
    result.usage_daily += daily

    grant = signup_grant(customer)
    grants = [] if grant is None else [grant]
    issued = lines_to_issue(due, billed=[], first_open_period=NOTHING_CLOSED)
    invoices, applications = draft_invoices(issued, grants)
    result.lines += issued
    result.invoices += invoices
    result.grants += grants
    result.credit_applications += applications
