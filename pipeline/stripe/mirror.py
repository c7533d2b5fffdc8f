"""Mirrors Stripe into raw/stripe/, as Parquet: what changed since the last time, told by Stripe's events.

    raw/stripe/<kind>/<sync>.parquet    objects as Stripe gave them, whole, as JSON: the latest row of an id stands
    raw/stripe/syncs/<sync>.parquet     one row a sync that is complete: only its rows count

The first sync of a mode lists everything; so does one after more than 29 days, because Stripe tells of events for 30. The
others list the events since, and fetch what those speak of. Killed at any instant, the next sync does it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import stripe

from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.progress import OnProgress
from pipeline.store.append import NewFiles, append_files, finish_interrupted
from pipeline.store.stripe_mirror import OBJECTS, SYNCS, ensure_mirror
from pipeline.stripe.client import StripeConnection, connect
from pipeline.stripe.existing import PAGE
from pipeline.stripe.steps import told_plainly

_WORKERS = 8
_ROWS_AT_ONCE = 500
_LONGEST_WAIT_SECONDS = 600
"""For another sync to end."""
_EVENTS_REACH_BACK = timedelta(days=29)
_OVERLAP = timedelta(minutes=10)
"""Events may show up late in the list; those that were seen before are left out."""

# What is mirrored -> the name of the client's service for it, and the `object` that events call it.
_KINDS = {
    "customers": "customer",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "invoice_payments": "invoice_payment",
    "credit_notes": "credit_note",
}
_LIST_ALL: dict[str, dict[str, Any]] = {"subscriptions": {"status": "all"}}


Row = dict[str, Any]


@dataclass
class SyncResult:
    """What was mirrored."""

    where: str
    is_full: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Objects by kind."""

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
    """Mirror what changed since the last sync; `full`: everything. One sync at a time.

    Raises BillhouseError for a key that may not be used, and where Stripe refuses it or cannot be reached.
    """
    ensure_mirror(home)
    with (
        hold_lock(home.raw / "stripe" / ".lock", activity="syncing with Stripe", timeout_seconds=_LONGEST_WAIT_SECONDS),
        nullcontext(client) if client else connect(home, allow_live=allow_live) as connection,
        told_plainly(),
        append_files(home, "sync-stripe") as files,
    ):
        finish_interrupted(home)
        return _Sync(home, connection, full, on_progress or (lambda *_: None)).run(files)


def newest_unmirrored_event(home: Home, *, client: StripeConnection | None = None, allow_live: bool = False) -> str | None:
    """The id of Stripe's latest event that is not mirrored yet; None where there is no news. One request.

    Raises BillhouseError for a key that may not be used, and where Stripe refuses it or cannot be reached.
    """
    ensure_mirror(home)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection, told_plainly():
        return _Sync(home, connection, full=False, on_progress=lambda *_: None).news()


