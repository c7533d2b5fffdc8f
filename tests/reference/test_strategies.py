"""What holds for every history, and that the histories are as troublesome as they should be."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.pricebook.validation import check_price_book
from tests.reference import (
    EndReason,
    Event,
    EventType,
    IgnoredBecause,
    LineType,
    PriceBook,
    Result,
    SubscriptionRecord,
    accept,
    compute,
)
from tests.reference.executions import assign
from tests.reference.landing_rows import CAMEL_CASE
from tests.reference.shorthand import SEEDS
from tests.reference.shrinking import shrink
from tests.reference.strategies import Batch, histories, price_books, random_batch, small_histories, to_jsonl, to_jsonl_parts
from tests.reference.variations import PriceBookVariation

few = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def price_book_of(variation: PriceBookVariation) -> PriceBook:
    with TemporaryDirectory() as folder:
        return PriceBook.read(variation.write(SEEDS, Path(folder)))


def result_of(batch: Batch, heartbeat: int | None = None) -> Result:
    prices = price_book_of(batch.price_book)
    events = accept(batch.events, batch.books_open_at).events
    records = (batch.customers, batch.grants, None, batch.voids, batch.books_open_at, batch.listings)
    return compute(events, batch.subscriptions, prices, batch.as_of, heartbeat, *records)


def counted_events(batch: Batch) -> list[Event]:
    """Accepted events that a build as of the batch's instant sees, and that are not taken back."""
    voided = {void.event_id for void in batch.event_voids if void.voided_at <= batch.as_of}
    accepted = accept(batch.events, batch.books_open_at).events
    return [e for e in accepted if e.event_at <= batch.as_of and e.event_id not in voided]


def carries_quantities_alone(event: Event) -> bool:
    held = (event.vcpu_count, event.memory_gb, event.storage_gb, event.gpu_count)
    return event.event_type is EventType.USAGE or (
        event.event_type is EventType.UPDATE and event.tokens is not None and all(value is None for value in held)
    )


@few
@given(histories(10), st.sampled_from([None, None, 60, 3600]))
def test_raw_tokens_and_sessions_lines_and_days_have_the_same_quantities_and_amounts(batch: Batch, heartbeat: int | None) -> None:
    result = result_of(batch, heartbeat)
    of_sessions: Counter[tuple[str, str]] = Counter()
    of_lines: Counter[tuple[str, str]] = Counter()
    of_days: Counter[tuple[str, str]] = Counter()
    amounts: dict[tuple[str, str, str, str, str], Decimal] = defaultdict(Decimal)
    # Tokens are billed whether or not a session runs: those of the raw events, added by hand.
    for event in counted_events(batch):
        of_sessions[event.user_id, "tokens"] += event.tokens or Decimal(0)  # type: ignore[assignment]
    for session in result.sessions:
        for meter_id, quantity in session.quantities.items():
            if meter_id == "tokens":
                continue
            of_sessions[session.customer_id, meter_id] += quantity  # type: ignore[assignment]
    for line in result.lines:
        if line.line_type is LineType.USAGE and line.meter_id is not None:
            of_lines[line.customer_id, line.meter_id] += line.quantity  # type: ignore[assignment]
            amounts[line.customer_id, line.period, line.plan_id, line.meter_id, line.rate_id] += line.amount
    for day in result.usage_daily:
        of_days[day.customer_id, day.meter_id] += day.quantity  # type: ignore[assignment]
        amounts[day.customer_id, day.period, day.plan_id, day.meter_id, day.rate_id] -= day.amount
    assert +of_sessions == +of_lines == +of_days
    assert set(amounts.values()) <= {Decimal(0)}


@few
@given(histories(10), st.sampled_from([None, None, 60, 3600]))
def test_sessions_of_a_timeline_follow_one_another_and_end_by_as_of(batch: Batch, heartbeat: int | None) -> None:
    timelines = defaultdict(list)
    for session in result_of(batch, heartbeat).sessions:
        assert session.started_at <= session.ended_at <= batch.as_of
        timelines[session.sandbox_id, session.execution_id].append(session)
    for timeline in timelines.values():
        for earlier, later in pairwise(timeline):
            assert earlier.ended_at <= later.started_at and earlier.started_at < later.started_at
            assert earlier.end_reason is not EndReason.OPEN


