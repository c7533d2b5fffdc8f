"""The month end: close, publish and export, with one partition per calendar month; and the audit."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.landing import raw_events_are_what_landed
from orchestration.lib.automation import digest, hourly_run_key, schedule, sensor
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.due import invoices_to_publish, month_to_close, month_to_export
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import BILLING, FINANCE
from orchestration.lib.partitions import billing_months, selected_months
from orchestration.lib.resources import BillhouseHome
from orchestration.lib.retries import EXTERNAL_CALL_RETRY_POLICY, fail_without_retry
from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings
from pipeline.exports import ExportResult, export_period
from pipeline.ledger.close import CloseResult, close_period
from pipeline.ledger.verify import VerifyResult, verify_ledger
from pipeline.monitoring.health import updated_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.stripe.operations import publish_and_build
from pipeline.stripe.publish_result import PublishResult

_DRAFTS = [dg.AssetKey(["invoicing", table]) for table in ("draft_invoices", "draft_invoice_lines", "draft_credit_applications")]


@dg.asset(
    partitions_def=billing_months,
    deps=_DRAFTS,
    group_name="month_end",
    kinds={"parquet"},
    owners=[BILLING],
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def closed_invoices(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """The month's invoices, frozen permanently in the ledger.

    The close is refused before the end of the grace period, while an earlier month is open, if any check fails, and if it would
    correct closed months by more than the limit. A run cannot override this: use `billhouse close --force` or
    `--accept-adjustments`. Several months are closed in order. A month that is already closed does not change.
    """
    for month in selected_months(context):
        with updated_health(home.home):
            closed = close_period(home.home, month)
        context.add_asset_metadata(close_metadata(closed), partition_key=str(month))
    for written in written_files(home.home, "closes"):
        context.log_event(written)
    return dg.MaterializeResult()


def close_metadata(closed: CloseResult) -> dict[str, Any]:
    """Metadata of a closed month."""
    totals = {f"total_{currency}": str(total) for currency, total in closed.totals.items()}
    return {"dagster/partition_row_count": closed.invoices, "was_closed_before": closed.already_closed, **totals}


@dg.asset_check(asset=closed_invoices, blocking=True, description="Every file of the ledger is unchanged, byte for byte.")
@convert_errors
def ledger_is_as_written(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Check the hash of each close, the chain of closes, and all sums. If this fails, nothing is published."""
    result = verify_ledger(home.home, with_raw_content=False)
    if result.problems:
        text = f"It has changed since it was written. {result.problems[0]}"
        raise_alert(home.home, OperationalAlert("check_failed", "The ledger", text))
    return verified_ledger(result)


def verified_ledger(result: VerifyResult) -> dg.AssetCheckResult:
    """The check of the ledger."""
    return dg.AssetCheckResult(
        asset_key=closed_invoices.key,
        check_name="ledger_is_as_written",
        passed=not result.problems,
        metadata={
            "months": len(result.periods),
            "invoices": result.invoices,
            "problems": markdown_table(["problem"], [[problem] for problem in result.problems]),
        },
    )


