"""ledger/publications/: what Stripe has of ours, a Parquet file a run of publishing."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.home import Home
from pipeline.store.collections import ensure_collection

_INSTANT = pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    {
        "invoice_id": pa.string(),
        "period": pa.string(),
        "customer_id": pa.string(),
        "livemode": pa.bool_(),
        "stripe_customer_id": pa.string(),
        "stripe_invoice_id": pa.string(),
        "stripe_invoice_number": pa.string(),
        "status": pa.string(),
        "total_amount": pa.decimal128(18, 3),
        "currency": pa.string(),
        "hosted_invoice_url": pa.string(),
        "content_hash": pa.string(),
        "published_at": _INSTANT,
    }
)


def ensure_publications(home: Home) -> None:
    """A zero-row file, so that the models find the collection before the first publication."""
    ensure_collection(home, home.publications, SCHEMA)


def read_publications(home: Home) -> pa.Table:
    """Every publication: what Stripe was given."""
    ensure_publications(home)
    return pq.read_table(home.publications, schema=SCHEMA)


def published_invoices(home: Home, *, is_live: bool | None) -> frozenset[str]:
    """Our ids of the invoices that Stripe has, in one mode, or (None) in any."""
    rows = read_publications(home).select(["invoice_id", "livemode"]).to_pylist()
    return frozenset(row["invoice_id"] for row in rows if is_live is None or row["livemode"] == is_live)


def known_stripe_customers(home: Home, *, is_live: bool) -> dict[str, str]:
    """Our customer id -> Stripe's, as of the latest publication in this mode."""
    rows = read_publications(home).sort_by("published_at").to_pylist()
    return {row["customer_id"]: row["stripe_customer_id"] for row in rows if row["livemode"] == is_live}