@few
@given(histories(10))
def test_every_instant_with_a_start_opens_one_session_and_so_does_a_first_update(batch: Batch) -> None:
    kinds: dict[tuple[str, str], dict[datetime, set[EventType]]] = defaultdict(lambda: defaultdict(set))
    # Events without an execution id belong to an execution, or to none.
    for event in assign(counted_events(batch), batch.books_open_at).events:
        if not carries_quantities_alone(event):
            kinds[event.sandbox_id, event.execution_id or ""][event.event_at].add(event.event_type)
    sessions = result_of(batch).sessions
    opened = {(s.sandbox_id, s.execution_id, s.started_at): s for s in sessions}
    for timeline, at_instants in kinds.items():
        assert {(*timeline, instant) for instant, types in at_instants.items() if EventType.START in types} <= opened.keys()
        first = min(at_instants)
        if at_instants[first] <= {EventType.UPDATE, EventType.HEARTBEAT}:
            # A stop or a pause can report an earlier start.
            assert any((s.sandbox_id, s.execution_id) == timeline and s.started_at <= first for s in sessions)
    for (sandbox_id, execution_id, instant), session in opened.items():
        at_instant = kinds[sandbox_id, execution_id].get(instant, set())
        assert session.is_start_missing != bool(at_instant & {EventType.START, EventType.RESUME})


@few
@given(small_histories(), st.integers())
def test_the_order_of_arrival_of_accepted_events_changes_nothing(batch: Batch, seed: int) -> None:
    events = accept(batch.events, batch.books_open_at).events
    shuffled = list(events)
    Random(seed).shuffle(shuffled)
    price_book = price_book_of(batch.price_book)
    in_order = compute(events, batch.subscriptions, price_book, batch.as_of)
    assert compute(shuffled, batch.subscriptions, price_book, batch.as_of) == in_order


@few
@given(histories(10))
def test_invoices_are_the_sums_of_their_lines_and_no_credit_is_spent_twice(batch: Batch) -> None:
    result = result_of(batch)
    subtotals: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for line in result.lines:
        subtotals[line.customer_id, line.period, line.currency] += line.amount
    assert {(i.customer_id, i.period, i.currency): i.subtotal for i in result.invoices} == subtotals
    for invoice in result.invoices:
        assert invoice.total == invoice.subtotal - invoice.credits_applied - invoice.carried_forward
        assert invoice.total >= 0 >= invoice.carried_forward
        assert (invoice.credits_applied <= 0) if invoice.subtotal < 0 else (0 <= invoice.credits_applied <= invoice.subtotal)
    spent: dict[str, Decimal] = defaultdict(Decimal)
    for application in result.credit_applications:
        spent[application.grant_id] += application.amount
    granted = {grant.grant_id: grant.amount for grant in result.grants}
    assert all(0 <= amount <= granted[grant_id] for grant_id, amount in spent.items())


@few
@given(price_books())
def test_every_varied_price_book_is_a_sound_one(variation: PriceBookVariation) -> None:
    with TemporaryDirectory() as folder:
        assert check_price_book(variation.write(SEEDS, Path(folder))) == []


def test_a_seed_gives_the_same_batch_again() -> None:
    assert random_batch(Random(5), 20) == random_batch(Random(5), 20) != random_batch(Random(6), 20)


