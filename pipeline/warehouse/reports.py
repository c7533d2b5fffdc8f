"""Reads the report tables for the command line: invoices, status, reconciliation with Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.core.sql import rows_as_dictionaries
from pipeline.store.approvals import APPROVALS
from pipeline.store.closes import closed_periods
from pipeline.store.raw import landed_file_ids


def open_reports(home: Home) -> duckdb.DuckDBPyConnection:
    """A read-only connection to billhouse.duckdb whose default schema is `billing`.

    Raises BillhouseError where nothing was built yet.
    """
    if not home.analysts_file.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Build first: billhouse build")
    # Without this, DuckDB would look for an unknown table among Python's variables.
    connection = duckdb.connect(str(home.analysts_file), read_only=True)
    connection.execute("set python_enable_replacements = false")
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("use billing")
    return connection


@dataclass(frozen=True)
class InvoiceWithoutApproval:
    """A closed invoice that is collected, and has no approval."""

    period: str
    currency: str
    invoice_id: str
    total_amount: Decimal
    """In major units."""
    is_automatic: bool
    """A publication approves it (BILLHOUSE_AUTO_APPROVE_UNDER): it waits for no person."""


def invoices_without_approval(home: Home, reports: duckdb.DuckDBPyConnection) -> list[InvoiceWithoutApproval]:
    """The closed invoices to be approved before they are published, by month and currency, as of the last build."""
    limits = Settings.load().auto_approve_under
    # A person's decision, also a revoked approval, is never changed automatically.
    decided = set(APPROVALS.read(home)["invoice_id"].to_pylist()) if limits else set()
    rows = reports.execute(
        # Invoices that are not collected stay closed.
        "select period, currency, invoice_id, total_amount from invoices"
        " where status = 'closed' and collection <> 'none' order by all"
    ).fetchall()
    return [
        InvoiceWithoutApproval(period, currency, id, total, currency in limits and total < limits[currency] and id not in decided)
        for period, currency, id, total in rows
    ]


def files_landed_since_build(home: Home) -> int:
    """The number of landed files and retries that the report tables do not have. Takes no lock, and writes nothing.

    Raises BillhouseError where nothing was built.
    """
    with open_reports(home) as reports:
        built = {file_id for (file_id,) in reports.execute("select file_id from landed_files").fetchall()}
    return sum(file_id not in built for file_id in landed_file_ids(home))


def list_invoices(home: Home, period: BillingPeriod | None = None) -> list[dict[str, Any]]:
    """Invoices by period and customer, each as a dictionary; amounts are text in the currency's own digits."""
    with open_reports(home) as reports:
        rows = reports.execute(
            "select invoice_id, customer_id, customer_name, period, currency, status, plan_id, collection, line_count,"
            " subtotal_amount, credits_applied_amount, total_amount, stripe_invoice_id"
            " from invoices where $period is null or period = $period order by period, customer_id, currency",
            {"period": str(period) if period else None},
        )
        return rows_as_dictionaries(rows)


def read_status(home: Home) -> dict[str, Any]:
    """Counts of landed rows, the last build's instant, the closed months, and invoices by month and status.

    Of the rows: received = accepted + duplicate + quarantined + settled; a settled row is in quarantine, and waits no longer.
    """
    import pyarrow.compute as pc

    from pipeline.landing.quarantine_report import settled_rows
    from pipeline.store.raw import landed_file_rows
    from pipeline.warehouse.build_record import last_build

    record = last_build(home)
    landings = landed_file_rows(home)
    counts = {
        name: pc.sum(landings[f"{name}_rows"]).as_py() or 0 for name in ("received", "accepted", "duplicate", "quarantined")
    }
    # A row in quarantine that was checked again is counted twice: once in the landing, once in the retry.
    retries = landings.filter(pc.field("retried_file_id").is_valid())
    retried = pc.sum(pc.coalesce(retries["superseded_rows"], retries["received_rows"])).as_py() or 0
    counts["received"] -= retried
    counts["settled"] = settled_rows(home)
    counts["quarantined"] -= retried + counts["settled"]
    months: list[dict[str, Any]] = []
    if home.analysts_file.exists():
        with open_reports(home) as reports:
            rows = reports.execute(
                "select period, currency, status, count(*) as invoices, sum(subtotal_amount) as subtotal_amount,"
                " sum(credits_applied_amount) as credits_applied_amount, sum(total_amount) as total_amount"
                " from invoices group by all order by period, currency, status"
            )
            months = rows_as_dictionaries(rows)
    return {
        "home": str(home.path),
        "landed": {"files": landings.num_rows - retries.num_rows, **counts},
        "built_as_of": record.as_of.isoformat() if record else None,
        "closed": [str(period) for period in closed_periods(home)],
        "months": months,
    }


def reconciliation(home: Home, period: BillingPeriod | None = None) -> dict[str, Any]:
    """Differences between our invoices and Stripe's, sums by currency, and Stripe subscriptions with a problem today.

    `period` limits the first two; subscriptions are always of all periods. Raises BillhouseError where Stripe was never mirrored,
    since an empty list would look like agreement.
    """
    chosen = "period = $period or period is null" if period else "true"
    asked = {"period": str(period)} if period else {}
    with open_reports(home) as reports:
        differences = _dictionaries(
            reports,
            "select invoice_id, stripe_invoice_id, customer_id, period, currency, total_amount, stripe_total_amount,"
            f" stripe_status, difference from stripe_reconciliation where difference <> 'none' and ({chosen}) order by all",
            asked,
        )
        sums = _dictionaries(
            reports,
            "select currency, count(*) as invoices, sum(total_amount) as total_amount, sum(paid_amount) as paid_amount,"
            " sum(open_amount) as open_amount, sum(overdue_amount) as overdue_amount, sum(credited_amount) as credited_amount,"
            f" max(synced_at) as synced_at from stripe_reconciliation where ({chosen}) and total_amount is not null"
            " group by currency order by currency",
            asked,
        )
        subscriptions = _dictionaries(
            reports,
            "select problem, stripe_subscription_id, stripe_customer_id, customer_id, stripe_status, starts_at"
            " from stripe_subscriptions where is_current and problem <> 'none' order by all",
            {},
        )
    if not (differences or sums) and not any((home.raw / "stripe" / "syncs").glob("2*.parquet")):
        raise BillhouseError("Stripe was never mirrored.", "Mirror it first: billhouse sync-stripe")
    return {"differences": differences, "sums": sums, "subscriptions": subscriptions}


def _dictionaries(reports: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    result = reports.execute(sql, parameters)
    return rows_as_dictionaries(result)
