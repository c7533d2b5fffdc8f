"""The month's end, as assets: close, publish, export, one partition a calendar month; and Stripe, mirrored back."""

import dagster as dg

from orchestration.partitions import billing_months
from orchestration.resources import BillhouseHome
from pipeline.exports import export_period
from pipeline.ledger import close_period
from pipeline.periods import BillingPeriod
from pipeline.publishing import publish_and_refresh, sync_and_refresh
from pipeline.reports import reconciliation

_DRAFTS = [dg.AssetKey(["invoicing", table]) for table in ("draft_invoices", "draft_invoice_lines", "draft_credit_applications")]


class CloseConfig(dg.Config):
    """What a close may be told."""

    force: bool = False
    """Close before the month's end plus grace; what lands late is then settled on the next invoice."""
    accept_adjustments: bool = False
    """Correct closed months, however much that changes them."""


@dg.asset(partitions_def=billing_months, deps=_DRAFTS, group_name="months", kinds={"parquet"}, pool="warehouse")
def closed_invoices(context: dg.AssetExecutionContext, config: CloseConfig, home: BillhouseHome) -> dg.MaterializeResult[None]:
    """The month's invoices, frozen in the ledger for good.

    Refuses before the month's end plus grace, while an earlier month is open, and when any check fails.
    """
    closed = close_period(
        home.home,
        BillingPeriod.parse(context.partition_key),
        force=config.force,
        accept_adjustments=config.accept_adjustments,
    )
    totals = {f"total_{currency}": str(total) for currency, total in closed.totals.items()}
    return dg.MaterializeResult(
        metadata={"dagster/row_count": closed.invoices, "was_closed_before": closed.already_closed, **totals}
    )


@dg.asset(partitions_def=billing_months, deps=[closed_invoices], group_name="months", kinds={"stripe"}, pool="warehouse")
def published_invoices(context: dg.AssetExecutionContext, home: BillhouseHome) -> dg.MaterializeResult[None]:
    """The month's approved invoices, in Stripe, each once: without STRIPE_API_KEY, in the local emulator. Safe to repeat.

    What nobody approved waits: billhouse approve, or the setting BILLHOUSE_AUTO_APPROVE_UNDER.
    """
    published = publish_and_refresh(home.home, BillingPeriod.parse(context.partition_key))
    for problem in published.problems:
        context.log.error(str(problem))
    if published.problems:
        raise dg.Failure(f"{len(published.problems)} invoices were not published. First: {published.problems[0]}")
    if published.counts["not_approved"]:
        context.log.warning(
            f"{published.counts['not_approved']} invoices wait for approval: billhouse approve {published.period}"
        )
    amounts = {f"total_{currency}": str(amount) for currency, amount in published.amounts.items()}
    return dg.MaterializeResult(metadata={"where": published.where, **published.counts, **amounts})


@dg.asset(partitions_def=billing_months, deps=[closed_invoices], group_name="months", kinds={"excel", "csv"}, pool="warehouse")
def month_export(context: dg.AssetExecutionContext, home: BillhouseHome) -> dg.MaterializeResult[None]:
    """The month for finance: an Excel workbook, and CSV files of invoices, lines and usage."""
    exported = export_period(home.home, BillingPeriod.parse(context.partition_key))
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(exported.folder)),
            "files": "\n".join(f"- {file.name}" for file in exported.files),
        }
    )


@dg.asset(deps=[published_invoices], group_name="months", kinds={"stripe"}, pool="warehouse")
def stripe_mirror(home: BillhouseHome) -> dg.MaterializeResult[None]:
    """What Stripe has: customers, subscriptions, invoices, payments, credit notes and events, as of now."""
    synced = sync_and_refresh(home.home)
    return dg.MaterializeResult(metadata={"where": synced.where, "everything": synced.is_full, **synced.counts})


@dg.asset_check(asset=stripe_mirror)
def stripe_agrees(home: BillhouseHome) -> dg.AssetCheckResult:
    """Stripe has what we have, invoice by invoice and line by line."""
    result = reconciliation(home.home)
    table = "\n".join(
        ["| difference | invoice | in Stripe | customer |", "| --- | --- | --- | --- |"]
        + [
            f"| {row['difference']} | {row['invoice_id'] or ''} | {row['stripe_invoice_id'] or ''} | {row['customer_id'] or ''} |"
            for row in result["differences"][:50]
        ]
    )
    sums = {
        f"{name}_{row['currency']}": str(row[f"{name}_amount"])
        for row in result["sums"]
        for name in ("total", "paid", "open", "overdue")
    }
    return dg.AssetCheckResult(
        passed=not result["differences"],
        metadata={"differences": len(result["differences"]), "table": dg.MetadataValue.md(table), **sums},
    )
