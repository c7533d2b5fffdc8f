"""To which execution an event without an execution id belongs. Billing rules, section 4."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .records import Event, EventType

_OPENING = (EventType.START, EventType.RESUME)
_CLOSING = (EventType.STOP, EventType.PAUSE)
_CONFIRMING = (EventType.UPDATE, EventType.HEARTBEAT)


@dataclass(frozen=True)
class _Span:
    """A time, ends included, in which an execution runs by the events that name it."""

    execution_id: str
    opened_at: datetime
    ended_at: datetime | None
    """None: nothing ended it."""

    def contains(self, instant: datetime) -> bool:
        return self.opened_at <= instant and (self.ended_at is None or instant <= self.ended_at)


@dataclass(frozen=True)
class Assigned:
    """The events of a customer, each with the execution that it belongs to."""

    events: list[Event]
    ignored: list[Event]
    """Those of sandboxes with executions that belong to none, as they were sent. Their quantities are still billed."""
    moved: set[str | None]
    """The ids of events that name no execution and belong to one."""

    def as_sent(self, event: Event) -> Event:
        return replace(event, execution_id=None) if event.event_id in self.moved else event


def assign(events: Iterable[Event], books_open_at: datetime) -> Assigned:
    """Name the execution of each event, where its sandbox has any."""
    of_sandboxes: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        of_sandboxes[event.sandbox_id].append(event)
    assigned = Assigned([], [], set())
    for of_sandbox in of_sandboxes.values():
        spans = _spans(of_sandbox, books_open_at)
        has_executions = any(event.execution_id and _acts(event) for event in of_sandbox)
        for event in of_sandbox:
            if event.execution_id or not has_executions:
                assigned.events.append(event)
                continue
            execution_id = _execution_of(event, spans)
            if execution_id is None and _acts(event):
                assigned.ignored.append(event)
            else:
                assigned.events.append(replace(event, execution_id=execution_id))
                assigned.moved.update([] if execution_id is None else [event.event_id])
    return assigned


def _acts(event: Event) -> bool:
    """Whether the event can have an effect on a session beyond confirming it: not with quantities alone."""
    if event.event_type is EventType.UPDATE:
        resources = (event.vcpu_count, event.memory_gb, event.storage_gb, event.gpu_count)
        return event.tokens is None or any(value is not None for value in resources)
    return event.event_type is not EventType.USAGE


def _execution_of(event: Event, spans: Sequence[_Span]) -> str | None:
    """Of the executions that run at the event's instant, the one that opened last.

    A stop or a pause is rather of one that ran before the instant, any other event of one that runs after it.
    """
    at = event.event_at

    def rank(span: _Span) -> tuple[bool, datetime, str]:
        fits = span.opened_at < at if event.event_type in _CLOSING else span.ended_at is None or at < span.ended_at
        return fits, span.opened_at, span.execution_id

    return max((rank(span) for span in spans if span.contains(at)), default=(None, None, None))[2]


def openings_of_others(events: Iterable[Event], execution_id: str, books_open_at: datetime) -> list[datetime]:
    """When executions of a sandbox other than one open: a start, a resume, a reported start, a first update or heartbeat."""
    return [
        instant
        for other, of_other in _by_execution(events).items()
        if other != execution_id
        for instant in _openings(of_other, books_open_at)
    ]


def _by_execution(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events that name an execution and act on it."""
    own: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.execution_id and _acts(event):
            own[event.execution_id].append(event)
    return own


def _stops(of_execution: Iterable[Event]) -> set[datetime]:
    return {event.event_at for event in of_execution if event.event_type is EventType.STOP}


def _openings(of_execution: Sequence[Event], books_open_at: datetime) -> set[datetime]:
    """Of several starts that are reported at one instant, the earliest counts."""
    opened = {event.event_at for event in of_execution if event.event_type in _OPENING}
    reported: dict[datetime, datetime] = {}
    for event in of_execution:
        if event.reported_start:
            reported[event.event_at] = min(event.reported_start, reported.get(event.event_at, event.reported_start))
    opened |= {max(start, books_open_at) for start in reported.values()}
    first_at = min(event.event_at for event in of_execution)
    if any(event.event_type in _CONFIRMING for event in of_execution if event.event_at == first_at):
        opened |= {first_at} - _stops(of_execution)
    return opened


def _spans(events: Iterable[Event], books_open_at: datetime) -> list[_Span]:
    """When each execution of a sandbox runs, by its own events."""
    own = _by_execution(events)
    spans: list[_Span] = []
    for execution_id, of_execution in own.items():
        stopped = _stops(of_execution)
        opened = _openings(of_execution, books_open_at)
        running_since: datetime | None = None
        for instant in sorted(opened | stopped):
            if running_since is not None:
                spans.append(_Span(execution_id, running_since, instant))
            is_zero_length = instant in opened and instant in stopped and running_since is None
            if is_zero_length:
                spans.append(_Span(execution_id, instant, instant))
            running_since = instant if instant in opened and not is_zero_length else None
        if running_since is not None:
            last_at = max(event.event_at for event in of_execution)
            others = [event for other, of_other in own.items() if other != execution_id for event in of_other]
            later = [event.event_at for event in others if event.event_type in _OPENING and event.event_at > last_at]
            spans.append(_Span(execution_id, running_since, min(later, default=None)))
    return spans
