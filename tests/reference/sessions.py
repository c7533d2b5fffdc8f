"""Derives a sandbox's sessions from its events by the state table. Billing rules, section 4."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby

from .customers import Customer
from .exact import seconds, to_decimal
from .price_book import Meter
from .records import EndReason, Event, EventType, IgnoredBecause, Session

Resources = dict[str, Fraction]
"""By resource column, in units of the resource."""
Carried = tuple[datetime, dict[str, Fraction]]
"""Quantities that events of one instant carried, by column. Billing rules, section 3."""


@dataclass
class Run:
    """A session during and after the processing of its events."""

    started_at: datetime
    plan_id: str
    maximum: timedelta | None
    is_start_missing: bool
    last_event_at: datetime
    steps: list[tuple[datetime, Resources]] = field(default_factory=list)
    """From each instant on, these resources."""
    carried: list[Carried] = field(default_factory=list)
    """The quantities that were carried while it ran."""
    ended_at: datetime | None = None
    end_reason: EndReason | None = None

    @property
    def inferred_end(self) -> datetime | None:
        """Its end without a stop event: at its plan's maximum, or at its last event if later; None without a maximum."""
        if self.maximum is None:
            return None
        return max(self.started_at + self.maximum, self.last_event_at)

    def end(self, ended_at: datetime, reason: EndReason) -> None:
        self.ended_at = ended_at
        self.end_reason = reason

    def pieces(self) -> list[tuple[datetime, datetime, Resources]]:
        """Its intervals [start, end) with constant resources."""
        assert self.ended_at is not None
        ends = [start for start, _ in self.steps[1:]] + [self.ended_at]
        return [(start, end, resources) for (start, resources), end in zip(self.steps, ends, strict=True) if start < end]

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


def follow(events: Iterable[Event], customer: Customer, heartbeat_timeout: timedelta | None = None) -> Followed:
    """One timeline: one sandbox, and one execution of it where events name executions.

    `events` are accepted ones up to the customer's as_of, in any order.
    """
    timeline = _Timeline(customer, heartbeat_timeout)
    in_order = sorted(events, key=lambda event: event.event_at)
    carried: list[Carried] = []
    for instant, group in groupby(in_order, key=lambda event: event.event_at):
        together = list(group)
        timeline.take(instant, together)
        quantities = {
            column: sum((Fraction(getattr(event, column) or 0) for event in together), Fraction(0))
            for column in timeline.summed_columns
        }
        if any(quantities.values()):
            carried.append((instant, quantities))
    timeline.look_back_from(customer.as_of)
    for instant, quantities in carried:
        # They belong to the session that began last, unless it had ended before.
        begun = [run for run in timeline.runs if run.started_at <= instant]
        if begun and begun[-1].ended_at is not None and instant <= begun[-1].ended_at:
            begun[-1].carried.append((instant, quantities))
    return Followed(timeline.runs, carried, timeline.ignored)


