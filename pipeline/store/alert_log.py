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
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipeline.core.errors import BillhouseError, NotPossibleError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.core.plain_text import plain_line, plain_text
from pipeline.core.settings import Settings
from pipeline.core.sql import parquet_files
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
        query = f"select channel from {logged_alerts(home)} where alert_id = $alert_id"
        found = connection.execute(query, {"alert_id": alert_id})
        return {channel for (channel,) in found.fetchall()}


def logged_alerts(home: Home) -> str:
    """SQL that reads every alert that was raised."""
    return _rows(home, ALERTS)


def _deliveries(home: Home) -> str:
    return _rows(home, DELIVERIES)


def _rows(home: Home, collection: Collection) -> str:
    collection.ensure(home)
    return parquet_files(collection.path(home), "*.parquet")


def due_alerts(home: Home, channels: Sequence[str]) -> list[dict[str, Any]]:
    """What is still to be sent, oldest first, a row an alert and channel."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            select * exclude (is_suppressed) from {logged_alerts(home)} as alerts
            where
                not is_suppressed
                and list_contains($channels, channel)
                and (alert_id, channel) not in (
                    select (alert_id, channel) from {_deliveries(home)} where outcome in ('delivered', 'rejected')
                )
            order by raised_at, reached_at, alert_id, channel""",
            {"channels": list(channels)},
        )
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def alert_states(home: Home, limit: int = 50) -> list[dict[str, Any]]:
    """The latest alerts, a row an alert and channel, with what became of each, as of now."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        result = connection.execute(
            f"""
            with latest as (
                select alert_id, channel, arg_max(outcome, (outcome <> 'failed', tried_at)) as outcome
                from {_deliveries(home)}
                group by alert_id, channel
            )
            select
                alert_id, kind, subject, text, nullif(alerts.channel, '') as channel, raised_at,
                case
                    when is_suppressed then 'suppressed'
                    when alerts.channel = '' then 'kept'
                    else coalesce(outcome, 'pending')
                end as state
            from {logged_alerts(home)} as alerts left join latest using (alert_id, channel)
            order by raised_at desc, reached_at desc, alert_id, channel limit $limit""",
            {"limit": limit},
        )
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def count_unsent(home: Home, connection: duckdb.DuckDBPyConnection) -> int:
    """How many alerts wait for a channel: never sent to it, or not yet with success."""
    counted = connection.execute(
        f"""
        select count(*) from {logged_alerts(home)} as alerts
        where
            not is_suppressed
            and channel <> ''
            and (alert_id, channel) not in (
                select (alert_id, channel) from {_deliveries(home)} where outcome in ('delivered', 'rejected')
            )"""
    ).fetchone()
    assert counted is not None
    return int(counted[0])


def record(home: Home, collection: Collection, rows: list[dict[str, Any]]) -> None:
    """Append rows to the ledger as one file: all of them, or none."""
    if not rows:
        return
    with append_files(home, "alerts") as files:
        target = collection.path(home) / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=collection.schema), files.file(target))


@contextmanager
def alerting(home: Home, kind: str, subject: str) -> Iterator[None]:
    """Keep an alert of what fails inside, in the words of `to_billhouse_error`, and raise it as a BillhouseError.

    What is not possible yet, or was called wrongly, is no failure: no alert. Where no alert can be kept (a full disk), the
    error says so.
    """
    try:
        yield
    except (NotPossibleError, WrongUsageError):
        raise
    except Exception as error:
        failure = to_billhouse_error(error)
        try:
            keep_alert(home, OperationalAlert(kind, subject, f"{subject} failed. {failure}"))
        except Exception as no_alert:
            unkept = to_billhouse_error(no_alert).message
            failure.next_step = f"{failure.next_step} No alert could be kept either: {unkept}".strip()
        if failure is error:
            raise
        raise failure from error


def keep_alert(home: Home, alert: OperationalAlert) -> str:
    """Keep an alert, to be sent by the channels that are configured now; returns its id.

    One that is set wrongly counts: what is wrong is told by the call that sends, and once it is corrected the alert goes out.
    """
    try:
        channels = Settings.load().alert_channels
    except BillhouseError:
        channels = []
    return raise_alert(home, alert, channels)
