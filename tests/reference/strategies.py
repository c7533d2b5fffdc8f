"""Random histories rich in edge cases, for the warehouse and the reference engine.

Everything is drawn from a `random.Random`, so that thousands are drawn in a second: `random_batch(Random(7), 2000)`.
Under hypothesis: `histories(60)` for batches, `small_histories()` for one customer at a time.

Instants come from a window of a few months and mostly from a small pool of interesting ones (month ends, midnights, the
instant of a price change, as_of, a microsecond on either side of each), so that things collide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from hypothesis import strategies as st

from tests.reference import CreditGrant, CustomerRecord, Event, EventType, ListingPart, SubscriptionRecord, Void
from tests.reference.landing_rows import customer_row, event_row, grant_row, listing_row, subscription_row, void_row
from tests.reference.random_listings import random_listings
from tests.reference.variations import ALWAYS, CURRENCIES, PriceBookVariation, random_price_book

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

WINDOWS = (
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
    (datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
    (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
    (datetime(2020, 2, 1, tzinfo=UTC), datetime(2020, 4, 1, tzinfo=UTC)),
    (datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 4, 1, tzinfo=UTC)),
)
"""Year ends, leap days, and a February without one."""

PLANS = ("hobby", "pro", "enterprise")

SPANS = (
    MICROSECOND,
    timedelta(milliseconds=1, microseconds=1),
    timedelta(seconds=1),
    timedelta(seconds=59, microseconds=999_999),
    timedelta(minutes=10),
    HOUR - MICROSECOND,
    HOUR,
    HOUR + MICROSECOND,
    timedelta(minutes=150),
    DAY - MICROSECOND,
    DAY,
    DAY + MICROSECOND,
    timedelta(days=3, hours=7, microseconds=123_457),
    timedelta(days=29),
)
"""Gaps between events: around the maximum sessions of hobby and pro, and far above."""

VCPU_COUNTS = tuple(map(Decimal, ("0", "0.5", "1", "2", "4", "64", "0.123457", "0.000001", "3.333333")))
MEMORY_GB = tuple(map(Decimal, ("0", "0.5", "1", "4", "16", "512", "0.25", "7.654321", "0.000001")))
GPU_COUNTS = tuple(map(Decimal, ("0", "1", "8", "0.5")))
TOKENS = tuple(map(Decimal, ("0", "1", "999", "1000000", "0.000001", "123456789.5")))
_OF_SANDBOXES = tuple(kind for kind in EventType if kind is not EventType.USAGE)
_CLOSING = (EventType.STOP, EventType.PAUSE)
STORAGE_GB = tuple(map(Decimal, ("0", "1", "5", "10", "20", "20.000001", "500", "25000", "99999.999999")))


@dataclass(frozen=True)
class Scene:
    """Parameters shared by all histories of a batch."""

    starts_at: datetime
    ends_at: datetime
    as_of: datetime
    interesting: tuple[datetime, ...]

    def instant(self, random: Random) -> datetime:
        """An instant of the window, mostly an edge case."""
        if random.random() < 0.25:
            length = (self.ends_at - self.starts_at) // MICROSECOND
            return self.starts_at + random.randrange(length) * MICROSECOND
        at = random.choice(self.interesting)
        if random.random() < 0.3:
            at += random.choice((-2, -1, 1, 2)) * MICROSECOND
        elif random.random() < 0.4:
            at -= random.choice(SPANS)
        return max(self.starts_at, at)


@dataclass(frozen=True)
class History:
    """The rows of one customer, in order of arrival."""

    customer_id: str
    events: tuple[Event, ...]
    """Rows, including duplicates, contradictions and rows of another user."""
    subscriptions: tuple[SubscriptionRecord, ...]
    as_of: datetime
    customer_records: tuple[CustomerRecord, ...] = ()
    """In order of landing: some name a currency, some do not, some date its change."""
    grants: tuple[CreditGrant, ...] = ()
    voids: tuple[Void, ...] = ()
    """Voids of events and grants. Those of events land after the events."""
    listings: tuple[ListingPart, ...] = ()
    """Listings of the customer's sandboxes, of scopes of its own."""


