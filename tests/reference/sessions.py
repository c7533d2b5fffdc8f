"""Derives a sandbox's sessions from its events by the state table. Billing rules, section 4."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby

from .customers import Customer
from .exact import seconds, to_decimal
from .listings import Listings
from .price_book import Meter
from .records import EndReason, Event, EventType, IgnoredBecause, Session

Resources = dict[str, Fraction]
"""By resource column, in units of the resource."""
Carried = tuple[datetime, dict[str, Fraction]]
"""Quantities that events of one instant carried, by column. Billing rules, section 3."""


_HELD_WHILE_PAUSED = ("storage_gb",)


@dataclass(frozen=True)
class Listed:
    """Listings of running sandboxes, as a session of one execution is compared with them."""

    listings: Listings
    others_opened_at: Collection[datetime]
    """When other executions of the sandbox open."""


@dataclass
class Run:
    """A session during and after the processing of its events."""

    started_at: datetime
    plan_id: str
    maximum: timedelta | None
    is_start_missing: bool
    last_event_at: datetime
    opened_with: dict[str, Fraction | None] = field(default_factory=dict)
    """What its opening names; None: not named."""
    defaults: Resources = field(default_factory=dict)
    """What its plan's default sandbox has."""
    closing: Resources = field(default_factory=dict)
    """What its first stop or pause that names a resource names."""
    changes: list[tuple[datetime, Resources, bool]] = field(default_factory=list)
    """After the opening: the instant, what an event names then, and whether the session is paused from there on."""
    is_paused: bool = False
    paused_at: datetime | None = None
    paused_before: timedelta = timedelta(0)
    """The pauses that have ended."""
    carried: list[Carried] = field(default_factory=list)
    """The quantities that were carried while it ran."""
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    lost_at: datetime | None = None
    """When the heartbeat timeout ended it, or would have if its plan's maximum had not."""

    @property
    def inferred_end(self) -> datetime | None:
        """Its end without a stop event: at its plan's maximum, or at its last event if later; None without a maximum, and while
        it is paused.
        """
        if self.limit_at is None:
            return None
        return max(self.limit_at, self.last_event_at)

    @property
    def limit_at(self) -> datetime | None:
        """When it reaches its plan's maximum. Pauses do not count."""
        if self.maximum is None or self.is_paused:
            return None
        return self.started_at + self.maximum + self.paused_before

    def pause(self, instant: datetime) -> None:
        if not self.is_paused:
            self.is_paused, self.paused_at = True, instant

    def resume(self, instant: datetime) -> None:
        if self.is_paused:
            assert self.paused_at is not None
            self.paused_before += instant - self.paused_at
            self.is_paused, self.paused_at = False, None

    def end(self, ended_at: datetime, reason: EndReason) -> None:
        self.ended_at = ended_at
        self.end_reason = reason

    def end_its_pause(self, others_opened_at: Iterable[datetime]) -> None:
        """If it ended while it was paused: another execution of the sandbox ends it before."""
        ended_at = self.ended_at
        if self.is_paused and ended_at is not None and self.end_reason is not EndReason.STOPPED:
            opened_at = min((instant for instant in others_opened_at if self.last_event_at < instant < ended_at), default=None)
            if opened_at is not None:
                self.end(opened_at, EndReason.STOP_MISSING)

    def hear(self, sandbox_id: str, listed: Listed, next_started_at: datetime | None) -> None:
        """Correct the end by listings, unless it was stopped or is paused. `next_started_at`: of the next session, if any.

        From the instant at which another execution opens, listings speak of that one; if one has named the sandbox before, this
        session is over then.
        """
        if self.end_reason is EndReason.STOPPED or self.is_paused:
            return
        assert self.ended_at is not None
        opened_at = min((instant for instant in listed.others_opened_at if instant > self.started_at), default=None)
        heard = listed.listings.of(sandbox_id, min(filter(None, (opened_at, next_started_at)), default=None))
        is_displaced = opened_at is not None and (next_started_at is None or opened_at < next_started_at)
        confirmed_at = max(filter(None, (self.last_event_at, heard.last_listed_at)))
        if self.limit_at is not None and self.end_reason is not EndReason.OPEN:
            if self.lost_at is not None and self.lost_at <= max(self.limit_at, confirmed_at):
                self.end(self.lost_at, EndReason.HEARTBEAT_LOST)
            else:
                self.ended_at = max(self.ended_at, confirmed_at)
        is_gone = heard.last_listing_at is not None and (is_displaced or heard.last_listing_at > confirmed_at)
        if is_gone and confirmed_at <= self.ended_at:
            self.end(confirmed_at, EndReason.GONE_FROM_LISTING)

    @property
    def paused_time(self) -> timedelta:
        """All of its pauses."""
        assert self.ended_at is not None
        return self.paused_before + (timedelta(0) if self.paused_at is None else self.ended_at - self.paused_at)

    def pieces(self) -> list[tuple[datetime, datetime, Resources]]:
        """Its intervals [start, end) with constant resources."""
        assert self.ended_at is not None
        held: Resources = {}
        for column, named in self.opened_with.items():
            held[column] = self.closing.get(column, self.defaults[column]) if named is None else named
        steps: list[tuple[datetime, Resources]] = []
        for instant, named_then, is_paused in self.changes:
            held = held | named_then
            now = {column: value for column, value in held.items() if not is_paused or column in _HELD_WHILE_PAUSED}
            now = {column: now.get(column, Fraction(0)) for column in held}
            if not steps or steps[-1][1] != now:
                steps.append((instant, now))
        if not steps:  # a session of zero length
            return []
        ends = [start for start, _ in steps[1:]] + [self.ended_at]
        return [(start, end, resources) for (start, resources), end in zip(steps, ends, strict=True) if start < end]

    def quantities(self, meters: tuple[Meter, ...]) -> dict[str, Fraction]:
        """Resource x seconds, or the sum of the values of its events, by meter."""
        totals = {meter.meter_id: Fraction(0) for meter in meters}
        for start, end, resources in self.pieces():
            for meter in meters:
                if not meter.is_summed:
                    totals[meter.meter_id] += resources[meter.event_column] * seconds(end - start)
        for _, quantities in self.carried:
            for meter in meters:
                if meter.is_summed:
                    totals[meter.meter_id] += quantities[meter.event_column]
        return totals


