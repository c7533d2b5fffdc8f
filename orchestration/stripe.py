"""The mirror of Stripe, and its comparison with the ledger."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from orchestration.lib.automation import hourly_run_key, sensor
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import BILLING
from orchestration.lib.resources import BillhouseHome
from orchestration.lib.retries import EXTERNAL_CALL_RETRY_POLICY, fail_without_retry
from orchestration.month_end import published_invoices
from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings
from pipeline.monitoring.health import updated_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.stripe.mirror import SyncResult, newest_unmirrored_event
from pipeline.stripe.operations import sync_and_build
from pipeline.warehouse.reports import reconciliation


@dg.asset(
    deps=[published_invoices],
    group_name="stripe",
    kinds={"stripe", "parquet"},
    owners=[BILLING],
    pool="warehouse",
    retry_policy=EXTERNAL_CALL_RETRY_POLICY,
)
@convert_errors
def stripe_mirror(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """Customers, subscriptions, invoices, payments, credit notes and events in Stripe, as of the last sync."""
    with fail_without_retry(), updated_health(home.home):
        synced = sync_and_build(home.home, allow_live=Settings.load().stripe_live)
    for written in written_files(home.home, "stripe"):
        context.log_event(written)
    return dg.MaterializeResult(metadata=sync_metadata(synced))


def sync_metadata(synced: SyncResult) -> dict[str, Any]:
    """Metadata of a sync."""
    return {"where": synced.where, "is_full": synced.is_full, **synced.counts}


@dg.asset_check(asset=stripe_mirror)
@convert_errors
def stripe_agrees(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Stripe agrees with the ledger for each invoice and line, and each subscription in Stripe identifies its plan."""
    result = reconciliation(home.home)
    if result["differences"]:
        text = f"{len(result['differences'])} invoices differ between Stripe and the ledger. See: billhouse reconcile"
        raise_alert(home.home, OperationalAlert("drift", "Stripe", text))
    if result["subscriptions"]:
        text = f"{len(result['subscriptions'])} subscriptions in Stripe do not identify their plan. See: billhouse reconcile"
        raise_alert(home.home, OperationalAlert("drift", "Stripe subscriptions", text))
    return compared_with_stripe(result)


def compared_with_stripe(result: Mapping[str, Any]) -> dg.AssetCheckResult:
    """The check of the ledger against Stripe, of `pipeline.warehouse.reports.reconciliation`."""
    columns = ("difference", "invoice_id", "stripe_invoice_id", "customer_id")
    rows = [[row[column] for column in columns] for row in result["differences"][:50]]
    sums = {
        f"{name}_{row['currency']}": str(row[f"{name}_amount"])
        for row in result["sums"]
        for name in ("total", "paid", "open", "overdue")
    }
    unclear = result["subscriptions"]
    subscription_columns = ("problem", "stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
    subscription_rows = [[row[column] for column in subscription_columns] for row in unclear[:50]]
    return dg.AssetCheckResult(
        asset_key=stripe_mirror.key,
        check_name="stripe_agrees",
        passed=not result["differences"] and not unclear,
        metadata={
            "differences": len(result["differences"]),
            "table": markdown_table(columns, rows),
            "unclear_subscriptions": len(unclear),
            "subscriptions": markdown_table(subscription_columns, subscription_rows),
            **sums,
        },
    )


mirror_stripe = dg.define_asset_job(
    "mirror_stripe",
    selection=dg.AssetSelection.assets(stripe_mirror),
    description="Mirror Stripe and compare it with the ledger.",
)


@sensor("mirror_stripe", every_seconds=60)
def mirror_stripe_changes(home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Mirror Stripe when it has a new event: a payment, a voided invoice, a manual change. Failed runs are retried every hour."""
    event = newest_unmirrored_event(home.home, allow_live=Settings.load().stripe_live)
    if event is None:
        return dg.SkipReason("No new Stripe events.")
    return dg.RunRequest(run_key=hourly_run_key(event))


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(
        assets=[stripe_mirror], asset_checks=[stripe_agrees], jobs=[mirror_stripe], sensors=[mirror_stripe_changes]
    )
