"""ledger/alerts/ and ledger/alert_deliveries/: the alerts that were raised, and the delivery attempts on each channel.

alerts            one row per alert and channel: the channels that were configured when it was raised ('' if there were none)
alert_deliveries  one row per attempt: delivered, failed (will be retried) or rejected (will not)
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import BillhouseError, NotPossibleError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.plain_text import plain_line, plain_text
from pipeline.core.settings import Settings
from pipeline.core.sql import rows_as_dictionaries
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.collections import INSTANT, Collection

ALERTS = Collection(
    "ledger/alerts",
    pa.schema(
        {
            "alert_id": pa.string(),
            "channel": pa.string(),
            "kind": pa.string(),
            "customer_id": pa.string(),
            "subject": pa.string(),
            "text": pa.string(),
            "reached_at": INSTANT,
            "raised_at": INSTANT,
            "is_suppressed": pa.bool_(),
        }
    ),
)
DELIVERIES = Collection(
    "ledger/alert_deliveries",
    pa.schema(
        {
            "alert_id": pa.string(),
            "channel": pa.string(),
            "outcome": pa.string(),
            "attempts": pa.int32(),
            "detail": pa.string(),
            "tried_at": INSTANT,
        }
    ),
)


class Outcome(StrEnum):
    """The result of a delivery attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """No response, or a server error: the next call tries again."""
    REJECTED = "rejected"
    """The receiver rejected it (4xx): it is not tried again."""


