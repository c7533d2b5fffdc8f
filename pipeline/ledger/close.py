"""Closes a month: writes its draft invoices to the ledger, once. Billing rules, sections 1 and 7."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import BillhouseError, NotPossibleError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.core.settings import Settings
from pipeline.ledger.adjustments import refuse_large_adjustments
from pipeline.ledger.code_digest import code_digest
from pipeline.ledger.verify import require_verified_ledger
from pipeline.pricebook.price_book import price_book_hash
from pipeline.pricebook.schema import FILES as PRICE_BOOK_FILES
from pipeline.store.alert_log import raise_alert_on_error
from pipeline.store.append import append_files
from pipeline.store.closes import (
    PRICE_BOOK,
    SCHEMAS,
    SUMS,
    close_folder,
    closed_periods,
    content_hash,
    file_sums,
    read_close,
)
from pipeline.store.manifest import manifest_head
from pipeline.store.raw import landed_file_rows
from pipeline.warehouse.build import build
from pipeline.warehouse.build_inputs import input_digests, input_fingerprint
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.connection import open_warehouse
from pipeline.warehouse.project import project_of

_ORDERS = {
    "invoices": "customer_id, currency",
    "invoice_lines": "customer_id, invoice_id, line_number",
    "credit_applications": "customer_id, invoice_id, grant_id",
    "credit_grants": "grant_id",
    "usage_days": "customer_id, line_id, usage_date",
}


@dataclass(frozen=True)
class CloseResult:
    """A closed month, closed by this call or before."""

    period: BillingPeriod
    already_closed: bool
    invoices: int
    head: str = ""
    """The manifest's head after the close, for `billhouse verify --head`."""
    totals: dict[str, Decimal] = field(default_factory=dict)
    """Sum of invoice totals by currency."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "period": str(self.period),
            "already_closed": self.already_closed,
            "invoices": self.invoices,
            "head": self.head,
            "totals": {currency: str(total) for currency, total in self.totals.items()},
        }


def close_period(
    home: Home,
    period: BillingPeriod,
    *,
    force: bool = False,
    accept_adjustments: bool = False,
    now: datetime | None = None,
    project: Path | None = None,
    on_progress: OnProgress | None = None,
) -> CloseResult:
    """Freeze the month's draft invoices, as of the instant of the last build, and refresh the reports.

    Builds first where an input changed since; every check must pass. A closed month is never changed, so that a call can be
    repeated after an interruption. `force` closes before the month's end plus grace; usage after that is adjusted on the next
    invoice. `accept_adjustments` allows adjustments of closed months above BILLHOUSE_ADJUSTMENT_LIMIT_SHARE.

    Raises NotPossibleError where the month is not over or an earlier month is open, BillhouseError where a check fails,
    AdjustmentsError where closed months would change by too much. All but the first raise an alert.
    """
    with raise_alert_on_error(home, "close_failed", f"close {period}"), home.writing():
        project = project or project_of(home)
        require_verified_ledger(home)
        if period not in closed_periods(home):
            _close(home, period, force, accept_adjustments, now or datetime.now(UTC), project, on_progress)
            already_closed = False
        else:
            already_closed = True
        record = last_build(home)
        if record is not None and not is_current(home, record.as_of, project):
            build(home, record.as_of, project=project, on_progress=on_progress)
    invoices = read_close(home, period, "invoices")
    return CloseResult(period, already_closed, invoices.num_rows, manifest_head(home), totals_by_currency(invoices))


def totals_by_currency(invoices: pa.Table) -> dict[str, Decimal]:
    """Sum of `total_amount` by currency."""
    summed = invoices.group_by("currency").aggregate([("total_amount", "sum")]).sort_by("currency")
    return dict(zip(summed["currency"].to_pylist(), summed["total_amount_sum"].to_pylist(), strict=True))


def _close(
    home: Home,
    period: BillingPeriod,
    force: bool,
    accept_adjustments: bool,
    now: datetime,
    project: Path,
    on_progress: OnProgress | None,
) -> None:
    record = last_build(home)
    as_of = record.as_of if record else now
    _refuse_before_opening(period)
    _refuse_too_early(period, as_of, now, force)
    if not is_current(home, as_of, project):
        build(home, as_of, project=project, on_progress=on_progress)
    with open_warehouse(home) as warehouse:
        _refuse_out_of_order(period, closed_periods(home), _draft_periods(warehouse))
        if not accept_adjustments:
            refuse_large_adjustments(warehouse, period)
        tables = {table: _draft(warehouse, table, order, period, now) for table, order in _ORDERS.items()}
    _refuse_unbalanced(period, tables)
    tables["landed_files"] = _landed_since(home)
    tables["close"] = _manifest(home, period, as_of, now, project, tables)
    _write(home, period, tables, project / "seeds")


def _refuse_before_opening(period: BillingPeriod) -> None:
    settings = Settings.load()
    if period.start < settings.books_open_at:
        raise NotPossibleError(
            f"{period} cannot be closed: the books open with {settings.first_billing_month} (BILLHOUSE_FIRST_BILLING_MONTH).",
            "Close that month or a later one; or set an earlier first month, land its usage, and build.",
        )


def _refuse_too_early(period: BillingPeriod, as_of: datetime, now: datetime, force: bool) -> None:
    if as_of < period.start:
        raise NotPossibleError(
            f"{period} had not begun at {as_of:%Y-%m-%d %H:%M} UTC, the instant of the last build.",
            "Build as of a later instant first: billhouse build --as-of ...",
        )
    if force:
        return
    if as_of < period.end:
        raise NotPossibleError(
            f"{period} was not over at {as_of:%Y-%m-%d %H:%M} UTC, the instant of the last build.",
            f"Build as of {period.end:%Y-%m-%dT%H:%M:%SZ} or later, or close it now with --force: "
            "later usage is then adjusted on the next invoice.",
        )
    grace = Settings.load().close_grace
    if now < period.end + grace:
        raise NotPossibleError(
            f"{period} can be closed from {period.end + grace:%Y-%m-%d %H:%M} UTC on: late events have until then.",
            "Wait, or close it now with --force: late usage is then adjusted on the next invoice.",
        )


def _refuse_out_of_order(period: BillingPeriod, closed: Sequence[BillingPeriod], drafts: Sequence[BillingPeriod]) -> None:
    if closed and period < closed[-1]:
        raise NotPossibleError(
            f"{period} cannot be closed any more: {closed[-1]} is closed, and months close in order.",
            f"Amounts due for {period} are adjustments on the next invoice.",
        )
    earlier = [draft for draft in drafts if draft < period]
    if earlier:
        raise NotPossibleError(
            f"{period} cannot be closed yet: {earlier[0]} still has drafts, and months close in order.",
            f"Close it first: billhouse close {earlier[0]}",
        )


def _refuse_unbalanced(period: BillingPeriod, tables: dict[str, pa.Table]) -> None:
    """Check once more before writing that each invoice's lines sum to its subtotal."""
    lines = tables["invoice_lines"].group_by("invoice_id").aggregate([("amount", "sum")])
    sums = dict(zip(lines["invoice_id"].to_pylist(), lines["amount_sum"].to_pylist(), strict=True))
    stated = dict(
        zip(tables["invoices"]["invoice_id"].to_pylist(), tables["invoices"]["subtotal_amount"].to_pylist(), strict=True)
    )
    if sums != stated:
        wrong = sorted(key for key in sums.keys() | stated.keys() if sums.get(key) != stated.get(key))
        raise BillhouseError(
            f"{period} was not closed: the lines of {wrong[0]} do not sum to its subtotal ({len(wrong)} such invoices).",
            "Build with --from-scratch. If the error remains, it is a bug in the models: please report it.",
        )


