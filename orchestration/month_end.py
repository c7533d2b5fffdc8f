"""The month's end, as assets: close, publish, export, one partition a calendar month."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import BILLING, FINANCE
from orchestration.lib.partitions import asked_months, billing_months
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings
from pipeline.exports import export_period
from pipeline.ledger.close import close_period
from pipeline.ledger.verify import LedgerChangedError, verify_ledger
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.stripe.publishing import publish_and_refresh
from pipeline.warehouse.build import BuildFailedError

_DRAFTS = [dg.AssetKey(["invoicing", table]) for table in ("draft_invoices", "draft_invoice_lines", "draft_credit_applications")]
TALKS_TO_THE_WORLD = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""10, 20 and 40 seconds, give or take. What is asked of Stripe and of receivers is tried again besides, request by request."""


@contextmanager
def no_use_in_trying_again() -> Iterator[None]:
    """A check that failed fails again: no retry."""
    try:
        yield
    except (BuildFailedError, LedgerChangedError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


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
    """The month's invoices, frozen in the ledger for good.

    Refuses before the month's end plus grace, while an earlier month is open, when any check fails, and when it would correct
    closed months by more than the limit. A launch cannot override that: use `billhouse close --force` or `--accept-adjustments`.
    Several months are closed in order. A month that is closed already stays as it is.
    """
    for month in asked_months(context):
        closed = close_period(home.home, month)
        write_health(home.home)
        totals = {f"total_{currency}": str(total) for currency, total in closed.totals.items()}
        facts = {"dagster/partition_row_count": closed.invoices, "was_closed_before": closed.already_closed, **totals}
        context.add_asset_metadata(facts, partition_key=str(month))
    return dg.MaterializeResult()


@dg.asset_check(asset=closed_invoices, blocking=True, description="Every file of the ledger is, byte for byte, what was written.")
@convert_errors
def ledger_is_as_written(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Every close's hash, the chain of closes, every sum. Nothing is published past it."""
    result = verify_ledger(home.home, with_raw_content=False)
    if result.problems:
        told = f"It is not as it was written. {result.problems[0]}"
        raise_alert(home.home, OperationalAlert("check_failed", "The ledger", told))
    return dg.AssetCheckResult(
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
    group_name="month_end",
    kinds={"stripe"},
    owners=[BILLING],
    pool="warehouse",
    retry_policy=TALKS_TO_THE_WORLD,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def published_invoices(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """The month's approved invoices, in Stripe, each once: without STRIPE_API_KEY, in the local emulator. Safe to repeat.

    What nobody approved waits: billhouse approve, or the setting BILLHOUSE_AUTO_APPROVE_UNDER. A ledger that is not as it was
    written, or a build that fails, publishes nothing.
    """
    problems = []
    for month in asked_months(context):
        with no_use_in_trying_again():
            published = publish_and_refresh(home.home, month, allow_live=Settings.load().stripe_live)
        write_health(home.home)
        problems += published.problems
        if published.counts["not_approved"]:
            context.log.warning(f"{published.counts['not_approved']} invoices wait for approval: billhouse approve {month}")
        amounts = {f"total_{currency}": str(amount) for currency, amount in published.amounts.items()}
        context.add_asset_metadata({"where": published.where, **published.counts, **amounts}, partition_key=str(month))
    for problem in problems:
        context.log.error(str(problem))
    if problems:
        raise dg.Failure(f"{len(problems)} invoices were not published. First: {problems[0]}")
    return dg.MaterializeResult()


@dg.asset(
    partitions_def=billing_months,
    deps=[closed_invoices],
    group_name="month_end",
    kinds={"excel", "csv"},
    owners=[FINANCE],
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def month_export(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """The month for finance: an Excel workbook, its tables as CSV and Parquet, a double-entry journal, a statement a customer."""
    for month in asked_months(context):
        exported = export_period(home.home, month)
        sizes = {file.name: file.stat().st_size for file in exported.files}
        facts = {
            "folder": dg.MetadataValue.path(str(exported.folder)),
            "files": markdown_table(["file", "bytes"], sizes.items()),
            "bytes": sum(sizes.values()),
            "rows": markdown_table(["table", "rows"], exported.rows.items()),
            "statements": exported.statements,
            **{f"total_{totals.currency}": str(totals.total) for totals in exported.totals},
        }
        context.add_asset_metadata(facts, partition_key=str(month))
    return dg.MaterializeResult()