@dataclass(frozen=True)
class Batch:
    """Many customers for one build: one as_of, one price book."""

    as_of: datetime
    histories: tuple[History, ...]
    price_book: PriceBookVariation
    books_open_at: datetime = ALWAYS
    """The first instant of a month."""

    @property
    def events(self) -> list[Event]:
        """All rows in arrival order: of one customer after the other."""
        return [event for history in self.histories for event in history.events]

    @property
    def subscriptions(self) -> list[SubscriptionRecord]:
        return [record for history in self.histories for record in history.subscriptions]

    @property
    def customers(self) -> list[CustomerRecord]:
        return [record for history in self.histories for record in history.customer_records]

    @property
    def grants(self) -> list[CreditGrant]:
        return [grant for history in self.histories for grant in history.grants]

    @property
    def voids(self) -> list[Void]:
        return [void for history in self.histories for void in history.voids]

    @property
    def listings(self) -> list[ListingPart]:
        return [part for history in self.histories for part in history.listings]

    @property
    def event_voids(self) -> list[Void]:
        return [void for void in self.voids if void.event_id is not None]

    @property
    def grant_voids(self) -> list[Void]:
        return [void for void in self.voids if void.grant_id is not None]


def random_scene(random: Random) -> Scene:
    """A window, what is interesting in it, and an as_of in it or after it."""
    starts_at, ends_at = random.choice(WINDOWS)
    months = [month for month in _months(starts_at, ends_at) if month > starts_at]
    midnights = [random.choice(months) + random.randrange(-3, 4) * DAY for _ in range(3)]
    somewhere = starts_at + random.randrange((ends_at - starts_at) // MICROSECOND) * MICROSECOND
    interesting = [starts_at, *months, *midnights, somewhere, somewhere.replace(microsecond=0)]
    length = (ends_at - starts_at) // MICROSECOND
    as_of = random.choice(
        (
            random.choice(interesting),
            random.choice(months) - MICROSECOND,
            random.choice(months) + random.choice(SPANS),
            starts_at + random.randrange(length // 2, length) * MICROSECOND,
            ends_at,
            ends_at + 3 * DAY,
        )
    )
    as_of = max(as_of, starts_at + 20 * DAY)
    inside = [instant for instant in (*interesting, as_of, as_of) if starts_at <= instant <= ends_at]
    return Scene(starts_at, ends_at, as_of, tuple(inside))


def random_history(
    random: Random, customer_id: str = "customer", scene: Scene | None = None, currency: str | None = None
) -> History:
    """One customer: subscription records and one to three sandboxes."""
    scene = scene or random_scene(random)
    records = _random_subscriptions(random, customer_id, scene)
    own_instants = tuple(record.effective_at for record in records)
    scene = replace(scene, interesting=scene.interesting + own_instants * 2)
    events: list[Event] = []
    sandboxes = 0 if records and random.random() < 0.05 else random.choice((1, 1, 1, 2, 3))
    for number in range(1, sandboxes + 1):
        sandbox_id = f"{customer_id}-sandbox-{number}"
        executions: tuple[str | None, ...] = (None,)
        if random.random() < 0.2:
            executions = random.choice(((None, "run-1"), ("run-1", "run-2")))
        for execution_id in executions:
            events += _random_timeline(random, customer_id, sandbox_id, execution_id, scene)
    rows = _arrive(random, _with_ids(random, customer_id, events))
    currency = currency or random.choice(CURRENCIES)
    customer_records = _random_customer_records(random, customer_id, currency, scene)
    currencies = [record.currency for record in customer_records if record.currency is not None]
    grants = _random_grants(random, customer_id, [currency, *currencies], scene)
    voids = [*_random_event_voids(random, rows, scene), *_random_voids(random, customer_id, grants, scene)]
    # Drawn apart, so that listings change nothing else that a seed draws.
    apart = Random(f"{customer_id} {scene.as_of} {rows[:1]}")
    moments = [event.event_at for event in events]

    def instant(random: Random) -> datetime:
        if not moments or random.random() < 0.3:
            return scene.instant(random)
        return max(scene.starts_at, random.choice(moments) + random.choice((-1, 0, 1, 1, 1)) * random.choice(SPANS[:9]))

    listings = random_listings(apart, customer_id, sorted({event.sandbox_id for event in events}), instant)
    return History(
        customer_id,
        tuple(rows),
        tuple(records),
        scene.as_of,
        tuple(customer_records),
        tuple(grants),
        tuple(voids),
        tuple(listings),
    )


def random_batch(random: Random, customers: int, *, vary_prices: bool = True, prefix: str = "customer") -> Batch:
    """`customers` histories with ids of their own, one as_of and one price book."""
    scene = random_scene(random)
    customer_ids = [f"{prefix}-{number:05d}" for number in range(1, customers + 1)]
    currency_of = {customer_id: random.choice(CURRENCIES) for customer_id in customer_ids}
    inside = [month for month in _months(scene.starts_at, scene.as_of) if month <= scene.as_of]
    books_open_at = random.choice(inside) if vary_prices and random.random() < 0.4 else ALWAYS
    price_book = PriceBookVariation()
    if vary_prices:
        price_book = random_price_book(random, scene.instant, customer_ids, currency_of=currency_of, books_open_at=books_open_at)
    scene = replace(scene, interesting=scene.interesting + tuple(sorted(price_book.instants())))
    histories = [random_history(random, customer_id, scene, currency_of[customer_id]) for customer_id in customer_ids]
    # Customers of whom nothing is known but their contract.
    with_contract = {row["customer_id"] for row in price_book.extra_rows.get("contracts", [])}
    for number, history in enumerate(histories):
        if history.customer_id not in with_contract:
            continue
        # A contract in a currency that its customer is never billed in stops the build.
        own = tuple(
            record
            for record in history.customer_records
            if record.effective_at is None and record.currency in (None, currency_of[history.customer_id])
        )
        histories[number] = replace(history, customer_records=own)
        if random.random() < 0.35:
            histories[number] = replace(histories[number], events=(), subscriptions=())
    names = price_book.new_names
    renamed = [
        replace(
            history,
            subscriptions=tuple(
                replace(record, plan_id=names.get(record.plan_id, record.plan_id)) for record in history.subscriptions
            ),
        )
        for history in histories
    ]
    return Batch(scene.as_of, tuple(renamed), price_book, books_open_at)


def histories(customers: int, *, vary_prices: bool = True) -> st.SearchStrategy[Batch]:
    """Batches of `customers` histories, by seed: hypothesis's own entropy is too little for many customers.

    What fails is made small with `tests.reference.shrinking`, which takes a build a step and not a build a draw.
    """
    return st.integers(0, 2**32 - 1).map(lambda seed: random_batch(Random(seed), customers, vary_prices=vary_prices))


def small_histories() -> st.SearchStrategy[Batch]:
    """One customer and the price book as it is, drawn by hypothesis, which can shrink it."""
    return st.randoms(use_true_random=False).map(lambda random: random_batch(random, 1, vary_prices=False))


def price_books() -> st.SearchStrategy[PriceBookVariation]:
    """Variations of the price book alone, with a contract for `customer-00001`."""
    return st.randoms(use_true_random=False).map(
        lambda random: random_price_book(random, random_scene(random).instant, ["customer-00001"], contract_share=1.0)
    )


def _months(starts_at: datetime, ends_at: datetime) -> list[datetime]:
    months = [starts_at]
    while months[-1] < ends_at:
        months.append((months[-1] + 32 * DAY).replace(day=1))
    return months


def _random_subscriptions(random: Random, customer_id: str, scene: Scene) -> list[SubscriptionRecord]:
    """Records in landing order: plan changes, trials, superseded ones, records in the future, and often none."""
    records: list[SubscriptionRecord] = []
    for _ in range(random.choice((0, 0, 1, 1, 2, 3, 5))):
        plan_id = random.choices(PLANS, (3, 4, 2))[0]
        if records and random.random() < 0.2:
            effective_at = random.choice(records).effective_at
        else:
            effective_at = scene.instant(random)
        records.append(SubscriptionRecord(customer_id, plan_id, effective_at, random.random() < 0.2))
    return records


def _random_customer_records(random: Random, customer_id: str, currency: str, scene: Scene) -> list[CustomerRecord]:
    """A record with the customer's first currency, or none where that is the default one; then changes of it, which are dated;
    and records that name nothing of it, or what is in force anyway.
    """
    records = [CustomerRecord(customer_id, currency)] if currency != "USD" or random.random() < 0.3 else []
    if random.random() < 0.2:
        months = _months(scene.starts_at, scene.ends_at)
        records += [
            CustomerRecord(customer_id, random.choice(CURRENCIES), random.choice(months)) for _ in range(random.choice((1, 1, 2)))
        ]
        if random.random() < 0.5:
            latest = max(record.effective_at for record in records if record.effective_at is not None)
            (*_, last) = [record for record in records if record.effective_at == latest]
            records.append(replace(last, effective_at=None))
    if random.random() < 0.3:
        partial = CustomerRecord(customer_id, monthly_spend_limit=Decimal(500))
        records.insert(random.randrange(len(records) + 1), partial)
    return records


def _random_voids(random: Random, customer_id: str, grants: Sequence[CreditGrant], scene: Scene) -> list[Void]:
    """Some grants are voided, now and then the one for signing up."""
    voided = [grant.grant_id for grant in grants if random.random() < 0.2]
    if random.random() < 0.05:
        voided.append(f"signup-{customer_id}")
    return [Void(scene.instant(random), grant_id=grant_id) for grant_id in voided]


def _random_grants(random: Random, customer_id: str, currencies: Sequence[str], scene: Scene) -> list[CreditGrant]:
    """Grants of all kinds, some in another currency, some that expire at an interesting instant."""
    return [
        CreditGrant(
            grant_id=f"{customer_id}-grant-{number}",
            customer_id=customer_id,
            amount=Decimal(random.choice(("1", "20", "150", "3000"))),
            currency=random.choice(currencies) if random.random() < 0.9 else "EUR",
            granted_at=scene.instant(random),
            expires_at=scene.instant(random) if random.random() < 0.5 else None,
            priority=random.choice((0, 10, 10, 100)),
            scope=random.choice(("usage", "all")),
            source=random.choice(("promotional", "purchased", "goodwill")),
        )
        for number in range(random.choice((0, 0, 0, 1, 2, 4)))
    ]


def _random_event_voids(random: Random, rows: Sequence[Event], scene: Scene) -> list[Void]:
    """Of few customers, some events are taken back: before as_of, at it, or later. Never all of a sandbox, which would free it
    for another user.
    """
    if random.random() < 0.7:
        return []
    spared = {row.sandbox_id: row.event_id for row in rows}
    ids = sorted({row.event_id for row in rows if row.event_id is not None} - set(spared.values()))
    chosen = random.sample(ids, min(len(ids), random.choice((1, 1, 2, 5))))
    return [Void(random.choice((scene.instant(random), scene.as_of)), event_id) for event_id in chosen]


def _random_timeline(random: Random, customer_id: str, sandbox_id: str, execution_id: str | None, scene: Scene) -> list[Event]:
    """The events of one timeline, without ids; several may fall on one instant."""
    at = scene.instant(random)
    shape = random.choices((_knots, _runs, _lifecycles, _heartbeats, _ticks), (5, 3, 3, 2, 2))[0]
    like = Event(None, sandbox_id, customer_id, at, EventType.START, execution_id=execution_id)
    return shape(random, like, scene)


def _knots(random: Random, like: Event, scene: Scene) -> list[Event]:
    """A few instants, at each of which any combination of types happens: often only starts, stops and updates."""
    events: list[Event] = []
    at = like.event_at
    plain = (EventType.START, EventType.UPDATE, EventType.STOP, EventType.USAGE)
    types = random.choice((plain, tuple(EventType)))
    for _ in range(random.randrange(1, 8)):
        for event_type in types:
            if random.random() < 1.8 / len(types):
                for _ in range(random.choice((1, 1, 1, 2, 3))):
                    events.append(_with_resources(random, replace(like, event_at=at, event_type=event_type)))
        at = at + random.choice(SPANS) if random.random() < 0.75 else scene.instant(random)
    return events


def _runs(random: Random, like: Event, scene: Scene) -> list[Event]:
    """Sessions one after the other, some of which lost their start or their stop."""
    events: list[Event] = []
    at = like.event_at
    for _ in range(random.randrange(1, 5)):
        if random.random() < 0.85:
            events.append(_with_resources(random, replace(like, event_at=at)))
        for _ in range(random.choice((0, 0, 1, 3))):
            at += random.choice(SPANS[:9])
            events.append(_with_resources(random, replace(like, event_at=at, event_type=EventType.UPDATE)))
        for _ in range(random.choice((0, 0, 0, 1, 2))):
            at += random.choice(SPANS)
            if random.random() < 0.8:
                events.append(_with_resources(random, replace(like, event_at=at, event_type=EventType.PAUSE)))
            at += random.choice(SPANS)
            if random.random() < 0.8:
                events.append(_with_resources(random, replace(like, event_at=at, event_type=EventType.RESUME)))
        at += random.choice(SPANS)
        if random.random() < 0.7:
            events.append(_with_resources(random, replace(like, event_at=at, event_type=EventType.STOP)))
        at += random.choice((timedelta(0), *SPANS))
    return events


def _lifecycles(random: Random, like: Event, scene: Scene) -> list[Event]:
    """A start, updates that mostly repeat what it names, a stop; once or several times, with an exception now and then."""
    events: list[Event] = []
    at = like.event_at
    word = _with_resources(random, like)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        events.append(replace(word, event_at=at))
        update = replace(word, tokens=None, event_type=random.choice((EventType.UPDATE, EventType.UPDATE, EventType.HEARTBEAT)))
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            at += random.choice((timedelta(0), MICROSECOND, *SPANS[:6]))
            chance = random.random()
            if chance < 0.1:
                events.append(replace(update, event_at=at, memory_gb=None))
            elif chance < 0.15:
                events.append(_with_resources(random, replace(update, event_at=at)))
            else:
                events.append(replace(update, event_at=at))
        at += random.choice((timedelta(0), MICROSECOND, *SPANS[:6]))
        if random.random() < 0.85:
            stop = replace(word, event_at=at, tokens=None, event_type=EventType.STOP)
            events.append(stop if random.random() < 0.5 else _with_resources(random, stop))
        at += random.choice((timedelta(0), *SPANS))
    return events


def _heartbeats(random: Random, like: Event, scene: Scene) -> list[Event]:
    """A collector that ticks: most ticks say nothing new, some ticks are missing."""
    beat = random.choice((EventType.UPDATE, EventType.HEARTBEAT))
    now = _with_resources(random, replace(like, event_type=beat), absent=0)
    events = [_with_resources(random, like)] if random.random() < 0.7 else []
    every = random.choice((timedelta(seconds=1), timedelta(seconds=60), timedelta(minutes=20), 7 * HOUR))
    for _ in range(random.randrange(2, 25)):
        now = replace(now, event_at=now.event_at + every * random.choice((1, 1, 1, 1, 4)))
        if random.random() < 0.15:
            now = _with_resources(random, now)
        events.append(now)
    if random.random() < 0.6:
        events.append(replace(now, event_at=now.event_at + every, event_type=EventType.STOP))
    return events


def _ticks(random: Random, like: Event, scene: Scene) -> list[Event]:
    """A collector that ticks every few seconds: long rows of the same word, now and then another between or on top of them."""
    events: list[Event] = []
    at = like.event_at.replace(microsecond=random.choice((0, 0, 1, 999_999)))
    step = random.choice((1, 5, 20, 60, 61))
    beat = random.choice((EventType.UPDATE, EventType.HEARTBEAT))
    word = _with_resources(random, replace(like, event_type=beat))
    for _ in range(random.randrange(10, 90)):
        events.append(replace(word, event_at=at))
        chance = random.random()
        if chance < 0.05:
            word = _with_resources(random, word)
        elif chance < 0.12:
            between = at + timedelta(microseconds=random.choice((0, 1, 500_000)))
            events.append(_with_resources(random, replace(like, event_at=between, event_type=random.choice(list(EventType)))))
        elif chance < 0.14:
            at += random.choice(SPANS)
        at += timedelta(seconds=step)
    return events


def _with_resources(random: Random, event: Event, absent: float = 0.2) -> Event:
    """With a snapshot of resources, some of which are absent; a stop often names none, and recorded usage never any."""
    nothing = replace(event, vcpu_count=None, memory_gb=None, storage_gb=None, gpu_count=None, tokens=None)
    if event.event_type in _CLOSING and random.random() < 0.4:
        nothing = event = _with_reported_start(random, event)
    if event.event_type is EventType.USAGE or random.random() < 0.06:
        return replace(nothing, tokens=random.choice(TOKENS))
    if random.random() < (0.5 if event.event_type in _CLOSING else absent):
        return nothing

    def one_of(values: Sequence[Decimal]) -> Decimal | None:
        return None if random.random() < absent else random.choice(values)

    return replace(
        event,
        vcpu_count=one_of(VCPU_COUNTS),
        memory_gb=one_of(MEMORY_GB),
        storage_gb=one_of(STORAGE_GB),
        gpu_count=random.choice(GPU_COUNTS) if random.random() < 0.15 else None,
        tokens=random.choice(TOKENS) if random.random() < 0.15 else None,
    )


def _with_reported_start(random: Random, event: Event) -> Event:
    """A stop or a pause that reports when its session started."""
    span = random.choice((timedelta(0), *SPANS))
    if random.random() < 0.5:
        return replace(event, started_at=event.event_at - span)
    return replace(event, duration_seconds=Decimal(span // MICROSECOND).scaleb(-6))


def _with_ids(random: Random, customer_id: str, events: list[Event]) -> list[Event]:
    """Ids whose order has nothing to do with time, of several lengths.

    A few events have none. Only ones that are alone of their type at their instant, since which of several wins would
    then depend on how the id is derived.
    """
    numbers = list(range(1, 5 * len(events) + 1))
    random.shuffle(numbers)
    moments = [(event.sandbox_id, event.event_at, event.event_type) for event in events]
    with_ids: list[Event] = []
    for event, moment, number in zip(events, moments, numbers, strict=False):
        has_none = moments.count(moment) == 1 and random.random() < 0.08
        with_ids.append(replace(event, event_id=None if has_none else f"{customer_id}-{number:x}"))
    return with_ids


def _arrive(random: Random, events: list[Event]) -> list[Event]:
    """The order of arrival: mostly shuffled, with repeats, contradictions and rows that name another user."""
    rows = list(events)
    if random.random() < 0.7:
        random.shuffle(rows)
    # Which of several events of a kind at one instant wins depends on their ids; of one without, on how it is derived.
    without_id = {(event.sandbox_id, event.event_at, event.event_type) for event in events if event.event_id is None}
    for event in list(rows):
        dice = random.random()
        if dice < 0.10:
            rows.insert(random.randrange(len(rows) + 1), event)
        elif dice < 0.13 and event.event_id is not None:
            other = _contradiction(random, event)
            if (other.sandbox_id, other.event_at, other.event_type) not in without_id:
                rows.insert(random.randrange(len(rows) + 1), other)
        elif dice < 0.15:
            # Last, so that the sandbox is known to be this customer's by then.
            rows.append(replace(event, event_id=f"{event.sandbox_id}-{len(rows)}-other", user_id="another-user"))
    return rows


def _contradiction(random: Random, event: Event) -> Event:
    """The same event_id with other content; the one that lands first counts."""
    if event.event_type is EventType.USAGE:
        return replace(event, tokens=(event.tokens or Decimal(0)) + 1)
    changes = (
        replace(event, event_at=event.event_at + random.choice(SPANS)),
        replace(event, vcpu_count=Decimal("13.5") if event.vcpu_count is None else None),
        replace(event, event_type=random.choice([kind for kind in _OF_SANDBOXES if kind is not event.event_type])),
    )
    return random.choice(changes)


def to_jsonl(rows_of: Batch | History, folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Write landing's input in arrival order: one file of events, one of subscription records."""
    random = Random(seed)
    events = [event_row(event, random) for event in rows_of.events]
    return _write(folder / "events.jsonl", events), _write(
        folder / "subscriptions.jsonl", map(subscription_row, rows_of.subscriptions)
    )


def to_jsonl_parts(rows_of: Batch | History, folder: Path, files: int, *, seed: int = 0) -> list[Path]:
    """The events alone, in up to so many files, to be landed in this order; `seed` draws how each row is spelt."""
    random = Random(seed)
    rows = [event_row(event, random) for event in rows_of.events]
    size = max(1, -(-len(rows) // files))
    parts = [rows[at : at + size] for at in range(0, len(rows), size)] or [[]]
    return [_write(folder / f"events-{number:03d}.jsonl", part) for number, part in enumerate(parts, 1)]


def records_to_jsonl(batch: Batch, folder: Path) -> tuple[Path, Path, Path]:
    """Customer records, credit grants, and voids of grants."""
    return (
        _write(folder / "customers.jsonl", map(customer_row, batch.customers)),
        _write(folder / "credit_grants.jsonl", map(grant_row, batch.grants)),
        _write(folder / "voids.jsonl", map(void_row, batch.grant_voids)),
    )


def event_voids_to_jsonl(voids: Iterable[Void], folder: Path) -> Path:
    """Voids of events."""
    return _write(folder / "event_voids.jsonl", map(void_row, voids))


def listings_to_jsonl(listings: Iterable[ListingPart], path: Path) -> Path:
    """Listings of running sandboxes."""
    return _write(path, map(listing_row, listings))


def _write(path: Path, rows: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path
