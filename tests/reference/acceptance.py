"""Which landed rows are events, in the order they arrived. Billing rules, section 3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from .records import Event

CONFLICTING_DUPLICATE = "conflicting_duplicate"
USER_MISMATCH = "user_mismatch"
BEFORE_BOOKS_OPEN = "before_books_open"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Acceptance:
    """The received rows by outcome: accepted + duplicates + quarantined = received."""

    events: list[Event] = field(default_factory=list)
    """In order of arrival; each has an event_id."""
    duplicates: int = 0
    quarantined: list[tuple[Event, str]] = field(default_factory=list)
    """With the reason."""


def accept(received: Iterable[Event], books_open_at: datetime = LONG_AGO) -> Acceptance:
    """Accept well-formed rows in order of arrival: the first row with an event_id, and the first user of a sandbox, is valid.

    A row that was quarantined counts for nothing: neither its event_id nor its user is taken.
    """
    acceptance = Acceptance()
    event_by_id: dict[str, Event] = {}
    user_of_sandbox: dict[str, str] = {}
    for row in received:
        event_id = row.event_id or derived_event_id(row)
        event = replace(row, event_id=event_id)
        earlier = event_by_id.get(event_id)
        if row.event_at < books_open_at:
            acceptance.quarantined.append((event, BEFORE_BOOKS_OPEN))
        elif earlier == event:
            acceptance.duplicates += 1
        elif earlier is not None:
            acceptance.quarantined.append((event, CONFLICTING_DUPLICATE))
        elif user_of_sandbox.get(event.sandbox_id, event.user_id) != event.user_id:
            acceptance.quarantined.append((event, USER_MISMATCH))
        else:
            event_by_id[event_id] = event
            user_of_sandbox[event.sandbox_id] = event.user_id
            acceptance.events.append(event)
    return acceptance


def derived_event_id(event: Event) -> str:
    """An id from the content (sandbox, user, timestamp, type, resources), so that an exact repeat is the same event.

    The warehouse derives another text; the two only agree on which rows are the same event.
    """
    resources = (event.vcpu_count, event.memory_gb, event.storage_gb)
    content = [event.sandbox_id, event.user_id, event.event_at.isoformat(), event.event_type.value]
    content += ["" if value is None else str(value.normalize()) for value in resources]
    later = ("gpu_count", "tokens", "duration_seconds")
    content += [f"{name}={value.normalize()}" for name in later if (value := getattr(event, name)) is not None]
    content += [] if event.started_at is None else [f"started_at={event.started_at.isoformat()}"]
    return "derived-" + hashlib.sha256(repr(content).encode()).hexdigest()
