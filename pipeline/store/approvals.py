"""ledger/approvals/: approvals of invoices for publishing to Stripe, one Parquet file per decision. Billing rules, section 7."""

from __future__ import annotations

import pyarrow as pa

from pipeline.core.home import Home
from pipeline.store.collections import INSTANT, Collection

SCHEMA = pa.schema(
    {
        "invoice_id": pa.string(),
        "period": pa.string(),
        "is_approved": pa.bool_(),
        "decided_by": pa.string(),
        "decided_at": INSTANT,
        "reason": pa.string(),
    }
)
APPROVALS = Collection("ledger/approvals", SCHEMA)


def approved_invoices(home: Home) -> frozenset[str]:
    """Ids of the invoices whose latest decision is an approval."""
    latest: dict[str, bool] = {}
    for row in APPROVALS.read(home).sort_by("decided_at").to_pylist():
        latest[row["invoice_id"]] = row["is_approved"]
    return frozenset(id for id, is_approved in latest.items() if is_approved)
