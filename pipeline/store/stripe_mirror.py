"""raw/stripe/: a mirror of Stripe's objects, written by pipeline.stripe.mirror.

raw/stripe/<kind>/<sync>.parquet    objects as Stripe returned them, as JSON; the latest row of an id is its current version
raw/stripe/syncs/<sync>.parquet     one row per complete sync; rows of other syncs are ignored
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.core.home import Home
from pipeline.store.collections import INSTANT, Collection

OBJECTS = pa.schema(
    {
        "sync_id": pa.string(),
        "livemode": pa.bool_(),
        "stripe_id": pa.string(),
        "parent_id": pa.string(),
        "created_at": INSTANT,
        "is_deleted": pa.bool_(),
        "body": pa.string(),
        "list_position": pa.int64(),
    }
)
"""`list_position`: for events, the position in Stripe's list (higher is later), which orders events of one second; else null."""
SYNCS = pa.schema(
    {
        "sync_id": pa.string(),
        "livemode": pa.bool_(),
        "is_full": pa.bool_(),
        "started_at": INSTANT,
        "events_through": INSTANT,
        "objects": pa.int64(),
    }
)
MIRRORED_KINDS = ("customers", "subscriptions", "invoices", "invoice_payments", "credit_notes", "invoice_lines", "events")
MIRROR = {kind: Collection(f"raw/stripe/{kind}", OBJECTS) for kind in MIRRORED_KINDS} | {
    "syncs": Collection("raw/stripe/syncs", SYNCS)
}
"""By name."""


def ensure_mirror(home: Home) -> None:
    """Write the zero-row file of each collection of the mirror."""
    for collection in MIRROR.values():
        collection.ensure(home)