def test_the_histories_are_rich_in_trouble() -> None:
    """Over a few batches everything that the rules distinguish happens often."""
    seen: Counter[str] = Counter()
    for seed in range(24):
        batch = random_batch(Random(seed), 40)
        acceptance = accept(batch.events, batch.books_open_at)
        result = result_of(batch)
        seen["duplicate"] += acceptance.duplicates
        seen.update(reason for _, reason in acceptance.quarantined)
        seen.update(session.end_reason.value for session in result.sessions)
        seen["paused"] += sum(session.paused_time > timedelta(0) for session in result.sessions)
        seen["start_missing"] += sum(session.is_start_missing for session in result.sessions)
        seen["zero length"] += sum(s.started_at == s.ended_at for s in result.sessions)
        seen["partly free"] += sum(0 < line.billable_quantity < line.quantity for line in result.lines)
        seen["contract line"] += sum("contract" in line.rate_id for line in result.lines)
        seen["fee"] += sum(line.line_type is LineType.FEE for line in result.lines)
        seen["only records"] += sum(not history.events for history in batch.histories)
        seen["not seen"] += sum(event.event_at > batch.as_of for event in acceptance.events)
        at_once = Counter((e.sandbox_id, e.execution_id, e.event_at) for e in acceptance.events)
        seen["at one instant"] += sum(count > 1 for count in at_once.values())
        changes = {(record.customer_id, record.effective_at) for record in batch.subscriptions}
        seen["at a plan change"] += sum((e.user_id, e.event_at) in changes for e in acceptance.events)
        seen["at as_of"] += sum(event.event_at == batch.as_of for event in acceptance.events)
        seen["discount"] += sum(line.line_type is LineType.DISCOUNT for line in result.lines)
        seen["commitment"] += sum(line.line_type is LineType.COMMITMENT for line in result.lines)
        seen["in advance"] += sum(line.period < line.service_period for line in result.lines)
        seen["no USD"] += sum(line.currency != "USD" for line in result.lines)
        seen.update(f"ignored: {ignored.reason}" for ignored in result.ignored)
        seen["usage after a session"] += sum(
            bool(e.tokens)
            and not any(s.sandbox_id == e.sandbox_id and s.started_at <= e.event_at <= s.ended_at for s in result.sessions)
            for e in counted_events(batch)
        )
        seen["tokens"] += sum(line.meter_id == "tokens" for line in result.lines)
        seen["flat fee alone"] += sum(line.meter_id is not None and line.quantity == 0 for line in result.lines)
        seen["used up credit"] += sum(0 < i.credits_applied < i.subtotal for i in result.invoices)
        seen["trial"] += sum(record.is_trial for record in batch.subscriptions)
        seen["trial line"] += sum(line.quantity > 0 == line.billable_quantity == line.amount for line in result.lines)
        seen["collected"] += sum(invoice.is_collected for invoice in result.invoices)
        seen["not collected"] += sum(not invoice.is_collected for invoice in result.invoices)
        seen["a contract alone"] += sum(not (h.events or h.subscriptions) for h in batch.histories)
        seen["another default plan"] += bool(batch.price_book.default_plan or batch.price_book.new_names)
        seen["books open inside"] += batch.books_open_at > batch.histories[0].as_of - timedelta(days=200)
        seen["voided grant"] += len(batch.grant_voids)
        currencies = {(line.customer_id, line.currency) for line in result.lines}
        seen["changed currency"] += sum(len({c for of, c in currencies if of == h.customer_id}) > 1 for h in batch.histories)
        expiries = {grant.grant_id: grant.expires_at for grant in result.grants if grant.expires_at is not None}
        seen["credit that expires in its month"] += sum(
            f"{expiries[one.grant_id]:%Y-%m}" == one.period for one in result.credit_applications if one.grant_id in expiries
        )
        seen["leap day"] += sum((d.usage_date.month, d.usage_date.day) == (2, 29) for d in result.usage_daily)
    rare = {
        name: count
        for name, count in seen.items()
        if count < (5 if name in ("another default plan", "books open inside") else 20)
    }
    assert rare == {}
    assert {f"ignored: {reason}" for reason in IgnoredBecause} <= seen.keys()
    assert {reason.value for reason in EndReason} - seen.keys() == {"heartbeat_lost"}


def test_a_history_that_comes_out_wrong_is_made_small() -> None:
    """In this test a history fails if a session ended at a contract's maximum."""

    def wrong_customers(batch: Batch) -> set[str]:
        contracts = {row["customer_id"] for row in batch.price_book.extra_rows["contracts"]}
        ended = {s.customer_id for s in result_of(batch).sessions if s.end_reason is EndReason.END_INFERRED}
        return contracts & ended

    batch = random_batch(Random(5), 120)
    smallest = shrink(batch, min(wrong_customers(batch)), wrong_customers)
    (history,) = smallest.histories
    assert (len(history.events), history.subscriptions) == (1, ())
    assert wrong_customers(smallest) == {history.customer_id}


def test_rows_written_for_landing_say_what_the_history_says(tmp_path: Path) -> None:
    batch = random_batch(Random(11), 30)
    event_files, subscription_file = to_jsonl_parts(batch, tmp_path, 3), to_jsonl(batch, tmp_path)[1]
    rows = [json.loads(line, parse_float=Decimal) for path in event_files for line in path.read_text().splitlines()]
    assert len(event_files) == 3
    assert [read_event(row) for row in rows] == batch.events
    records = [json.loads(line) for line in subscription_file.read_text().splitlines()]
    assert [read_record(row) for row in records] == batch.subscriptions
    assert {"resources" in row for row in rows} == {True, False}
    assert {row["event_type"] in CAMEL_CASE.values() for row in rows} == {True, False}


def read_event(row: dict[str, Any]) -> Event:
    resources = row.get("resources", row)

    def number(name: str) -> Decimal | None:
        value = resources.get(name)
        return None if value is None else Decimal(value)

    types = {spelling: kind for kind, spelling in CAMEL_CASE.items()}
    return Event(
        row.get("event_id"),
        row["sandbox_id"],
        row["user_id"],
        datetime.fromisoformat(row["timestamp"]).astimezone(UTC),
        types.get(row["event_type"]) or EventType(row["event_type"]),
        number("vcpu_count"),
        number("memory_gb"),
        number("storage_gb"),
        number("gpu_count"),
        number("tokens"),
        execution_id=row.get("execution_id"),
        started_at=datetime.fromisoformat(row["started_at"]).astimezone(UTC) if row.get("started_at") else None,
        duration_seconds=None if row.get("duration_seconds") is None else Decimal(row["duration_seconds"]),
    )


def read_record(row: dict[str, Any]) -> SubscriptionRecord:
    effective_at = datetime.fromisoformat(row["effective_at"])
    return SubscriptionRecord(row["customer_id"], row["plan_id"], effective_at, row.get("is_trial", False))