@dataclass
class Followed:
    """The result of processing one timeline's events."""

    runs: list[Run]
    carried: list[Carried]
    """All quantities, also outside sessions; each is billed at its instant."""
    ignored: list[tuple[Event, IgnoredBecause]]


def follow(
    events: Iterable[Event],
    customer: Customer,
    heartbeat_timeout: timedelta | None = None,
    others_opened_at: Collection[datetime] = (),
    listed: Listed | None = None,
) -> Followed:
    """One timeline: one sandbox, and one execution of it where events name executions.

    `events` are accepted ones up to the customer's as_of, in any order. `others_opened_at`: when other executions of the sandbox
    start or resume. `listed`: what listings say of the sandbox.
    """
    events = list(events)
    timeline = _Timeline(customer, heartbeat_timeout)
    groups = _by_instant(events)
    reported = timeline.reported_openings(groups)
    carried: list[Carried] = []
    for instant in sorted(groups.keys() | reported):
        together = groups.get(instant, [])
        timeline.take(instant, together, is_reported_opening=instant in reported)
        quantities = {
            column: sum((Fraction(getattr(event, column) or 0) for event in together), Fraction(0))
            for column in timeline.summed_columns
        }
        if any(quantities.values()):
            carried.append((instant, quantities))
    timeline.look_back_from(customer.as_of)
    for run, following in zip(timeline.runs, [*timeline.runs[1:], None], strict=False):
        if listed is not None:
            run.hear(events[0].sandbox_id, listed, following.started_at if following else None)
        run.end_its_pause(others_opened_at)
    for instant, quantities in carried:
        # They belong to the session that began last, unless it had ended before.
        begun = [run for run in timeline.runs if run.started_at <= instant]
        if begun and begun[-1].ended_at is not None and instant <= begun[-1].ended_at:
            begun[-1].carried.append((instant, quantities))
    return Followed(timeline.runs, carried, timeline.ignored)