@dataclass(frozen=True)
class OperationalAlert:
    """An alert about Billhouse itself: a failed command or check."""

    kind: str
    """check_failed, close_failed, publish_failed, sync_failed, credit_note_failed, run_failed or drift."""
    subject: str
    """What failed, as 'publish 2026-09'. Alerts with the same kind and subject on one UTC day are one alert."""
    text: str
    """What happened and what to do next. Secrets are redacted."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", plain_line(self.subject))
        object.__setattr__(self, "text", plain_text(self.text))


@contextmanager
def sending(home: Home, timeout_seconds: float = 300) -> Iterator[None]:
    """Hold the lock for sending alerts while the block runs. Raises BillhouseError after the timeout."""
    lock = home.path / ".alerts.lock"
    with hold_lock(lock, activity="sending alerts", timeout_seconds=timeout_seconds, is_reentrant=True):
        finish_interrupted(home)
        yield


@contextmanager
def _raising(home: Home) -> Iterator[None]:
    """Hold the lock for raising alerts. It is not the lock for sending, which may wait for a slow receiver."""
    with hold_lock(home.path / ".raising.lock", activity="raising an alert", timeout_seconds=60, is_reentrant=True):
        finish_interrupted(home)
        yield


def raise_alert(
    home: Home, alert: OperationalAlert, channels: Sequence[str] | None = None, *, now: datetime | None = None
) -> str:
    """Record an alert for the next call of `send_alerts`, and return its id. The same kind and subject on one day is one alert.

    `channels`: the channels to send it to; by default those whose address is set, valid or not, so that it is sent once an
    invalid address is corrected. With no channel it is recorded and not sent, until it is raised again with one.
    """
    if channels is None:
        channels = _configured_channels()
    now = now or datetime.now(UTC)
    digest = hashlib.sha256("\x1f".join([alert.kind, alert.subject, f"{now:%Y-%m-%d}"]).encode()).hexdigest()
    alert_id = f"ALT-{digest[:16].upper()}"
    with _raising(home):
        known = _known_channels(home, alert_id)
        if not (known - {""} if channels else known):
            common = {"kind": alert.kind, "customer_id": None, "subject": alert.subject, "text": alert.text, "reached_at": now}
            append_rows(home, ALERTS, [
                {"alert_id": alert_id, "channel": channel, "raised_at": now, "is_suppressed": False, **common}
                for channel in (channels or ("",))
            ])  # fmt: skip
    return alert_id


def raise_each_once(home: Home, alerts: Sequence[OperationalAlert], *, most_sent: int, now: datetime | None = None) -> int:
    """Record those of the alerts that were never recorded, in one write; return their number.

    Kind and subject identify an alert for good. After the first `most_sent`, they are recorded as suppressed, and not sent.
    """
    now = now or datetime.now(UTC)
    ids = [
        f"ALT-{hashlib.sha256(chr(31).join([alert.kind, alert.subject]).encode()).hexdigest()[:16].upper()}" for alert in alerts
    ]
    with _raising(home), duckdb.connect() as connection:
        query = f"select distinct alert_id from {alerts_query(home)} where list_contains($ids, alert_id)"
        known = {alert_id for (alert_id,) in connection.execute(query, {"ids": ids}).fetchall()}
        new = {alert_id: alert for alert_id, alert in zip(ids, alerts, strict=True) if alert_id not in known}
        rows: list[dict[str, Any]] = []
        for place, (alert_id, alert) in enumerate(new.items(), start=1):
            is_last = place == most_sent < len(new)
            text = alert.text + (f" {len(new) - place:,} more alerts of this kind are recorded, and not sent." if is_last else "")
            common = {"kind": alert.kind, "customer_id": None, "subject": alert.subject, "text": text, "reached_at": now}
            rows += [
                {"alert_id": alert_id, "channel": channel, "raised_at": now, "is_suppressed": place > most_sent, **common}
                for channel in (_configured_channels() or ("",))
            ]
        append_rows(home, ALERTS, rows)
    return len(new)


def _configured_channels() -> list[str]:
    try:
        return Settings.load().alert_channels
    except BillhouseError:
        return []


def _known_channels(home: Home, alert_id: str) -> set[str]:
    with duckdb.connect() as connection:
        query = f"select channel from {alerts_query(home)} where alert_id = $alert_id"
        found = connection.execute(query, {"alert_id": alert_id})
        return {channel for (channel,) in found.fetchall()}


def alerts_query(home: Home) -> str:
    """SQL that reads every alert that was raised."""
    return ALERTS.rows_sql(home)


def due_alerts(home: Home, channels: Sequence[str]) -> list[dict[str, Any]]:
    """The alerts to send, oldest first, one row per alert and channel."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            select * exclude (is_suppressed) from {alerts_query(home)} as alerts
            where
                not is_suppressed
                and list_contains($channels, channel)
                and (alert_id, channel) not in (
                    select (alert_id, channel) from {DELIVERIES.rows_sql(home)} where outcome in ('delivered', 'rejected')
                )
            order by raised_at, reached_at, alert_id, channel""",
            {"channels": list(channels)},
        )
        return rows_as_dictionaries(result)


def alert_states(home: Home, limit: int = 50) -> list[dict[str, Any]]:
    """The latest alerts with their current state, one row per alert and channel, newest first. Writes nothing."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            with latest as (
                select alert_id, channel, arg_max(outcome, (outcome <> 'failed', tried_at)) as outcome
                from {DELIVERIES.rows_sql(home)}
                group by alert_id, channel
            )
            select
                alert_id, kind, subject, text, nullif(alerts.channel, '') as channel, raised_at,
                case
                    when is_suppressed then 'suppressed'
                    when alerts.channel = '' then 'kept'
                    else coalesce(outcome, 'pending')
                end as state
            from {alerts_query(home)} as alerts left join latest using (alert_id, channel)
            order by raised_at desc, reached_at desc, alert_id, channel limit $limit""",
            {"limit": limit},
        )
        return rows_as_dictionaries(result)


def count_unsent(home: Home, connection: duckdb.DuckDBPyConnection) -> int:
    """The number of alerts and channels that are still to be sent. Writes nothing."""
    counted = connection.execute(
        f"""
        select count(*) from {alerts_query(home)} as alerts
        where
            not is_suppressed
            and channel <> ''
            and (alert_id, channel) not in (
                select (alert_id, channel) from {DELIVERIES.rows_sql(home)} where outcome in ('delivered', 'rejected')
            )"""
    ).fetchone()
    assert counted is not None
    return int(counted[0])


def append_rows(home: Home, collection: Collection, rows: list[dict[str, Any]]) -> None:
    """Append rows to a collection of this module as one file: all of them, or none. No rows: no file."""
    if not rows:
        return
    with append_files(home, "alerts") as files:
        target = collection.path(home) / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=collection.schema), files.file(target))


@contextmanager
def raise_alert_on_error(home: Home, kind: str, subject: str) -> Iterator[None]:
    """Raise an alert for an exception of the block, and raise the exception as a BillhouseError.

    NotPossibleError and WrongUsageError raise no alert. If the alert cannot be recorded (a full disk), the error says so.
    """
    try:
        yield
    except (NotPossibleError, WrongUsageError):
        raise
    except Exception as error:
        shown = to_billhouse_error(error)
        try:
            raise_alert(home, OperationalAlert(kind, subject, f"{subject} failed. {shown}"))
        except Exception as alert_error:
            cause = to_billhouse_error(alert_error).message
            shown.next_step = f"{shown.next_step} The alert could not be recorded either: {cause}".strip()
        if shown is error:
            raise
        raise shown from error
