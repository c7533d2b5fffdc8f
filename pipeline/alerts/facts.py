"""ledger/alerts/ and ledger/alert_deliveries/: what was raised, and what became of it on each channel. Append-only.

alerts            a row an alert and channel: the channels that were configured when it was raised ('' where none was)
alert_deliveries  a row an attempt that ended: delivered, failed (to be tried again) or rejected (for good)
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipeline.errors import BillhouseError
from pipeline.home import Home
from pipeline.landing.checks import parquet_files
from pipeline.money import format_amount, format_money
from pipeline.plain_text import plain_line, plain_text
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.collections import ensure_collection

_MONEY_LIMITS = ("monthly_spend", "credit")
"""Limits whose unit is a currency."""
_INSTANT = pa.timestamp("us", tz="UTC")
ALERTS = pa.schema(
    {
        "alert_id": pa.string(),
        "channel": pa.string(),
        "kind": pa.string(),
        "customer_id": pa.string(),
        "subject": pa.string(),
        "text": pa.string(),
        "reached_at": _INSTANT,
        "raised_at": _INSTANT,
        "is_suppressed": pa.bool_(),
    }
)
DELIVERIES = pa.schema(
    {
        "alert_id": pa.string(),
        "channel": pa.string(),
        "outcome": pa.string(),
        "attempts": pa.int32(),
        "detail": pa.string(),
        "tried_at": _INSTANT,
    }
)


class Outcome(StrEnum):
    """How the attempts of one call to send ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Nobody answered, or not well: it is tried again at the next call."""
    REJECTED = "rejected"
    """The receiver does not want it (4xx): it is not tried again."""


@dataclass(frozen=True)
class OperationalAlert:
    """Something that failed in Billhouse itself."""

    kind: str
    """check_failed, close_failed, publish_failed, sync_failed, credit_note_failed, run_failed or drift."""
    subject: str
    """What failed, as 'publish 2026-09': with the kind and the UTC day, what makes it the same alert."""
    text: str
    """What a person should know, and what to do next. No secrets."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", plain_line(self.subject))
        object.__setattr__(self, "text", plain_text(self.text))


def ensure_alerts(home: Home) -> None:
    """Zero-row files, so that the models find both collections before the first alert."""
    for folder, schema in ((home.alerts, ALERTS), (home.alert_deliveries, DELIVERIES)):
        ensure_collection(home, folder, schema)


@contextmanager
def sending(home: Home, timeout_seconds: float = 300) -> Iterator[None]:
    """One sender at a time."""
    with _holding(home, ".alerts.lock", timeout_seconds):
        finish_interrupted(home)
        yield


@contextmanager
def _raising(home: Home) -> Iterator[None]:
    """One at a time looks whether an alert is kept, and keeps it. Nobody who does so waits for a sender and a slow receiver."""
    with _holding(home, ".raising.lock", timeout_seconds=60):
        finish_interrupted(home)
        yield


@contextmanager
def _holding(home: Home, name: str, timeout_seconds: float) -> Iterator[None]:
    lock = FileLock(home.path / name, is_singleton=True, mode=0o600)
    try:
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        raise BillhouseError("Another command has been at the alerts for minutes.", "Wait until it is done.") from None
    try:
        yield
    finally:
        lock.release()


def raise_alert(home: Home, alert: OperationalAlert, channels: Sequence[str], *, now: datetime | None = None) -> str:
    """Keep an alert, to be sent at the next call of `send_alerts`; returns its id. The same failure on one day is one alert.

    One that was kept where no channel was configured goes out after all if it is raised again where one is.
    """
    now = now or datetime.now(UTC)
    digest = hashlib.sha256("\x1f".join([alert.kind, alert.subject, f"{now:%Y-%m-%d}"]).encode()).hexdigest()
    alert_id = f"ALT-{digest[:16].upper()}"
    with _raising(home):
        ensure_alerts(home)
        known = _known_channels(home, alert_id)
        if not (known - {""} if channels else known):
            facts = {"kind": alert.kind, "customer_id": None, "subject": alert.subject, "text": alert.text, "reached_at": now}
            record(home, ALERTS, [
                {"alert_id": alert_id, "channel": channel, "raised_at": now, "is_suppressed": False, **facts}
                for channel in (channels or ("",))
            ])  # fmt: skip
    return alert_id


