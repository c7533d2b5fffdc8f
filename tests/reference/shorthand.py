"""Short functions that write small histories, for tests that read as specifications."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from .acceptance import accept
from .customers import LONG_AGO
from .engine import compute
from .price_book import PriceBook
from .records import DailyUsage, Event, EventType, Invoice, Line, LineType, ListingPart, Result, Session, SubscriptionRecord

DAY = "2024-02-10"
"""An ordinary day; February 2024 has 29 days."""
SEEDS = Path(__file__).resolve().parents[2] / "seeds"


def at(text: str) -> datetime:
    """'10:00' on DAY, '2024-03-01 10:00', or '2024-03-01'; UTC."""
    return datetime.fromisoformat(text if "-" in text else f"{DAY} {text}").replace(tzinfo=UTC)


def event(
    event_type: EventType,
    when: str,
    vcpu: str | None = None,
    memory: str | None = None,
    storage: str | None = None,
    *,
    id: str | None = None,
    sandbox: str = "sandbox",
    user: str = "customer",
    execution: str | None = None,
    started: str | None = None,
    duration: str | None = None,
) -> Event:
    return Event(
        event_id=id or f"{sandbox}-{execution}-{event_type}-{when}",
        sandbox_id=sandbox,
        user_id=user,
        event_at=at(when),
        event_type=event_type,
        vcpu_count=Decimal(vcpu) if vcpu else None,
        memory_gb=Decimal(memory) if memory else None,
        storage_gb=Decimal(storage) if storage else None,
        execution_id=execution,
        started_at=at(started) if started else None,
        duration_seconds=Decimal(duration) if duration else None,
    )


def start(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.START, when, vcpu, memory, storage, **more)


def update(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.UPDATE, when, vcpu, memory, storage, **more)


def heartbeat(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.HEARTBEAT, when, vcpu, memory, storage, **more)


def resume(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.RESUME, when, vcpu, memory, storage, **more)


def pause(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.PAUSE, when, vcpu, memory, storage, **more)


def stop(when: str, vcpu: str | None = None, memory: str | None = None, storage: str | None = None, **more: str) -> Event:
    return event(EventType.STOP, when, vcpu, memory, storage, **more)


def on(plan_id: str, since: str, customer: str = "customer", *, is_trial: bool = False) -> SubscriptionRecord:
    return SubscriptionRecord(customer, plan_id, at(since), is_trial)


def due(
    events: Iterable[Event],
    records: Iterable[SubscriptionRecord] = (),
    *,
    as_of: str = "2024-06-01",
    seeds: Path = SEEDS,
    heartbeat: int | None = None,
    books_open_at: datetime = LONG_AGO,
    listings: Iterable[ListingPart] = (),
) -> Result:
    """Everything due, from rows in arrival order."""
    accepted = accept(events, books_open_at).events
    prices = PriceBook.read(seeds)
    return compute(accepted, records, prices, at(as_of), heartbeat, books_open_at=books_open_at, listing_parts=listings)


def listing(when: str, *sandbox_ids: str, scope: str | None = None, part: int = 1, parts: int = 1) -> ListingPart:
    return ListingPart(at(when), sandbox_ids, scope, part, parts)


def spans(sessions: Iterable[Session]) -> list[str]:
    """'10:00-12:00 stopped', on DAY in minutes; other instants in full."""
    return [f"{_short(s.started_at)}-{_short(s.ended_at)} {s.end_reason}" for s in sessions]


def _short(instant: datetime) -> str:
    is_minute = instant.second == instant.microsecond == 0
    return f"{instant:%H:%M}" if f"{instant:%Y-%m-%d}" == DAY and is_minute else f"{instant:%Y-%m-%dT%H:%M:%S.%f}"


def hours(session: Session, meter_id: str = "vcpu") -> Any:
    """A session's resource x hours, a Decimal."""
    return session.quantities[meter_id] / 3600


def columns(rows: Iterable[object], *names: str) -> list[tuple[Any, ...]]:
    """Some fields of each row."""
    return [tuple(getattr(row, name) for name in names) for row in rows]


def lines_of(result: Result, meter_id: str) -> list[Line]:
    return [line for line in result.lines if line.meter_id == meter_id]


def fees_of(result: Result) -> list[Line]:
    return [line for line in result.lines if line.line_type is LineType.FEE]


def days_of_meter(result: Result, meter_id: str) -> list[DailyUsage]:
    return [day for day in result.usage_daily if day.meter_id == meter_id]


def invoice_of(result: Result, period: str) -> Invoice:
    (invoice,) = [invoice for invoice in result.invoices if invoice.period == period]
    return invoice