def carried_by(event: Event, meters: Iterable[Meter]) -> Carried | None:
    """The quantities of an event; None without any."""
    quantities = {meter.event_column: Fraction(getattr(event, meter.event_column) or 0) for meter in meters if meter.is_summed}
    return (event.event_at, quantities) if any(quantities.values()) else None


def reported_openings(events: Iterable[Event], customer: Customer, heartbeat_timeout: timedelta | None = None) -> set[datetime]:
    """When sessions of one timeline open because a later stop or pause reports it. Plans do not matter to it."""
    return _Timeline(customer, heartbeat_timeout).reported_openings(_by_instant(events))


def _by_instant(events: Iterable[Event]) -> dict[datetime, list[Event]]:
    in_order = sorted(events, key=lambda event: event.event_at)
    return {instant: list(group) for instant, group in groupby(in_order, key=lambda event: event.event_at)}


@dataclass(frozen=True)
class _Instant:
    """The events of one instant by their effect."""

    starts: list[Event]
    resumes: list[Event]
    stops: list[Event]
    pauses: list[Event]
    updates: list[Event]
    heartbeats: list[Event]
    quantities_alone: list[Event]
    """Updates that carry quantities and name no resource."""

    @classmethod
    def of(cls, together: list[Event], timeline: _Timeline) -> _Instant:
        def of_type(event_type: EventType) -> list[Event]:
            return [event for event in together if event.event_type is event_type]

        updates = of_type(EventType.UPDATE)
        alone = [event for event in updates if timeline.carries_quantities_alone(event)]
        return cls(
            of_type(EventType.START),
            of_type(EventType.RESUME),
            of_type(EventType.STOP),
            of_type(EventType.PAUSE),
            [event for event in updates if event not in alone],
            of_type(EventType.HEARTBEAT),
            alone,
        )

    @property
    def acts(self) -> bool:
        """Whether anything happens but recorded quantities."""
        return bool(self.starts or self.resumes or self.stops or self.pauses or self.updates or self.heartbeats)


