"""Writes a mirror of Stripe with the subscriptions, events and instants that a test chooses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.store.append import append_files
from pipeline.store.stripe_mirror import OBJECTS, SYNCS, ensure_mirror

Row = dict[str, Any]


def seconds(instant: str | datetime) -> int:
    """'2026-09-01' or an instant in ISO 8601 (UTC) -> seconds since 1970."""
    found = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def subscription(id: str, customer: str, status: str, *prices: str, start: str | datetime, **more: Any) -> Row:
    """A subscription as Stripe returns it; instants in `more` become seconds since 1970."""
    dates = ("trial_start", "trial_end", "ended_at", "canceled_at", "cancel_at")
    fields = {name: seconds(value) if name in dates and value else value for name, value in more.items()}
    return {
        "id": id,
        "object": "subscription",
        "customer": f"cus_{customer}",
        "status": status,
        "start_date": seconds(start),
        "created": seconds(start),
        "items": {"object": "list", "has_more": False, "data": [{"price": {"id": price}} for price in prices]},
        **fields,
    }


def event(kind: str, at: str | datetime, body: Row, previous: Row | None = None, id: str = "") -> Row:
    """An event about a subscription: 'created', 'updated' or 'deleted'; `previous`: the old values of changed fields."""
    data: Row = {"object": body}
    if previous is not None:
        data["previous_attributes"] = previous
    event_type = f"customer.subscription.{kind}"
    return {
        "id": id or f"evt_{body['id']}_{kind}_{seconds(at)}",
        "object": "event",
        "type": event_type,
        "created": seconds(at),
        "data": data,
    }


def write_sync(
    home: Home,
    at: str | datetime,
    *,
    events: Iterable[Row] = (),
    subscriptions: Iterable[Row] = (),
    customers: Iterable[str] = (),
    is_full: bool = True,
) -> None:
    """Write one complete sync. `events`: in order of time."""
    ensure_mirror(home)
    started_at = datetime.fromtimestamp(seconds(at), UTC)
    sync_id = f"{started_at:%Y%m%dT%H%M%S%f}"
    people = [{"id": f"cus_{name}", "object": "customer", "metadata": {"billhouse_customer_id": name}} for name in customers]
    with append_files(home, "sync-stripe") as files:
        for collection, objects in (("events", list(events)), ("subscriptions", list(subscriptions)), ("customers", people)):
            rows = [
                {
                    "sync_id": sync_id,
                    "livemode": False,
                    "stripe_id": body["id"],
                    "created_at": datetime.fromtimestamp(body.get("created", 0), UTC),
                    "is_deleted": False,
                    "body": json.dumps(body),
                    "list_position": place if collection == "events" else None,
                }
                for place, body in enumerate(objects)
            ]
            target = files.file(home.raw / "stripe" / collection / f"{sync_id}.parquet")
            pq.write_table(pa.Table.from_pylist(rows, schema=OBJECTS), target)
        row = {"sync_id": sync_id, "livemode": False, "is_full": is_full, "started_at": started_at, "events_through": started_at}
        target = files.file(home.raw / "stripe" / "syncs" / f"{sync_id}.parquet")
        pq.write_table(pa.Table.from_pylist([row], schema=SYNCS), target)


def project_with(folder: Path, prices: Mapping[str, str]) -> Path:
    """A copy of the dbt project with a mapping of Stripe prices to plans ('': a known add-on)."""
    for part in ("models", "macros", "seeds", "tests/warehouse"):
        shutil.copytree(PROJECT_ROOT / part, folder / part)
    for file in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_ROOT / file, folder / file)
    rows = "".join(f"{price},{plan}\n" for price, plan in prices.items())
    (folder / "seeds" / "stripe_prices.csv").write_text(f"stripe_price_id,plan_id\n{rows}")
    return folder