def _known_channels(home: Home, alert_id: str) -> set[str]:
    with duckdb.connect() as connection:
        found = connection.execute(f"select channel from {_all(home.alerts)} where alert_id = $alert_id", {"alert_id": alert_id})
        return {channel for (channel,) in found.fetchall()}


def _all(folder: Path) -> str:
    return parquet_files(folder, "*.parquet")


def raise_limit_alerts(home: Home, channels: Sequence[str], max_age: timedelta, now: datetime) -> int:
    """Keep the limits' alerts that the last build found and that were not kept before; returns how many.

    Those reached longer ago than `max_age` are kept as suppressed: whoever loads a year of history wants no flood.
    """
    found = new_limit_alerts(home)
    rows = []
    for alert in found:
        customer, percent, limit, period = (alert[name] for name in ("customer_id", "threshold_percent", "limit_kind", "period"))
        observed, allowed, unit = alert["observed"], alert["allowed"], alert["unit"]
        reached = (
            f"{format_amount(observed, unit)} of {format_money(allowed, unit)}"
            if limit in _MONEY_LIMITS
            else f"{observed.normalize():f} of {allowed.normalize():f} {unit}"
        )
        text = f"{customer} came to {percent} % of its limit {limit} in {period}: {reached}."
        facts = {
            "alert_id": alert["alert_id"],
            "kind": "limit",
            "customer_id": customer,
            "subject": f"{customer}: {percent} % of {limit} in {period}",
            "text": text,
            "reached_at": alert["reached_at"],
            "raised_at": now,
            "is_suppressed": alert["reached_at"] < now - max_age,
        }
        rows += [{"channel": channel, **facts} for channel in (channels or ("",))]
    record(home, ALERTS, rows)
    return len(found)


def new_limit_alerts(home: Home) -> list[dict[str, Any]]:
    """The limits' alerts that the last build found and that are not kept yet, oldest first."""
    ensure_alerts(home)
    if not home.analysts_file.exists():
        return []
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        reports.execute("set TimeZone = 'UTC'")
        result = reports.execute(
            f"""
            select alert_id, customer_id, limit_kind, period, threshold_percent, observed, allowed, unit, reached_at
            from billing.usage_alerts
            where alert_id not in (select alert_id from {_all(home.alerts)})
            order by reached_at, alert_id"""
        )
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def due_alerts(home: Home, channels: Sequence[str]) -> list[dict[str, Any]]:
    """What is still to be sent, oldest first, a row an alert and channel."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            select * exclude (is_suppressed) from {_all(home.alerts)} as alerts
            where
                not is_suppressed
                and list_contains($channels, channel)
                and (alert_id, channel) not in (
                    select (alert_id, channel) from {_all(home.alert_deliveries)} where outcome in ('delivered', 'rejected')
                )
            order by raised_at, reached_at, alert_id, channel""",
            {"channels": list(channels)},
        )
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def alert_states(home: Home, limit: int = 50) -> list[dict[str, Any]]:
    """The latest alerts, a row an alert and channel, with what became of each, as of now."""
    ensure_alerts(home)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            with latest as (
                select alert_id, channel, arg_max(outcome, (outcome <> 'failed', tried_at)) as outcome
                from {_all(home.alert_deliveries)}
                group by alert_id, channel
            )
            select
                alert_id, kind, subject, text, nullif(alerts.channel, '') as channel, raised_at,
                case
                    when is_suppressed then 'suppressed'
                    when alerts.channel = '' then 'kept'
                    else coalesce(outcome, 'pending')
                end as state
            from {_all(home.alerts)} as alerts left join latest using (alert_id, channel)
            order by raised_at desc, reached_at desc, alert_id, channel limit $limit""",
            {"limit": limit},
        )
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def count_unsent(home: Home, connection: duckdb.DuckDBPyConnection) -> int:
    """How many alerts wait for a channel: never sent to it, or not yet with success."""
    ensure_alerts(home)
    counted = connection.execute(
        f"""
        select count(*) from {_all(home.alerts)} as alerts
        where
            not is_suppressed
            and channel <> ''
            and (alert_id, channel) not in (
                select (alert_id, channel) from {_all(home.alert_deliveries)} where outcome in ('delivered', 'rejected')
            )"""
    ).fetchone()
    assert counted is not None
    return int(counted[0])


def record(home: Home, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Append rows to the ledger as one file: all of them, or none."""
    if not rows:
        return
    folder = home.alerts if schema is ALERTS else home.alert_deliveries
    with append_files(home, "alerts") as files:
        target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), files.file(target))
