"""Simulates sandboxes' sessions and the events that collectors write about them: some lost, repeated, late or out of order.

Sessions and events are NumPy arrays with an element for each; nothing loops over events.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.demo.customers import CONTRACT_CUSTOMER, Cast

STARTS_AT = datetime(2026, 9, 1, tzinfo=UTC)
AS_OF = datetime(2026, 10, 16, tzinfo=UTC)
DAYS = (AS_OF - STARTS_AT).days

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
"""Instants are whole microseconds since STARTS_AT."""

SIZES = (
    ("2", "0.5", "1"),
    ("2", "1", "1"),
    ("4", "4", "5"),
    ("4", "8", "10"),
    ("8", "8", "10"),
    ("8", "16", "20"),
    ("8", "16", "250"),
    ("4", "8", "200"),
    ("-2", "4", "5"),
)
"""vCPUs, GB of memory and GB of storage of the sandbox sizes; the last is the output of a broken collector."""
BROKEN_SIZE = len(SIZES) - 1

COLLECTORS = ("gateway", "edge", "cluster", "ticker")
GATEWAY, EDGE, CLUSTER, TICKER = range(4)
FILE_DAYS = np.array((1, 7, 7, 7))
"""Days in a file of each collector."""
OUTAGE_DAY, OUTAGE_FILE = 28, -1
"""The gateway failed to send part of 29 September; those events arrive in October, in a separate file."""

START, UPDATE, STOP = range(3)
ALL_NAMED, NONE_NAMED, NO_STORAGE = range(3)
"""Which resources an event contains."""

PLANS = ("hobby", "pro", "enterprise")
MAX_SESSION = np.array((HOUR, 24 * HOUR, 7 * 24 * HOUR))
LOST_STOPS = np.array((0.01, 0.003, 0.0))
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 3, 6, 9, 10, 10, 8, 9, 10, 10, 9, 7, 5, 4, 4, 3, 2, 1])
"""Weights of the hours of a customer's local day."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """Arrays of equal length: a table of rows."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: Ints | Flags) -> Self:
        """The rows at these indices, or where the flags are true."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def join(self, *others: Self) -> Self:
        """These rows, then the others'."""
        parts = (self, *others)
        joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(self)}
        return replace(self, **joined)


@dataclass(frozen=True)
class Sessions(Columns):
    """The true runs of sandboxes."""

    customer: Ints
    sandbox: Ints
    """The sandbox's number; it may run more than once."""
    starts_at: Ints
    ends_at: Ints
    size: Ints
    resized_at: Ints
    """The instant from which it has the next larger size; the largest integer for most."""


@dataclass(frozen=True)
class Events(Columns):
    """The collectors' events."""

    number: Ints
    """The same for repetitions of one event."""
    run: Ints
    """The session's number."""
    customer: Ints
    sandbox: Ints
    """-1: the collector left it out."""
    collector: Ints
    at: Ints
    event_type: Ints
    size: Ints
    named: Ints
    sent_at: Ints
    """The instant of writing, which gives the order within a file."""
    file: Ints
    """The number of the collector's file, from 0; OUTAGE_FILE for the late one."""


def simulate(rng: np.random.Generator, cast: Cast) -> Events:
    """All events of the demo, in the order of their files."""
    sessions = _simulate_sessions(rng, cast)
    events = _observe(rng, cast, sessions)
    events = _into_files(rng, events)
    events = events.join(*_contradictions(events))
    return events.take(np.lexsort((events.number, events.sent_at, events.file, events.collector)))


