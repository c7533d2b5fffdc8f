"""ledger/quarantine_settlements/: rows in quarantine that a person settled, one Parquet file per decision."""

from __future__ import annotations

import pyarrow as pa

from pipeline.store.collections import INSTANT, Collection

SCHEMA = pa.schema(
    {
        "file_id": pa.string(),
        "file_row": pa.int64(),
        "kind": pa.string(),
        "reason": pa.string(),
        "settled_by": pa.string(),
        "settled_at": INSTANT,
        "settlement_reason": pa.string(),
    }
)
SETTLEMENTS = Collection("ledger/quarantine_settlements", SCHEMA)
"""A row of a landed file is settled once. `file_id` is the file that the row came in, also if it was checked again since."""