@dg.asset(
    partitions_def=billing_months,
    deps=[closed_invoices],
    group_name="stripe",
    kinds={"stripe"},
    owners=[BILLING],
    pool="warehouse",
    retry_policy=EXTERNAL_CALL_RETRY_POLICY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def published_invoices(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """The month's approved invoices in Stripe, each once; without STRIPE_API_KEY, in the local emulator. Safe to repeat.

    Invoices without approval wait for `billhouse approve` or the setting BILLHOUSE_AUTO_APPROVE_UNDER. Nothing is published if
    the ledger has changed since it was written, or if the build fails.
    """
    problems = []
    for month in selected_months(context):
        with fail_without_retry(), updated_health(home.home):
            published = publish_and_build(home.home, month, allow_live=Settings.load().stripe_live)
        problems += published.problems
        if published.counts["not_approved"]:
            context.log.warning(f"{published.counts['not_approved']} invoices wait for approval: billhouse approve {month}")
        context.add_asset_metadata(publish_metadata(published), partition_key=str(month))
    for written in written_files(home.home, "ledger"):
        context.log_event(written)
    for problem in problems:
        context.log.error(str(problem))
    if problems:
        raise dg.Failure(f"{len(problems)} invoices were not published. First: {problems[0]}")
    return dg.MaterializeResult()


def publish_metadata(published: PublishResult) -> dict[str, Any]:
    """Metadata of a published month."""
    amounts = {f"total_{currency}": str(amount) for currency, amount in published.amounts.items()}
    return {"where": published.where, **published.counts, **amounts}


@dg.asset(
    partitions_def=billing_months,
    deps=[closed_invoices],
    group_name="exports",
    kinds={"excel", "csv"},
    owners=[FINANCE],
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def month_export(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """The month for finance: Excel workbook, tables as CSV and Parquet, double-entry journal, a statement for each customer."""
    for month in selected_months(context):
        exported = export_period(home.home, month)
        context.add_asset_metadata(export_metadata(exported), partition_key=str(month))
    return dg.MaterializeResult()


def export_metadata(exported: ExportResult) -> dict[str, Any]:
    """Metadata of an exported month."""
    sizes = {file.name: file.stat().st_size for file in exported.files}
    return {
        "folder": dg.MetadataValue.path(str(exported.folder)),
        "files": markdown_table(["file", "bytes"], sizes.items()),
        "bytes": sum(sizes.values()),
        "rows": markdown_table(["table", "rows"], exported.rows.items()),
        "statements": exported.statements,
        **{f"total_{totals.currency}": str(totals.total) for totals in exported.totals},
    }


close_month = dg.define_asset_job(
    "close_month",
    selection=dg.AssetSelection.assets(closed_invoices, month_export),
    description="Freeze a month's invoices in the ledger, verify the ledger, and export the month for finance.",
)
publish_month = dg.define_asset_job(
    "publish_month",
    selection=dg.AssetSelection.assets(published_invoices),
    description="Publish a closed month's approved invoices to Stripe, each once.",
)
export_month = dg.define_asset_job(
    "export_month",
    selection=dg.AssetSelection.assets(month_export),
    description="Write a month's workbook, tables, journal and statements again.",
)
audit = dg.define_asset_job(
    "audit",
    selection=dg.AssetSelection.checks(raw_events_are_what_landed, ledger_is_as_written),
    description="Read all raw events and the whole ledger, and check that they are unchanged.",
)


@schedule(close_month, "20 * * * *")
def close_after_grace(
    context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.RunRequest | dg.SkipReason:
    """Close a month when its grace period (BILLHOUSE_CLOSE_GRACE_HOURS) is over and a build contains all of it; tried hourly."""
    month = month_to_close(home.home, datetime.now(UTC))
    if month is None:
        return dg.SkipReason("No month can be closed: either its grace period is not over, or it is not built completely.")
    return dg.RunRequest(partition_key=str(month))


@schedule(export_month, "0 5 * * *")
def daily_export(context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Export the latest closed month every day, because its payments and its state in Stripe change."""
    month = month_to_export(home.home)
    return dg.RunRequest(partition_key=str(month)) if month is not None else dg.SkipReason("No month is closed.")


@schedule(audit, "30 3 * * 0")
def weekly_audit() -> dg.RunRequest:
    """Read all raw events and the whole ledger once a week."""
    return dg.RunRequest()


@sensor("publish_month", every_seconds=30)
def publish_approved(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.SensorResult | dg.SkipReason:
    """Publish approved invoices; failed ones are retried every hour."""
    due = invoices_to_publish(home.home)
    if not due:
        return dg.SkipReason("All approved invoices are in Stripe.")
    return dg.SensorResult(
        [dg.RunRequest(partition_key=str(month), run_key=hourly_run_key(str(month), digest(ids))) for month, ids in due.items()]
    )


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(
        assets=[closed_invoices, published_invoices, month_export],
        asset_checks=[ledger_is_as_written],
        jobs=[close_month, publish_month, export_month, audit],
        schedules=[close_after_grace, daily_export, weekly_audit],
        sensors=[publish_approved],
    )