class _Timeline:
    def __init__(self, customer: Customer, heartbeat_timeout: timedelta | None) -> None:
        self.customer = customer
        self.heartbeat_timeout = heartbeat_timeout
        meters = customer.price_book.meters
        self.columns = [meter.event_column for meter in meters if not meter.is_summed]
        self.summed_columns = [meter.event_column for meter in meters if meter.is_summed]
        self.runs: list[Run] = []
        self.running: Run | None = None
        self.is_after_a_stop = False
        self.ignored: list[tuple[Event, IgnoredBecause]] = []

    def take(self, instant: datetime, together: list[Event]) -> None:
        """Process all events of one instant."""
        starts = [event for event in together if event.event_type is EventType.START]
        stops = [event for event in together if event.event_type is EventType.STOP]
        updates = [event for event in together if event.event_type is EventType.UPDATE]
        quantities_alone = [event for event in updates if self._carries_quantities_alone(event)]
        updates = [event for event in updates if event not in quantities_alone]
        if starts or stops or updates:
            self._act(instant, starts, stops, updates)
        elif quantities_alone and self.running and not self._is_silent_at(instant):
            # Only reports that the sandbox still runs.
            self.running.last_event_at = instant

    def _act(self, instant: datetime, starts: list[Event], stops: list[Event], updates: list[Event]) -> None:
        start, stop, update = _highest(starts), _highest(stops), _highest(updates)
        self._end_if_silent(instant, is_restarted=start is not None)
        ran_before = self.running is not None
        self._take_state(instant, start, stop, update)
        if stop and not start and not ran_before:
            self.ignored += [(event, IgnoredBecause.STOP_WITHOUT_START) for event in stops]
        if self.running is None and not start:
            self.ignored += [(event, IgnoredBecause.UPDATE_AFTER_STOP) for event in updates]
            updates = []
        for decides, of_a_kind in ((start, starts), (update, updates)):
            self.ignored += [
                (event, IgnoredBecause.SUPERSEDED) for event in of_a_kind if self._named_by(event) != self._named_by(decides)
            ]

    def _named_by(self, event: Event | None) -> list[Fraction | None]:
        return [_named(event, column) for column in self.columns]

    def _carries_quantities_alone(self, event: Event) -> bool:
        carries_any = any(getattr(event, column) is not None for column in self.summed_columns)
        return carries_any and all(value is None for value in self._named_by(event))

    def _take_state(self, instant: datetime, start: Event | None, stop: Event | None, update: Event | None) -> None:
        if start and stop:
            if self.running:
                self._end(instant, EndReason.STOPPED)
                self._open(instant, start, update)
            else:
                # A session of zero length: nothing is billed, and it does not run afterwards.
                self._open(instant, start, update)
                self._end(instant, EndReason.STOPPED)
                self.is_after_a_stop = True
        elif start:
            if self.running:
                inferred_end = self.running.inferred_end
                self._end(instant if inferred_end is None else min(instant, inferred_end), EndReason.STOP_MISSING)
            self._open(instant, start, update)
        elif stop:
            if self.running:
                self._end(instant, EndReason.STOPPED)
            # else stop_without_start: ignored. Either way an update at this instant or later finds nothing running.
            self.is_after_a_stop = True
        elif update:
            if self.running:
                self._change(instant, update)
            elif not self.is_after_a_stop:
                self._open(instant, None, update)
            # else update_after_stop: ignored.

    def look_back_from(self, as_of: datetime) -> None:
        """End the running session at or before as_of if its maximum or the heartbeat timeout has passed."""
        self._end_if_silent(as_of)
        if self.running is None:
            return
        maximum = self.running.maximum
        if maximum is None or as_of < self.running.started_at + maximum:
            self._end(as_of, EndReason.OPEN)
        else:
            inferred_end = self.running.inferred_end
            assert inferred_end is not None
            self._end(min(inferred_end, as_of), EndReason.END_INFERRED)

    def _end_if_silent(self, instant: datetime, is_restarted: bool = False) -> None:
        """With a heartbeat timeout, a longer silence ended the session: at its last event plus the timeout, or at its
        inferred end if that was earlier. A later update may open another.
        """
        run, timeout = self.running, self.heartbeat_timeout
        if run is None or timeout is None or not self._is_silent_at(instant):
            return
        lost_at = run.last_event_at + timeout
        inferred_end = run.inferred_end
        if inferred_end is not None and inferred_end < lost_at:
            self._end(inferred_end, EndReason.STOP_MISSING if is_restarted else EndReason.END_INFERRED)
        else:
            self._end(lost_at, EndReason.HEARTBEAT_LOST)

    def _is_silent_at(self, instant: datetime) -> bool:
        """Whether the running session had no event for longer than the heartbeat timeout."""
        if self.running is None or self.heartbeat_timeout is None:
            return False
        return instant - self.running.last_event_at > self.heartbeat_timeout

    def _open(self, instant: datetime, start: Event | None, update: Event | None) -> None:
        """A session opens with the update's resources, else the start's, else the plan's default sandbox's."""
        resources: Resources = {}
        for column in self.columns:
            value = _named(update, column)
            if value is None:
                value = _named(start, column)
            if value is None:
                value = Fraction(self.customer.default_resource(column, instant))
            resources[column] = value
        self.running = Run(
            started_at=instant,
            plan_id=self.customer.plan_at(instant),
            maximum=self.customer.maximum_session(instant),
            is_start_missing=start is None,
            last_event_at=instant,
            steps=[(instant, resources)],
        )
        self.runs.append(self.running)
        self.is_after_a_stop = False

    def _change(self, instant: datetime, update: Event) -> None:
        """Change the resources from here on; those that the update does not name are unchanged."""
        assert self.running is not None
        _, before = self.running.steps[-1]
        after = dict(before)
        for column in self.columns:
            value = _named(update, column)
            if value is not None:
                after[column] = value
        self.running.last_event_at = instant
        if after != before:
            self.running.steps.append((instant, after))

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
    )