class _Sync:
    """One sync."""

    def __init__(self, home: Home, connection: StripeConnection, full: bool, on_progress: OnProgress) -> None:
        self._home = home
        self._connection = connection
        self._stripe: Any = connection.client.v1
        self._on_progress = on_progress
        self._started_at = datetime.now(UTC)
        self._sync_id = f"{self._started_at:%Y%m%dT%H%M%S%f}"
        self._through = None if full else self._events_through()

    def run(self, files: NewFiles) -> SyncResult:
        """Everything, or what the events speak of; the sync's own row last, which makes it count."""
        self._files = files
        result = SyncResult(self._connection.where, self._through is None)
        known = self._known_events()
        since = {"created": {"gte": int((self._through - _OVERLAP).timestamp())}} if self._through else {}
        events = [event for event in self._list("events", since) if event["id"] not in known]
        for event in events:
            if event["data"]["object"].get("object") == "subscription":
                self._complete_items(event["data"]["object"], seen_at=event["created"])
        # Stripe lists the newest first.
        rows = (self._row(event, list_position=len(events) - place) for place, event in enumerate(events))
        result.counts["events"] = self._write("events", rows)
        touched: dict[str, dict[str, datetime]] = {kind: {} for kind in _KINDS}
        by_object = {name: kind for kind, name in _KINDS.items()}
        for event in events:
            shown = event["data"]["object"]
            if shown.get("object") in by_object and shown.get("id"):
                touched[by_object[shown["object"]]][shown["id"]] = _instant(event["created"])
        for done, kind in enumerate(_KINDS):
            self._on_progress(kind, done, len(_KINDS))
            objects = self._list(kind, _LIST_ALL.get(kind, {})) if result.is_full else self._fetch(kind, touched[kind])
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
        written = files.file(self._home.raw / "stripe" / "syncs" / f"{self._sync_id}.parquet")
        pq.write_table(pa.Table.from_pylist([row], schema=SYNCS), written)
        return result

    def news(self) -> str | None:
        """The latest event, where it is not mirrored."""
        page = self._connection.call(self._stripe.events.list, {"limit": 1})
        latest = page.data[0].id if page.data else None
        return None if latest in self._known_events() else latest

    def _mirror(self, kind: str, objects: Iterable[Row]) -> int:
        if kind != "invoices":
            return self._write(kind, (self._row(self._whole(kind, found)) for found in objects))
        invoices, lines = [], []
        for invoice in objects:
            lines += [self._row(line, invoice["id"]) for line in self._lines(invoice)]
            invoices.append(self._row({name: value for name, value in invoice.items() if name != "lines"}))
        self._write("invoice_lines", lines)
        return self._write(kind, invoices)

    def _lines(self, invoice: Row) -> list[Row]:
        """All lines of an invoice: Stripe shows the first ten with it."""
        lines = invoice.get("lines") or {"data": [], "has_more": False}
        if not lines["has_more"]:
            return list(lines["data"])
        return self._all_pages(self._stripe.invoices.line_items.list, invoice["id"])

    def _whole(self, kind: str, found: Row) -> Row:
        """The object with all of the list inside it, of which Stripe shows the first page."""
        if kind == "subscriptions":
            self._complete_items(found)
        elif kind == "credit_notes" and (found.get("lines") or {}).get("has_more"):
            service = self._stripe.credit_notes.line_items
            found["lines"] |= {"data": self._all_pages(service.list, found["id"]), "has_more": False}
        return found

    def _complete_items(self, subscription: Row, seen_at: int | None = None) -> None:
        """Put all items into a subscription that shows its first page of them.

        `seen_at`: when an event showed it. Stripe lists the items of today alone, so those that were created since are left out,
        and those that were removed since cannot be had.
        """
        items = subscription.get("items") or {}
        if not items.get("has_more"):
            return
        shown = {item["id"] for item in items["data"]}
        asked = {"subscription": subscription["id"]}
        try:
            there = self._all_pages(self._stripe.subscription_items.list, asked)
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            return
        others = [item for item in there if item["id"] not in shown and (seen_at is None or item["created"] <= seen_at)]
        items |= {"data": [*items["data"], *others], "has_more": False}

    def _all_pages(self, list_page: Callable[..., Any], asked: Any) -> list[Row]:
        """Every object of a list inside another object: `asked` is that object's id, or the parameters that name it."""
        if isinstance(asked, str):
            return self._connection.call(lambda: [_plain(one) for one in list_page(asked, {"limit": PAGE}).auto_paging_iter()])
        return self._connection.call(lambda: [_plain(one) for one in list_page({**asked, "limit": PAGE}).auto_paging_iter()])

    def _list(self, kind: str, params: Row) -> Iterator[Row]:
        """All of a kind, newest first; each page is asked for again where it fails."""
        service = getattr(self._stripe, kind)
        asked: Row = {**params, "limit": PAGE}
        while True:
            page = self._connection.call(service.list, asked)
            yield from map(_plain, page.data)
            if not page.has_more or not page.data:
                return
            asked["starting_after"] = page.data[-1].id

    def _fetch(self, kind: str, touched: dict[str, datetime]) -> Iterator[Row]:
        """Objects by their ids, as they are now; one that is gone is told as deleted."""
        service = getattr(self._stripe, kind)

        def fetch(item: tuple[str, datetime]) -> Row:
            id, told_at = item
            try:
                return _plain(self._connection.call(service.retrieve, id))
            except stripe.InvalidRequestError as error:
                if error.code != "resource_missing":
                    raise
                return {"id": id, "deleted": True, "created": int(told_at.timestamp())}

        with ThreadPoolExecutor(_WORKERS) as pool:
            yield from pool.map(fetch, sorted(touched.items()))

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
        """Stream rows to the collection's file of this sync; none, no file."""
        rows = iter(rows)
        first = next(rows, None)
        if first is None:
            return 0
        rows, count = chain([first], rows), 0
        written = self._files.file(self._home.raw / "stripe" / collection / f"{self._sync_id}.parquet")
        with pq.ParquetWriter(written, OBJECTS, compression="zstd") as writer:
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(some, schema=OBJECTS))
                count += len(some)
        return count

    def _events_through(self) -> datetime | None:
        """Until when the events of this mode are mirrored; None where everything must be listed."""
        syncs = pq.read_table(self._home.raw / "stripe" / "syncs", schema=SYNCS).to_pylist()
        through = max((row["events_through"] for row in syncs if row["livemode"] == self._connection.is_live), default=None)
        return through if through is not None and self._started_at - through < _EVENTS_REACH_BACK else None

    def _known_events(self) -> frozenset[str]:
        if self._through is None:
            return frozenset()
        rows = duckdb.execute(
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


def _plain(found: Any) -> Row:
    """An object of Stripe's as plain data."""
    body: Row = json.loads(str(found))
    return body


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
