"""The comparison of the ledger with Stripe in short, for Dagster: numbers, sums and the first rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.home import Home
from pipeline.stripe.mirror import SyncResult
from pipeline.warehouse.reports import reconciliation

DIFFERENCE_COLUMNS = ("difference", "invoice_id", "stripe_invoice_id", "customer_id")
SUBSCRIPTION_COLUMNS = ("problem", "stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
_SHOWN = 50


@dataclass(frozen=True)
class StripeComparison:
    """What `pipeline.warehouse.reports.reconciliation` found."""

    differences: int
    difference_rows: list[list[str | None]]
    """Of the first 50, in DIFFERENCE_COLUMNS."""
    subscriptions: int
    """Subscriptions in Stripe that do not identify their plan."""
    subscription_rows: list[list[str | None]]
    """Of the first 50, in SUBSCRIPTION_COLUMNS."""
    sums: dict[str, str]
    """Amounts in major units, as `paid_USD`."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync mirrored, and the comparison after it; None where there are no reports to compare with."""

    synced: SyncResult
    comparison: StripeComparison | None


def sync_report(home: Home, synced: SyncResult) -> SyncReport:
    """The report of a sync that a build followed, if anything was built before."""
    has_reports = home.analysts_file.exists()
    return SyncReport(synced, stripe_comparison(reconciliation(home)) if has_reports else None)


def stripe_comparison(result: Mapping[str, Any]) -> StripeComparison:
    """Shorten the result of `pipeline.warehouse.reports.reconciliation`."""
    return StripeComparison(
        len(result["differences"]),
        [[row[column] for column in DIFFERENCE_COLUMNS] for row in result["differences"][:_SHOWN]],
        len(result["subscriptions"]),
        [[row[column] for column in SUBSCRIPTION_COLUMNS] for row in result["subscriptions"][:_SHOWN]],
        {
            f"{name}_{row['currency']}": str(row[f"{name}_amount"])
            for row in result["sums"]
            for name in ("total", "paid", "open", "overdue")
        },
    )
