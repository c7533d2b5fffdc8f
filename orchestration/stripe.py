"""Stripe, mirrored back, and held against what we have."""

import dagster as dg

from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import BILLING
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import TALKS_TO_THE_WORLD, no_use_in_trying_again, published_invoices
from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.stripe.publishing import sync_and_refresh
from pipeline.warehouse.reports import reconciliation


@dg.asset(
    deps=[published_invoices],
    group_name="stripe",
    kinds={"stripe", "parquet"},
    owners=[BILLING],
    pool="warehouse",
    retry_policy=TALKS_TO_THE_WORLD,
)
@convert_errors
def stripe_mirror(home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """What Stripe has: customers, subscriptions, invoices, payments, credit notes and events, as of now."""
    with no_use_in_trying_again():
        synced = sync_and_refresh(home.home, allow_live=Settings.load().stripe_live)
    write_health(home.home)
    return dg.MaterializeResult(metadata={"where": synced.where, "everything": synced.is_full, **synced.counts})


@dg.asset_check(asset=stripe_mirror)
@convert_errors
def stripe_agrees(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Stripe has what we have, invoice by invoice and line by line, and each subscription there says which plan it is for."""
    result = reconciliation(home.home)
    columns = ("difference", "invoice_id", "stripe_invoice_id", "customer_id")
    rows = [[row[column] for column in columns] for row in result["differences"][:50]]
    sums = {
        f"{name}_{row['currency']}": str(row[f"{name}_amount"])
        for row in result["sums"]
        for name in ("total", "paid", "open", "overdue")
    }
    if result["differences"]:
        told = f"{len(result['differences'])} invoices differ between Stripe and the ledger. See: billhouse reconcile"
        raise_alert(home.home, OperationalAlert("drift", "Stripe", told))
    unclear = result["subscriptions"]
    if unclear:
        message = f"{len(unclear)} subscriptions in Stripe do not say which plan they are for. See: billhouse reconcile"
        raise_alert(home.home, OperationalAlert("drift", "Stripe subscriptions", message))
    subscription_columns = ("problem", "stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
    subscription_rows = [[row[column] for column in subscription_columns] for row in unclear[:50]]
    return dg.AssetCheckResult(
        passed=not result["differences"] and not unclear,
        metadata={
            "differences": len(result["differences"]),
            "table": markdown_table(columns, rows),
            "unclear_subscriptions": len(unclear),
            "subscriptions": markdown_table(subscription_columns, subscription_rows),
            **sums,
        },
    )