def _draft_periods(warehouse: duckdb.DuckDBPyConnection) -> list[BillingPeriod]:
    rows = warehouse.execute("select distinct period from invoicing.draft_invoices order by period").fetchall()
    return [BillingPeriod.parse(period) for (period,) in rows]


def _draft(warehouse: duckdb.DuckDBPyConnection, table: str, order: str, period: BillingPeriod, now: datetime) -> pa.Table:
    # A grant is frozen by the first close after it was granted, whether or not its month had an invoice.
    chosen = "period <= $period" if table == "credit_grants" else "period = $period"
    rows = warehouse.sql(
        f"select * replace ($period as period) from invoicing.draft_{table} where {chosen} order by {order}",
        params={"period": str(period)},
    ).to_arrow_table()
    schema = SCHEMAS[table]
    if "closed_at" in schema.names:
        rows = rows.append_column("closed_at", pa.array([now] * rows.num_rows, pa.timestamp("us", tz="UTC")))
    return rows.select(schema.names).cast(schema)


def _landed_since(home: Home) -> pa.Table:
    """The files that landed since the previous close, from raw/landed_files."""
    known = {id for closed in closed_periods(home) for id in read_close(home, closed, "landed_files")["file_id"].to_pylist()}
    rows = landed_file_rows(home)
    is_new = [file_id not in known for file_id in rows["file_id"].to_pylist()]
    return rows.filter(pa.array(is_new, pa.bool_())).select(SCHEMAS["landed_files"].names)


def _manifest(
    home: Home, period: BillingPeriod, as_of: datetime, now: datetime, project: Path, tables: dict[str, pa.Table]
) -> pa.Table:
    closed = closed_periods(home)
    previous_hash = read_close(home, closed[-1], "close")["content_hash"][0].as_py() if closed else ""
    row = {
        "period": str(period),
        "as_of": as_of,
        "closed_at": now,
        "code_version": importlib.metadata.version("billhouse"),
        "code_digest": code_digest(project),
        "price_book_hash": price_book_hash(project / "seeds"),
        "input_fingerprint": input_fingerprint(input_digests(home, as_of, project)),
        **{table: rows.num_rows for table, rows in tables.items()},
        "previous_hash": previous_hash,
        "manifest_head": manifest_head(home),
    }
    row["content_hash"] = content_hash(row, tables)
    return pa.Table.from_pylist([row], schema=SCHEMAS["close"])


def _write(home: Home, period: BillingPeriod, tables: dict[str, pa.Table], seeds: Path) -> None:
    """Write the month's folder, price book included: if the process is killed, the whole month is there or nothing of it."""
    with append_files(home, f"close {period}") as files:
        folder = files.folder(close_folder(home, period))
        for table, rows in tables.items():
            pq.write_table(rows, folder / f"{table}.parquet", compression="zstd")
        (folder / PRICE_BOOK).mkdir(mode=0o700)
        for name in PRICE_BOOK_FILES:
            (folder / PRICE_BOOK / name).write_bytes((seeds / name).read_bytes())
        (folder / SUMS).write_text(file_sums(folder))
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o400)
