"""Simulates what sandboxes did and what their collectors said of it: some of it lost, repeated, late or out of order.

Everything is an array with an element for each session or event; nothing loops over events.
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
"""vCPUs, GB of memory and GB of storage of the sandboxes on offer; the last is what a broken collector says."""
BROKEN_SIZE = len(SIZES) - 1

COLLECTORS = ("gateway", "edge", "cluster", "ticker")
GATEWAY, EDGE, CLUSTER, TICKER = range(4)
FILE_DAYS = np.array((1, 7, 7, 7))
"""How many days a file of each collector holds."""
OUTAGE_DAY, OUTAGE_FILE = 28, -1
"""The gateway could not send part of 29 September; it came in October, in a file of its own."""

START, UPDATE, STOP = range(3)
ALL_NAMED, NONE_NAMED, NO_STORAGE = range(3)
"""Which resources an event names."""

PLANS = ("hobby", "pro", "enterprise")
MAX_SESSION = np.array((HOUR, 24 * HOUR, 7 * 24 * HOUR))
LOST_STOPS = np.array((0.01, 0.003, 0.0))
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 3, 6, 9, 10, 10, 8, 9, 10, 10, 9, 7, 5, 4, 4, 3, 2, 1])
"""Weights of the hours of a customer's day."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """Arrays of one length, an element of each for a row."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: Ints | Flags) -> Self:
        """The rows at these places, or where the flags are set."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def join(self, *others: Self) -> Self:
        """These rows, then the others'."""
        parts = (self, *others)
        joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(self)}
        return replace(self, **joined)


@dataclass(frozen=True)
class Sessions(Columns):
    """Runs of sandboxes as they really were."""

    customer: Ints
    sandbox: Ints
    """Its number; a sandbox may run again."""
    starts_at: Ints
    ends_at: Ints
    size: Ints
    resized_at: Ints
    """From when it has the next larger size; the end of time for most."""


@dataclass(frozen=True)
class Events(Columns):
    """What the collectors said."""

    number: Ints
    """The same for repeats of one event."""
    run: Ints
    """Number of the session."""
    customer: Ints
    sandbox: Ints
    """-1: the collector forgot to say."""
    collector: Ints
    at: Ints
    event_type: Ints
    size: Ints
    named: Ints
    sent_at: Ints
    """When the collector wrote it: the order within a file."""
    file: Ints
    """Which of the collector's files, from 0; OUTAGE_FILE for the late one."""


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
    # Some sandboxes are started again after a while.
    again = first.take(rng.random(len(first)) < 0.05)
    again = replace(again, starts_at=again.ends_at + rng.integers(2 * MINUTE, 3 * HOUR, len(again)))
    return first.join(_lasting(rng, cast, again))


def _lasting(rng: np.random.Generator, cast: Cast, sessions: Sessions) -> Sessions:
    """The sessions with ends and changes of size. The platform stops them at their plan's limit, few slip by."""
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
    """The plan (a place in PLANS) that each customer was on at each instant; before its first record it is hobby."""
    place = {person.customer_id: number for number, person in enumerate(cast.customers)}
    truth = {(record.effective_at, record.customer_id): record.plan_id for record in cast.subscriptions + cast.corrections}
    plan = np.zeros(len(customer), dtype=np.int64)
    for (effective_at, customer_id), plan_id in sorted(truth.items()):
        plan[(customer == place[customer_id]) & (at >= _offset(effective_at))] = PLANS.index(plan_id)
    return plan


def _observe(rng: np.random.Generator, cast: Cast, sessions: Sessions) -> Events:
    """The events of the sessions that reached a collector, before any repeats."""
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
    said = (
        (START, runs[~is_start_lost], sessions.starts_at[~is_start_lost]),
        (UPDATE, resized, sessions.resized_at[resized]),
        (UPDATE, ticking, sessions.starts_at[ticking] + tick * MINUTE),
        (STOP, runs[~is_stop_lost], sessions.ends_at[~is_stop_lost]),
    )
    run = np.concatenate([part for _, part, _ in said])
    at = np.concatenate([instants for _, _, instants in said])
    event_type = np.concatenate([np.full(len(part), kind) for kind, part, _ in said])
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
    """The events as the collectors' files hold them: out of order, some twice, some a file later, some much later."""
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
    """Events that contradict ones landed before them, or say what cannot be: each is one row for quarantine."""
    numbers = itertools.count(int(events.number.max()) + 1)

    def again(collector: int, file: int) -> Events:
        """The first complete start in a file, once more two files later."""
        is_start = (events.event_type == START) & (events.named == ALL_NAMED)
        rows = np.flatnonzero(is_start & (events.collector == collector) & (events.file == file))
        one = events.take(rows[np.argmin(events.number[rows])][np.newaxis])
        return replace(one, file=one.file + 2)

    def anew(one: Events) -> Events:
        """The same as an event of its own."""
        return replace(one, number=np.array([next(numbers)]))

    conflicts = [again(GATEWAY, 5), again(CLUSTER, 0)]
    strangers = [anew(again(GATEWAY, 6)), anew(again(CLUSTER, 1))]
    return [
        *(replace(one, size=(one.size + 1) % BROKEN_SIZE) for one in conflicts),
        *(replace(one, customer=np.abs(one.customer - 1)) for one in strangers),
        replace(anew(again(CLUSTER, 2)), size=np.array([BROKEN_SIZE])),
        replace(anew(again(CLUSTER, 3)), sandbox=np.array([-1])),
    ]


def _offset(instant: datetime) -> int:
    """Whole microseconds since STARTS_AT."""
    return (instant - STARTS_AT) // timedelta(microseconds=1)