def _simulate_sessions(rng: np.random.Generator, cast: Cast) -> Sessions:
    people = cast.customers
    customer = np.repeat(np.arange(len(people)), rng.poisson([p.sessions_per_day * DAYS for p in people]))
    count = len(customer)
    weekday = (STARTS_AT.weekday() + np.arange(DAYS)) % 7
    day_weights = np.where(weekday < 5, 1.2, 0.5) * (1 + 0.006 * np.arange(DAYS))
    day = rng.choice(DAYS, count, p=day_weights / day_weights.sum())
    offset = np.array([p.utc_offset_hours for p in people])[customer]
    hour = (rng.choice(24, count, p=HOURS / HOURS.sum()) - offset) % 24
    starts_at = day * DAY + hour * HOUR + rng.integers(0, HOUR, count)
    usual = np.array([p.size for p in people])[customer]
    other = np.clip(usual + rng.choice([-1, 1], count), 0, BROKEN_SIZE - 1)
    size = np.where(rng.random(count) < 0.75, usual, other)
    first = Sessions(customer, np.arange(count), starts_at, starts_at, size, starts_at)
    signed_up_at = np.array([_offset(p.signed_up_at) for p in people])
    first = _lasting(rng, cast, first.take(starts_at >= signed_up_at[customer]))
    # Some sandboxes start again later.
    again = first.take(rng.random(len(first)) < 0.05)
    again = replace(again, starts_at=again.ends_at + rng.integers(2 * MINUTE, 3 * HOUR, len(again)))
    return first.join(_lasting(rng, cast, again))


def _lasting(rng: np.random.Generator, cast: Cast, sessions: Sessions) -> Sessions:
    """The sessions with ends and resizes. The platform stops most at their plan's limit."""
    count = len(sessions)
    plan = _plan_at(cast, sessions.customer, sessions.starts_at)
    minutes = np.array([person.minutes_per_session for person in cast.customers])[sessions.customer]
    length = (rng.lognormal(np.log(minutes), np.where(plan == 0, 0.8, 0.95)) * MINUTE).astype(np.int64)
    length = np.clip(length, 15 * SECOND, MAX_SESSION[plan])
    length = np.where(rng.random(count) < 0.0003, length + 80 * MINUTE, length)
    is_resized = rng.random(count) < 0.07
    resized_at = sessions.starts_at + (length * rng.uniform(0.2, 0.8, count)).astype(np.int64)
    return replace(
        sessions,
        ends_at=sessions.starts_at + length,
        resized_at=np.where(is_resized, resized_at, np.iinfo(np.int64).max),
    )


def _plan_at(cast: Cast, customer: Ints, at: Ints) -> Ints:
    """Each customer's plan (an index in PLANS) at each instant; hobby before its first record."""
    place = {person.customer_id: number for number, person in enumerate(cast.customers)}
    truth = {(record.effective_at, record.customer_id): record.plan_id for record in cast.subscriptions + cast.corrections}
    plan = np.zeros(len(customer), dtype=np.int64)
    for (effective_at, customer_id), plan_id in sorted(truth.items()):
        plan[(customer == place[customer_id]) & (at >= _offset(effective_at))] = PLANS.index(plan_id)
    return plan


