"""ledger/publications/: one Parquet file for each invoice that Stripe has."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import replace_atomically
from pipeline.home import Home

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
    target = home.publications / "_schema.parquet"
    if not target.exists():
        home.publications.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replace_atomically(target) as path:
            pq.write_table(SCHEMA.empty_table(), path)


def read_publications(home: Home) -> pa.Table:
    """Every publication: what Stripe was given."""
    ensure_publications(home)
    return pq.read_table(home.publications, schema=SCHEMA)


def published_invoices(home: Home, *, is_live: bool) -> frozenset[str]:
    """Our ids of the invoices that Stripe has, in one mode: test and live never mix."""
    rows = read_publications(home).select(["invoice_id", "livemode"])
    return frozenset(row["invoice_id"] for row in rows.to_pylist() if row["livemode"] == is_live)


def write_publication(home: Home, row: dict[str, Any]) -> None:
    """Record that Stripe has an invoice, finalized. Written once for each, whole or not at all."""
    mode = "live" if row["livemode"] else "test"
    with replace_atomically(home.publications / f"{row['invoice_id']}-{mode}.parquet") as path:
        pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), path)