class _Timeline:
    def __init__(self, customer: Customer, heartbeat_timeout: timedelta | None) -> None:
        self.customer = customer
        self.heartbeat_timeout = heartbeat_timeout
        meters = customer.price_book.meters
        self.columns = [meter.event_column for meter in meters if not meter.is_summed]
        self.summed_columns = [meter.event_column for meter in meters if meter.is_summed]
        self.runs: list[Run] = []
        self.running: Run | None = None
        self.sends_heartbeats = False
        """Whether a heartbeat came since the last start or stop."""
        self.is_after_the_first = False
        """Whether an update finds nothing running: after the first event, unless a silence ended what ran."""
        self.ignored: list[tuple[Event, IgnoredBecause]] = []

    def reported_openings(self, groups: Mapping[datetime, list[Event]]) -> set[datetime]:
        """When a session opens because a later stop or pause reports it. `groups`: in order of time."""
        openings: set[datetime] = set()
        opened_at, stopped_at = None, None
        is_known_to_run = False
        """Whether anything before the next stop says that the sandbox ran."""
        heard: list[tuple[datetime, datetime]] = []
        """Since the last stop: when updates came on one day without a pause or a silence between them, first and last."""
        is_interrupted = True
        for instant, together in groups.items():
            at = _Instant.of(together, self)
            if at.stops or at.pauses:
                started_at = min(filter(None, (event.reported_start for event in (*at.stops, *at.pauses))), default=None)
                is_known = opened_at is not None and (stopped_at is None or opened_at > stopped_at)
                is_later = started_at is not None and (stopped_at is None or started_at > stopped_at)
                if started_at is not None and is_later and not is_known:
                    opening = max(started_at, self.customer.books_open_at)
                    is_contradicted = any(first < opening <= last for first, last in heard)
                    openings |= {opening} if opening < instant and not is_contradicted else set()
                is_known_to_run = is_known_to_run or started_at is not None
            if at.starts or at.resumes:
                opened_at, is_known_to_run = instant, True
            if at.updates or at.heartbeats:
                is_known_to_run = True
            if at.stops:
                if is_known_to_run:
                    stopped_at = instant
                is_known_to_run, heard = False, []
            if at.stops or at.pauses:
                is_interrupted = True
            elif at.updates or at.heartbeats:
                if not is_interrupted:
                    last = heard[-1][1]
                    is_silent = self.heartbeat_timeout is not None and instant - last > self.heartbeat_timeout
                    is_interrupted = is_silent or last.date() != instant.date()
                heard.append((instant if is_interrupted else heard.pop()[0], instant))
                is_interrupted = False
        return openings

    def take(self, instant: datetime, together: list[Event], *, is_reported_opening: bool = False) -> None:
        """Process all events of one instant."""
        at = _Instant.of(together, self)
        if at.acts or is_reported_opening:
            self._act(instant, at, is_reported_opening)
        elif at.quantities_alone and self.running and not self._is_silent_at(instant):
            # Only reports that the sandbox still runs.
            self.running.last_event_at = instant

    def _act(self, instant: datetime, at: _Instant, is_reported_opening: bool) -> None:
        opens = [event for event in (_highest(at.starts), _highest(at.resumes)) if event]
        self._end_if_silent(instant, is_restarted=bool(at.starts))
        begins_anew = bool(at.starts or at.stops or is_reported_opening)
        self.sends_heartbeats = bool(at.heartbeats) or (self.sends_heartbeats and not begins_anew)
        before = self.running
        updates, heartbeats = at.updates, at.heartbeats
        named = self._named_together([_highest(updates), _highest(heartbeats), _highest(at.resumes), _highest(at.starts)])
        self._take_state(instant, at, named, is_reported_opening)
        if at.stops and not opens and before is None:
            self.ignored += [(event, IgnoredBecause.STOP_WITHOUT_START) for event in at.stops]
        if self.running is None:
            self.ignored += [(event, IgnoredBecause.PAUSE_WITHOUT_START) for event in at.pauses]
            if not opens:
                self.ignored += [(event, IgnoredBecause.UPDATE_AFTER_STOP) for event in (*updates, *heartbeats)]
                updates, heartbeats = [], []
        for of_a_kind in (at.starts, at.resumes, updates, heartbeats):
            decides = self._named_by(_highest(of_a_kind))
            self.ignored += [(event, IgnoredBecause.SUPERSEDED) for event in of_a_kind if self._named_by(event) != decides]

        # What a closing event names is of the session that it stops, or else of the one that it pauses.
        closing = self._named_together([_highest(at.stops), _highest(at.pauses)])
        closed = before if at.stops else self.running
        if closed and (at.stops or at.pauses):
            closed.closing = {column: value for column, value in closing.items() if value is not None} | closed.closing

    def _named_by(self, event: Event | None) -> list[Fraction | None]:
        return [_named(event, column) for column in self.columns]

    def _named_together(self, events: list[Event | None]) -> dict[str, Fraction | None]:
        """Each resource by the first of the events that names it."""
        values = {column: [_named(event, column) for event in events] for column in self.columns}
        return {column: next((value for value in of if value is not None), None) for column, of in values.items()}

    def carries_quantities_alone(self, event: Event) -> bool:
        carries_any = any(getattr(event, column) is not None for column in self.summed_columns)
        return carries_any and all(value is None for value in self._named_by(event))

    def _take_state(self, instant: datetime, at: _Instant, named: dict[str, Fraction | None], is_reported_opening: bool) -> None:
        is_start = bool(at.starts or (at.resumes and (at.stops or not self.running)))
        is_update = bool(at.updates or at.heartbeats)
        was_running = self.running is not None
        if is_start and at.stops:
            if was_running:
                self._end(instant, EndReason.STOPPED)
            self._open(instant, named, is_start_missing=False)
            if not was_running and not is_reported_opening:
                # A session of zero length: nothing is billed, and it does not run afterwards.
                self._end(instant, EndReason.STOPPED)
        elif is_start:
            if self.running:
                inferred_end = self.running.inferred_end
                self._end(instant if inferred_end is None else min(instant, inferred_end), EndReason.STOP_MISSING)
            self._open(instant, named, is_start_missing=False)
        elif at.stops and self.running:
            self._end(instant, EndReason.STOPPED)
        # else stop_without_start: ignored. Either way an update at this instant or later finds nothing running.
        opens_unseen = is_reported_opening or (is_update and not at.stops and not self.is_after_the_first)
        if self.running is None and opens_unseen:
            self._open(instant, named, is_start_missing=True)
        if self.running:
            if at.resumes or is_reported_opening:
                self.running.resume(instant)
            if at.pauses:
                self.running.pause(instant)
            self.running.last_event_at = instant
            self.running.changes.append(
                (instant, {column: value for column, value in named.items() if value is not None}, self.running.is_paused)
            )
        self.is_after_the_first = True

    def look_back_from(self, as_of: datetime) -> None:
        """End the running session at or before as_of if its maximum or the heartbeat timeout has passed."""
        self._end_if_silent(as_of)
        if self.running is None:
            return
        limit_at = self.running.limit_at
        if limit_at is None or as_of < limit_at:
            self._end(as_of, EndReason.OPEN)
        else:
            inferred_end = self.running.inferred_end
            assert inferred_end is not None
            self._end(min(inferred_end, as_of), EndReason.END_INFERRED)

    def _end_if_silent(self, instant: datetime, is_restarted: bool = False) -> None:
        """With a heartbeat timeout, a longer silence ended a session that sends heartbeats: at its last event plus the timeout,
        or at its inferred end if that was earlier. A later update may open another.
        """
        run, timeout = self.running, self.heartbeat_timeout
        if run is None or timeout is None or not self._is_silent_at(instant):
            return
        lost_at = run.last_event_at + timeout
        run.lost_at = lost_at
        inferred_end = run.inferred_end
        if inferred_end is not None and inferred_end < lost_at:
            self._end(inferred_end, EndReason.STOP_MISSING if is_restarted else EndReason.END_INFERRED)
        else:
            self._end(lost_at, EndReason.HEARTBEAT_LOST)
        self.is_after_the_first = False

    def _is_silent_at(self, instant: datetime) -> bool:
        """Whether the running session had no event for longer than the heartbeat timeout."""
        if self.running is None or self.heartbeat_timeout is None or not self.sends_heartbeats or self.running.is_paused:
            return False
        return instant - self.running.last_event_at > self.heartbeat_timeout

    def _open(self, instant: datetime, named: dict[str, Fraction | None], *, is_start_missing: bool) -> None:
        """A session opens with what its events name, else what its closing event names, else the plan's default sandbox's."""
        self.running = Run(
            started_at=instant,
            plan_id=self.customer.plan_at(instant),
            maximum=self.customer.maximum_session(instant),
            is_start_missing=is_start_missing,
            last_event_at=instant,
            opened_with=named,
            defaults={column: Fraction(self.customer.default_resource(column, instant)) for column in self.columns},
        )
        self.runs.append(self.running)

    def _end(self, instant: datetime, reason: EndReason) -> None:
        assert self.running is not None
        self.running.end(instant, reason)
        self.running = None


def _highest(of_a_kind: list[Event]) -> Event | None:
    """Of several events of a kind at one instant, the one with the highest event_id is used as a whole."""
    return max(of_a_kind, key=lambda event: event.event_id or "", default=None)


def _named(event: Event | None, column: str) -> Fraction | None:
    value = None if event is None else getattr(event, column)
    return None if value is None else Fraction(value)


def session_of(run: Run, sandbox_id: str, execution_id: str, customer: Customer) -> Session:
    """The session record of a run."""
    assert run.ended_at is not None and run.end_reason is not None
    quantities = run.quantities(customer.price_book.meters)
    return Session(
        sandbox_id=sandbox_id,
        execution_id=execution_id,
        customer_id=customer.customer_id,
        plan_id=run.plan_id,
        started_at=run.started_at,
        ended_at=run.ended_at,
        end_reason=run.end_reason,
        is_start_missing=run.is_start_missing,
        quantities={meter_id: to_decimal(quantity) for meter_id, quantity in quantities.items()},
        paused_time=run.paused_time,
    )
