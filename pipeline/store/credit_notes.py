"""ledger/credit_notes/: the lines of the credit notes that were issued, one Parquet file per credit note."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.store.append import append_files
from pipeline.store.collections import AMOUNT, INSTANT, QUANTITY, Collection

SCHEMA = pa.schema(
    {
        "credit_note_id": pa.string(),
        "livemode": pa.bool_(),
        "invoice_id": pa.string(),
        "stripe_invoice_id": pa.string(),
        "customer_id": pa.string(),
        "service_period": pa.string(),
        "line_type": pa.string(),
        "plan_id": pa.string(),
        "meter_id": pa.string(),
        "rate_id": pa.string(),
        "quantity": QUANTITY,
        "billable_quantity": QUANTITY,
        "unit": pa.string(),
        "unit_amount": QUANTITY,
        "amount": AMOUNT,
        "currency": pa.string(),
        "minor_unit_digits": pa.int32(),
        "description": pa.string(),
        "memo": pa.string(),
        "settlement": pa.string(),
        "issued_by": pa.string(),
        "issued_at": INSTANT,
    }
)


CREDIT_NOTES = Collection("ledger/credit_notes", SCHEMA)


def read_credit_notes(home: Home) -> dict[str, list[dict[str, Any]]]:
    """The lines of every credit note, by its id."""
    notes: dict[str, list[dict[str, Any]]] = {}
    for row in CREDIT_NOTES.read(home).to_pylist():
        notes.setdefault(row["credit_note_id"], []).append(row)
    return notes


def write_credit_note(home: Home, lines: list[dict[str, Any]]) -> str:
    """Write a credit note and return its id, a hash of its lines, by which `verify` detects changes."""
    credit_note_id = credit_note_id_of(lines)
    rows = [{**line, "credit_note_id": credit_note_id} for line in lines]
    with append_files(home, "credit-note") as files:
        written = files.file(home.credit_notes / f"{credit_note_id}.parquet")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), written)
        written.chmod(0o400)
    return credit_note_id


def credit_note_id_of(lines: list[dict[str, Any]]) -> str:
    """CN- and a hash of the lines without their credit_note_id."""
    values = [[line.get(name) for name in SCHEMA.names if name != "credit_note_id"] for line in lines]
    return "CN-" + hashlib.sha256(json.dumps(values, default=_text).encode()).hexdigest()[:12].upper()


def _text(value: Any) -> str:
    """Decimals without trailing zeros, so that 1.50 and 1.5 have the same hash."""
    return value.isoformat() if hasattr(value, "isoformat") else f"{value.normalize():f}"
