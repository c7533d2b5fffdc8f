"""ledger/publications/: the invoices that were published to Stripe, one Parquet file per publishing run."""

from __future__ import annotations

import pyarrow as pa

from pipeline.core.home import Home
from pipeline.store.collections import AMOUNT, INSTANT, Collection

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
        "total_amount": AMOUNT,
        "currency": pa.string(),
        "hosted_invoice_url": pa.string(),
        "content_hash": pa.string(),
        "published_at": INSTANT,
    }
)


PUBLICATIONS = Collection("ledger/publications", SCHEMA)


def published_invoices(home: Home, *, is_live: bool | None) -> frozenset[str]:
    """The ids (ours) of the published invoices, in live or test mode, or in either (None)."""
    rows = PUBLICATIONS.read(home).select(["invoice_id", "livemode"]).to_pylist()
    return frozenset(row["invoice_id"] for row in rows if is_live is None or row["livemode"] == is_live)


def known_stripe_customers(home: Home, *, is_live: bool) -> dict[str, str]:
    """Stripe's customer id by ours, from the latest publication in this mode."""
    rows = PUBLICATIONS.read(home).sort_by("published_at").to_pylist()
    return {row["customer_id"]: row["stripe_customer_id"] for row in rows if row["livemode"] == is_live}
