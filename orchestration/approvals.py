"""Approvals in the UI: a job that approves a closed month's invoices for publishing, with who and why."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from orchestration.lib.asset_events import materialized
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.metadata import markdown_table
from orchestration.lib.resources import BillhouseHome
from pipeline.core.errors import WrongUsageError
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.approvals import ApprovalResult
from pipeline.ledger.closed_invoices import closed_invoice_rows
from pipeline.monitoring.health import updated_health
from pipeline.store.closes import closed_periods
from pipeline.stripe.operations import approve_and_build

APPROVALS = dg.AssetKey(["ledger", "approvals"])
_SHOWN = 20


class ApprovalConfig(dg.Config):
    """What is approved, by whom and why. Choose by `customers`, by `invoices`, or with `everything`."""

    month: str = Field(description="The closed month, as 2026-09.")
    by: str = Field(description="Your name. The UI has no authentication: it is recorded as you write it.")
    why: str = Field(description="The reason, recorded with the decision.")
    customers: list[str] = Field(default=[], description="Ids of customers: all their invoices of the month.")
    invoices: list[str] = Field(default=[], description="Ids of invoices of the month.")
    everything: bool = Field(default=False, description="All invoices of the month.")
    revoke: bool = Field(default=False, description="Revoke instead, where an invoice is not published yet.")


@dg.op(pool="warehouse", description="Record the decisions in the ledger, then refresh the reports.")
@convert_errors
def approve(context: dg.OpExecutionContext, config: ApprovalConfig, home: dg.ResourceParam[BillhouseHome]) -> None:
    """Fails without a decision where the configuration is incomplete, or names a customer or an invoice that is not there."""
    opened = home.home
    month = BillingPeriod.parse(config.month.strip())
    chosen = chosen_invoices(opened, month, config)
    with updated_health(opened):
        result = approve_and_build(
            opened,
            month,
            chosen,
            everything=config.everything,
            revoke=config.revoke,
            by=config.by.strip(),
            why=config.why.strip(),
        )
    for event in approval_events(opened, result):
        context.log_event(event)
    context.log.info(
        f"{len(result.approved)} approved, {len(result.revoked)} revoked, {len(result.waiting)} of {month} wait for approval."
    )


def chosen_invoices(home: Home, month: BillingPeriod, config: ApprovalConfig) -> list[str]:
    """The invoices that a configuration names; none with `everything`. Raises WrongUsageError that says what to write."""
    for name, text in (("by", config.by), ("why", config.why)):
        if not text.strip():
            raise WrongUsageError(f"`{name}` is empty.", "Write who decides in `by` and the reason in `why`.")
    if bool(config.customers or config.invoices) == config.everything:
        raise WrongUsageError(
            "It is not clear which invoices are meant.", "Name `customers` or `invoices`, or set `everything: true`, not both."
        )
    if month not in closed_periods(home):
        raise WrongUsageError(
            f"{month} is not closed: only closed invoices can be approved.", "Close it with the job close_month."
        )
    rows = closed_invoice_rows(home, month) if config.customers else []
    with_invoice = {row["customer_id"] for row in rows}
    for customer in config.customers:
        if customer not in with_invoice:
            raise WrongUsageError(f"Customer {customer!r} has no invoice of {month}.", f"List them: billhouse invoices {month}")
    found = [row["invoice_id"] for row in rows if row["customer_id"] in config.customers and row["collection"] != "none"]
    return list(dict.fromkeys([*config.invoices, *found]))


def approval_events(home: Home, result: ApprovalResult) -> Iterator[dg.AssetMaterialization]:
    """The events of approvals: the ledger's files, and those decisions."""
    waiting = [
        [row["invoice_id"], row["customer_name"] or row["customer_id"], row["currency"], row["total_amount"]]
        for row in result.waiting[:_SHOWN]
    ]
    decision: dict[str, Any] = {
        "month": str(result.period),
        "decided_by": result.decided_by,
        "approved": len(result.approved),
        "revoked": len(result.revoked),
        "waiting": len(result.waiting),
        "waiting_invoices": markdown_table(["invoice", "customer", "currency", "total"], waiting),
    }
    for event in written_files(home, "ledger"):
        yield materialized(event.asset_key, {**event.metadata, **(decision if event.asset_key == APPROVALS else {})})


@dg.job(
    description="Approve a closed month's invoices for publishing to Stripe, or revoke approvals. Write who decides, and why."
)
def approve_invoices() -> None:
    """One step."""
    approve()


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(jobs=[approve_invoices])
