"""ledger/closes/: the closed months, append-only Parquet, one folder per month.

    ledger/closes/2026-10/close.parquet                inputs of the close, its hash, and the hash of the close before it
                          invoices.parquet             the closed invoices
                          invoice_lines.parquet
                          credit_applications.parquet
                          credit_grants.parquet        grants that this close is the first to include; they are final from then on
                          usage_days.parquet           billed usage per invoice line and day
                          landed_files.parquet         files that landed after the previous close
                          price_book/                  the price book that it was computed with
                          SHA256SUMS                   hashes of the files above, in the format of sha256sum

A month is closed when its folder exists; the folder is renamed into place as a whole. Its files are also in the manifest.
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
    """Write the zero-row file of each table of a close."""
    for table, schema in SCHEMAS.items():
        ensure_empty_file(home, home.closes / "_schema" / f"{table}.parquet", schema)


def closed_periods(home: Home) -> list[BillingPeriod]:
    """The closed months, in order."""
    folders = home.closes.iterdir() if home.closes.is_dir() else ()
    return sorted(BillingPeriod.parse(folder.name) for folder in folders if _PERIOD.fullmatch(folder.name))


def close_folder(home: Home, period: BillingPeriod) -> Path:
    """The folder of a month's close, which may not exist yet."""
    return home.closes / str(period)


def read_close(home: Home, period: BillingPeriod, table: str) -> pa.Table:
    """Read one table of a closed month."""
    return pq.read_table(close_folder(home, period) / f"{table}.parquet", schema=SCHEMAS[table])


def close_head(home: Home, period: BillingPeriod) -> str:
    """The manifest's head after a month's close; empty for a month that was closed by a version without manifest."""
    return head_after(home, (close_folder(home, period) / "close.parquet").relative_to(home.path).as_posix())


def file_sums(folder: Path) -> str:
    """The SHA-256 of every file of a close, one line per file, in the format of `sha256sum --check`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files)


def content_hash(manifest: dict[str, Any], tables: dict[str, pa.Table]) -> str:
    """SHA-256 of a close: its inputs, the hash of the close before it, and all rows of its tables."""
    digest = hashlib.sha256()
    for name in sorted(manifest):
        # A close of a version before a column was added is hashed without that column.
        if name != "content_hash" and manifest[name] is not None:
            digest.update(f"{name}={manifest[name]}\n".encode())
    for table in sorted(tables.keys() - {"close"}):
        columns = [pc.cast(column, pa.string()).fill_null("\0") for column in tables[table].itercolumns()]
        # All rows at once: a table is read back from its file in other pieces than it was computed in.
        for column in columns if tables[table].num_rows else ():
            digest.update("\x1f".join(column.to_pylist()).encode() + b"\x1e")
    return digest.hexdigest()
