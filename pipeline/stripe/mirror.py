"""Mirrors Stripe into raw/stripe/ as Parquet (collections: pipeline.store.stripe_mirror).

The first sync of a mode lists everything, and so does a sync more than 29 days after the last, because Stripe keeps events for 30
days. Other syncs list the events since the last sync and retrieve the objects that they concern. A sync that is killed leaves
nothing that counts; the next one repeats it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.progress import OnProgress
from pipeline.store.append import NewFiles, append_files, finish_interrupted
from pipeline.store.stripe_mirror import OBJECTS, SYNCS, ensure_mirror
from pipeline.stripe.client import StripeConnection, connect
from pipeline.stripe.mirror_reader import ObjectReader, Row
from pipeline.stripe.steps import translate_stripe_errors

_ROWS_PER_BATCH = 500
_LOCK_TIMEOUT_SECONDS = 600
"""How long to wait for another sync."""
_EVENTS_REACH_BACK = timedelta(days=29)
_OVERLAP = timedelta(minutes=10)
"""Events can appear late in Stripe's list, so each sync lists this much again and drops the events it already has."""

_OBJECT_NAMES = {
    "customers": "customer",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "invoice_payments": "invoice_payment",
    "credit_notes": "credit_note",
}
"""Mirrored kinds. Key: the client's service; value: the name in an object's `object` field."""
_LIST_PARAMS: dict[str, dict[str, Any]] = {"subscriptions": {"status": "all"}}


@dataclass
class SyncResult:
    """What a sync mirrored."""

    where: str
    is_full: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Number of objects by kind."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"where": self.where, "is_full": self.is_full, "objects": self.counts}


