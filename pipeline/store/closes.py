"""The ledger's files: closed invoices as append-only Parquet, a folder a month.

    ledger/closes/2026-10/close.parquet                what the close was computed from, and the hash that chains it
                          invoices.parquet             the invoices as they were frozen
                          invoice_lines.parquet
                          credit_applications.parquet
                          credit_grants.parquet        grants that were first seen at this close: from now on they stand
                          usage_days.parquet           what was used and billed, line by line and day by day
                          landed_files.parquet         files that had landed since the close before
                          price_book/                  the prices it was computed with
                          SHA256SUMS                   of every file above, as sha256sum writes and checks them

A month is in the ledger when its folder is, which comes into its place whole. Its files are in ledger/manifest.jsonl, too.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.store.collections import AMOUNT, INSTANT, QUANTITY, ensure_empty_file
from pipeline.store.manifest import head_after

PRICE_BOOK = "price_book"
SUMS = "SHA256SUMS"
_PERIOD = re.compile(r"\d{4}-\d{2}")

SCHEMAS: dict[str, pa.Schema] = {
    "close": pa.schema(
        {
            "period": pa.string(),
            "as_of": INSTANT,
            "closed_at": INSTANT,
            "code_version": pa.string(),
            "code_digest": pa.string(),
            "price_book_hash": pa.string(),
            "input_fingerprint": pa.string(),
            "landed_files": pa.int64(),
            "invoices": pa.int64(),
            "invoice_lines": pa.int64(),
            "credit_applications": pa.int64(),
            "credit_grants": pa.int64(),
            "usage_days": pa.int64(),
            "previous_hash": pa.string(),
            "manifest_head": pa.string(),
            "content_hash": pa.string(),
        }
    ),
    "invoices": pa.schema(
        {
            "invoice_id": pa.string(),
            "customer_id": pa.string(),
            "period": pa.string(),
            "currency": pa.string(),
            "plan_id": pa.string(),
            "collection": pa.string(),
            "subtotal_amount": AMOUNT,
            "credits_applied_amount": AMOUNT,
            "carried_forward_amount": AMOUNT,
            "total_amount": AMOUNT,
            "line_count": pa.int32(),
            "minor_unit_digits": pa.int32(),
            "customer_name": pa.string(),
            "customer_email": pa.string(),
            "stripe_customer_id": pa.string(),
            "closed_at": INSTANT,
        }
    ),
    "invoice_lines": pa.schema(
        {
            "invoice_id": pa.string(),
            "line_id": pa.string(),
            "line_number": pa.int32(),
            "customer_id": pa.string(),
            "period": pa.string(),
            "service_period": pa.string(),
            "line_type": pa.string(),
            "plan_id": pa.string(),
            "meter_id": pa.string(),
            "rate_id": pa.string(),
            "quantity": QUANTITY,
            "unit": pa.string(),
            "unit_amount": QUANTITY,
            "billable_quantity": QUANTITY,
            "amount": AMOUNT,
            "currency": pa.string(),
            "description": pa.string(),
            "is_adjustment": pa.bool_(),
        }
    ),
    "credit_applications": pa.schema(
        {
            "grant_id": pa.string(),
            "invoice_id": pa.string(),
            "customer_id": pa.string(),
            "period": pa.string(),
            "application_period": pa.string(),
            "currency": pa.string(),
            "source": pa.string(),
            "amount": AMOUNT,
        }
    ),
    "credit_grants": pa.schema(
        {
            "grant_id": pa.string(),
            "customer_id": pa.string(),
            "period": pa.string(),
            "amount": AMOUNT,
            "currency": pa.string(),
            "priority": pa.int32(),
            "granted_at": INSTANT,
            "expires_at": INSTANT,
            "scope": pa.string(),
            "source": pa.string(),
        }
    ),
    "usage_days": pa.schema(
        {
            "invoice_id": pa.string(),
            "line_id": pa.string(),
            "customer_id": pa.string(),
            "period": pa.string(),
            "usage_date": pa.date32(),
            "currency": pa.string(),
            "plan_id": pa.string(),
            "meter_id": pa.string(),
            "rate_id": pa.string(),
            "quantity": QUANTITY,
            "unit": pa.string(),
            "amount": AMOUNT,
        }
    ),
    "landed_files": pa.schema(
        {
            "file_id": pa.string(),
            "file_name": pa.string(),
            "kind": pa.string(),
            "landed_sequence": pa.int64(),
            "accepted_rows": pa.int64(),
        }
    ),
}


def ensure_close_tables(home: Home) -> None:
    """Write a zero-row file of each table of a close."""
    for table, schema in SCHEMAS.items():
        ensure_empty_file(home, home.closes / "_schema" / f"{table}.parquet", schema)


def closed_periods(home: Home) -> list[BillingPeriod]:
    """The months in the ledger, in order."""
    folders = home.closes.iterdir() if home.closes.is_dir() else ()
    return sorted(BillingPeriod.parse(folder.name) for folder in folders if _PERIOD.fullmatch(folder.name))


def close_folder(home: Home, period: BillingPeriod) -> Path:
    """Where a month's close is, or will be."""
    return home.closes / str(period)


def read_close(home: Home, period: BillingPeriod, table: str) -> pa.Table:
    """One table of one closed month."""
    return pq.read_table(close_folder(home, period) / f"{table}.parquet", schema=SCHEMAS[table])


def close_head(home: Home, period: BillingPeriod) -> str:
    """The manifest's head after a month's close: what was written up to then is as it was while the manifest has it.

    Empty for a month that was closed before there was a manifest.
    """
    return head_after(home, (close_folder(home, period) / "close.parquet").relative_to(home.path).as_posix())


def file_sums(folder: Path) -> str:
    """SHA-256 of every file of a close, a line a file, in the form that `sha256sum --check` reads."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files)


def content_hash(manifest: dict[str, Any], tables: dict[str, pa.Table]) -> str:
    """SHA-256 over a close: what it was computed from, the close before it, and every row it froze."""
    digest = hashlib.sha256()
    for name in sorted(manifest):
        # A close from before a column was added is hashed without it.
        if name != "content_hash" and manifest[name] is not None:
            digest.update(f"{name}={manifest[name]}\n".encode())
    for table in sorted(tables.keys() - {"close"}):
        columns = [pc.cast(column, pa.string()).fill_null("\0") for column in tables[table].itercolumns()]
        for batch in pa.table(columns, names=tables[table].column_names).to_batches():
            for column in batch.columns:
                digest.update("\x1f".join(column.to_pylist()).encode() + b"\x1e")
    return digest.hexdigest()