def _observe(rng: np.random.Generator, cast: Cast, sessions: Sessions) -> Events:
    """The events that reached a collector, without repetitions."""
    runs = np.arange(len(sessions))
    collectors = np.array([COLLECTORS.index(person.collector) for person in cast.customers])
    plan = _plan_at(cast, sessions.customer, sessions.starts_at)
    is_contract = np.array([person.customer_id == CONTRACT_CUSTOMER for person in cast.customers])[sessions.customer]
    is_start_lost = rng.random(len(runs)) < 0.006
    is_stop_lost = rng.random(len(runs)) < np.where(is_contract, 0.0006, LOST_STOPS[plan])
    is_ticking = collectors[sessions.customer] == TICKER
    resized = runs[(sessions.resized_at < sessions.ends_at) & ~is_ticking]
    ticks = np.where(is_ticking, (sessions.ends_at - sessions.starts_at) // MINUTE, 0)
    ticking = np.repeat(runs, ticks)
    tick = np.arange(len(ticking)) - np.repeat(np.cumsum(ticks) - ticks, ticks) + 1
    written = (
        (START, runs[~is_start_lost], sessions.starts_at[~is_start_lost]),
        (UPDATE, resized, sessions.resized_at[resized]),
        (UPDATE, ticking, sessions.starts_at[ticking] + tick * MINUTE),
        (STOP, runs[~is_stop_lost], sessions.ends_at[~is_stop_lost]),
    )
    run = np.concatenate([part for _, part, _ in written])
    at = np.concatenate([instants for _, _, instants in written])
    event_type = np.concatenate([np.full(len(part), kind) for kind, part, _ in written])
    collector = collectors[sessions.customer[run]]
    luck = rng.random(len(run))
    start_names = np.select([luck < 0.03, luck < 0.045], [NONE_NAMED, NO_STORAGE], ALL_NAMED)
    stop_names = np.where(collector == CLUSTER, ALL_NAMED, NONE_NAMED)
    events = Events(
        number=np.arange(len(run)),
        run=run,
        customer=sessions.customer[run],
        sandbox=sessions.sandbox[run],
        collector=collector,
        at=at,
        event_type=event_type,
        size=np.minimum(sessions.size[run] + (at >= sessions.resized_at[run]), BROKEN_SIZE - 1),
        named=np.select([event_type == START, event_type == STOP], [start_names, stop_names], ALL_NAMED),
        sent_at=at,
        file=at,
    )
    return events.take(events.at < DAYS * DAY)


def _into_files(rng: np.random.Generator, events: Events) -> Events:
    """The events as in the collectors' files: out of order, some repeated in the same or the next file, some much later."""
    count = len(events)
    delay = rng.exponential(4 * SECOND, count).astype(np.int64)
    delay += np.where(rng.random(count) < 0.015, rng.integers(2 * MINUTE, 45 * MINUTE, count), 0)
    sent = replace(events, sent_at=events.at + delay)
    retried = sent.take(rng.random(count) < 0.004)
    retried = replace(retried, sent_at=retried.sent_at + rng.integers(0, 30 * SECOND, len(retried)))
    resent = sent.take(rng.random(count) < 0.003)
    resent = replace(resent, sent_at=resent.sent_at + FILE_DAYS[resent.collector] * DAY)
    sent = sent.join(retried, resent)
    day = np.minimum(sent.sent_at // DAY, DAYS - 1)
    is_held_back = (sent.collector == GATEWAY) & (day == OUTAGE_DAY) & (rng.random(len(sent)) < 0.4)
    return replace(sent, file=np.where(is_held_back, OUTAGE_FILE, day // FILE_DAYS[sent.collector]))


def _contradictions(events: Events) -> list[Events]:
    """Events that contradict earlier ones or are invalid: each is one row in quarantine."""
    numbers = itertools.count(int(events.number.max()) + 1)

    def again(collector: int, file: int) -> Events:
        """A copy of the first complete start event of a file, two files later."""
        is_start = (events.event_type == START) & (events.named == ALL_NAMED)
        rows = np.flatnonzero(is_start & (events.collector == collector) & (events.file == file))
        one = events.take(rows[np.argmin(events.number[rows])][np.newaxis])
        return replace(one, file=one.file + 2)

    def with_new_number(one: Events) -> Events:
        """The same event under a new number, and so a new event id."""
        return replace(one, number=np.array([next(numbers)]))

    conflicts = [again(GATEWAY, 5), again(CLUSTER, 0)]
    wrong_owners = [with_new_number(again(GATEWAY, 6)), with_new_number(again(CLUSTER, 1))]
    return [
        *(replace(one, size=(one.size + 1) % BROKEN_SIZE) for one in conflicts),
        *(replace(one, customer=np.abs(one.customer - 1)) for one in wrong_owners),
        replace(with_new_number(again(CLUSTER, 2)), size=np.array([BROKEN_SIZE])),
        replace(with_new_number(again(CLUSTER, 3)), sandbox=np.array([-1])),
    ]


def _offset(instant: datetime) -> int:
    """Whole microseconds since STARTS_AT."""
    return (instant - STARTS_AT) // timedelta(microseconds=1)