def sync_stripe(
    home: Home,
    *,
    full: bool = False,
    client: StripeConnection | None = None,
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> SyncResult:
    """Mirror what changed since the last sync; `full`: mirror everything. One sync at a time.

    Raises BillhouseError for a key that may not be used, and if Stripe refuses it or cannot be reached.
    """
    ensure_mirror(home)
    with (
        hold_lock(home.raw / "stripe" / ".lock", activity="syncing with Stripe", timeout_seconds=_LOCK_TIMEOUT_SECONDS),
        nullcontext(client) if client else connect(home, allow_live=allow_live) as connection,
        translate_stripe_errors(),
        append_files(home, "sync-stripe") as files,
    ):
        finish_interrupted(home)
        return _Sync(home, connection, full).run(files, on_progress or (lambda *_: None))


def newest_unmirrored_event(home: Home, *, client: StripeConnection | None = None, allow_live: bool = False) -> str | None:
    """The id of Stripe's newest event if it is not mirrored yet, else None. One request.

    Raises BillhouseError for a key that may not be used, and if Stripe refuses it or cannot be reached.
    """
    ensure_mirror(home)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection, translate_stripe_errors():
        latest = ObjectReader(connection).latest_event_id()
        return None if latest in _Sync(home, connection, full=False).known_events() else latest


class _Sync:
    """One sync."""

    def __init__(self, home: Home, connection: StripeConnection, full: bool) -> None:
        self._home = home
        self._connection = connection
        self._reader = ObjectReader(connection)
        self._started_at = datetime.now(UTC)
        self._sync_id = f"{self._started_at:%Y%m%dT%H%M%S%f}"
        self._through = None if full else self._events_through()

    def run(self, files: NewFiles, on_progress: OnProgress) -> SyncResult:
        """Mirror everything, or what the events concern. The sync's own row is written last; it makes the other rows count."""
        self._files = files
        result = SyncResult(self._connection.where, self._through is None)
        known = self.known_events()
        since = {"created": {"gte": int((self._through - _OVERLAP).timestamp())}} if self._through else {}
        events = [event for event in self._reader.list_all("events", since) if event["id"] not in known]
        for event in events:
            if event["data"]["object"].get("object") == "subscription":
                self._reader.complete_items(event["data"]["object"], as_of=event["created"])
        # Stripe lists the newest first.
        rows = (self._row(event, list_position=len(events) - place) for place, event in enumerate(events))
        result.counts["events"] = self._write("events", rows)
        changed: dict[str, dict[str, datetime]] = {kind: {} for kind in _OBJECT_NAMES}
        kind_of = {name: kind for kind, name in _OBJECT_NAMES.items()}
        for event in events:
            body = event["data"]["object"]
            if body.get("object") in kind_of and body.get("id"):
                changed[kind_of[body["object"]]][body["id"]] = _instant(event["created"])
        for done, kind in enumerate(_OBJECT_NAMES):
            on_progress(kind, done, len(_OBJECT_NAMES))
            if result.is_full:
                objects = self._reader.list_all(kind, _LIST_PARAMS.get(kind, {}))
            else:
                objects = self._reader.retrieve_all(kind, changed[kind])
            result.counts[kind] = self._mirror(kind, objects)
        latest = max((_instant(event["created"]) for event in events), default=self._through or self._started_at)
        row = {
            "sync_id": self._sync_id,
            "livemode": self._connection.is_live,
            "is_full": result.is_full,
            "started_at": self._started_at,
            "events_through": max(latest, self._through or latest),
            "objects": sum(result.counts.values()),
        }
        path = files.file(self._home.raw / "stripe" / "syncs" / f"{self._sync_id}.parquet")
        pq.write_table(pa.Table.from_pylist([row], schema=SYNCS), path)
        return result

    def _mirror(self, kind: str, objects: Iterable[Row]) -> int:
        if kind != "invoices":
            return self._write(kind, (self._row(self._reader.complete(kind, body)) for body in objects))
        invoices, lines = [], []
        for invoice in objects:
            lines += [self._row(line, invoice["id"]) for line in self._reader.invoice_lines(invoice)]
            invoices.append(self._row({name: value for name, value in invoice.items() if name != "lines"}))
        self._write("invoice_lines", lines)
        return self._write(kind, invoices)

    def _row(self, body: Row, parent_id: str | None = None, list_position: int | None = None) -> Row:
        return {
            "sync_id": self._sync_id,
            "livemode": self._connection.is_live,
            "stripe_id": body["id"],
            "parent_id": parent_id,
            "created_at": _instant(body["created"]) if "created" in body else None,
            "is_deleted": bool(body.get("deleted")),
            "body": json.dumps(body, sort_keys=True),
            "list_position": list_position,
        }

    def _write(self, collection: str, rows: Iterable[Row]) -> int:
        """Stream rows to the collection's file of this sync; without rows, write no file. Returns the number of rows."""
        rows = iter(rows)
        first = next(rows, None)
        if first is None:
            return 0
        rows, count = chain([first], rows), 0
        path = self._files.file(self._home.raw / "stripe" / collection / f"{self._sync_id}.parquet")
        with pq.ParquetWriter(path, OBJECTS, compression="zstd") as writer:
            while batch := list(islice(rows, _ROWS_PER_BATCH)):
                writer.write_table(pa.Table.from_pylist(batch, schema=OBJECTS))
                count += len(batch)
        return count

    def _events_through(self) -> datetime | None:
        """The instant up to which the events of this mode are mirrored; None if everything must be listed."""
        syncs = pq.read_table(self._home.raw / "stripe" / "syncs", schema=SYNCS).to_pylist()
        through = max((row["events_through"] for row in syncs if row["livemode"] == self._connection.is_live), default=None)
        return through if through is not None and self._started_at - through < _EVENTS_REACH_BACK else None

    def known_events(self) -> frozenset[str]:
        """Ids of the mirrored events that Stripe's next list can contain again."""
        if self._through is None:
            return frozenset()
        with duckdb.connect() as connection:
            rows = connection.execute(
                "select stripe_id from read_parquet($events) where created_at >= $since and livemode = $livemode"
                " and sync_id in (select sync_id from read_parquet($syncs))",
                {
                    "events": str(self._home.raw / "stripe" / "events" / "*.parquet"),
                    "syncs": str(self._home.raw / "stripe" / "syncs" / "*.parquet"),
                    "since": self._through - _OVERLAP,
                    "livemode": self._connection.is_live,
                },
            ).fetchall()
        return frozenset(id for (id,) in rows)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
