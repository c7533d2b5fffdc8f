"""Commands on the ledger: close, approve, explain, verify."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.support import SHOWN_ROWS, Json, Period, out, progress, report, show, stderr, table
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.ledger.approvals import ApprovalResult
    from pipeline.ledger.checklist_item import ChecklistItem
    from pipeline.ledger.close import CloseResult
    from pipeline.ledger.explanation import InvoiceExplanation, LineExplanation
    from pipeline.ledger.verify import VerifyResult


def close(
    context: typer.Context,
    period: Period,
    force: Annotated[bool, typer.Option("--force", help="Close before the month's end plus the grace period.")] = False,
    accept_adjustments: Annotated[
        bool,
        typer.Option("--accept-adjustments", help="Allow adjustments of closed months above BILLHOUSE_ADJUSTMENT_LIMIT_SHARE."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print the closing checklist, and close nothing; exit with 1 if an item stops it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Close a month: write its draft invoices to the ledger, where they never change again. Safe to interrupt and to repeat.

    Builds first if anything changed since the last build. Months close in order. Usage that lands later for a closed month is
    adjusted on the next invoice. Next: billhouse approve PERIOD.

    With --check it reads only: everything that must be so before the month is closed, each with its state and the next step.
    """
    month = BillingPeriod.parse(period)
    if check:
        if force or accept_adjustments:
            raise WrongUsageError("--check closes nothing: use it without --force and --accept-adjustments.")
        _check_close(Home.open(context.obj), month, as_json)
        return
    from pipeline.ledger.close import close_period
    from pipeline.monitoring.health import updated_health

    home = Home.open(context.obj)
    with updated_health(home), progress("Closing") as follow:
        result = close_period(home, month, force=force, accept_adjustments=accept_adjustments, on_progress=follow)
    report(home, "close", lambda: result)
    show(as_json, result.as_dict(), lambda: print_close(result))


def _check_close(home: Home, month: BillingPeriod, as_json: bool) -> None:
    from pipeline.ledger.closing_checklist import can_be_closed, closing_checklist

    items = closing_checklist(home, month)
    is_ready = can_be_closed(items)
    data = {"period": str(month), "can_be_closed": is_ready, "items": [one.as_dict() for one in items]}
    show(as_json, data, lambda: print_checklist(month, items, is_ready))
    if not is_ready:
        raise typer.Exit(1)


def approve(
    context: typer.Context,
    period: Period,
    invoice_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[INVOICE...]", help="Ids of invoices of that month.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Approve all invoices of the month.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke approvals of invoices that are not published yet.")] = False,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who approves. Default: the name of the logged-in user.", show_default=False),
    ] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, recorded with the decision.")] = "",
    as_json: Json = False,
) -> None:
    """Approve closed invoices for publishing; without INVOICE or --all, list the invoices that wait for approval.

    Records who approved which invoice, when and why. Safe to repeat. BILLHOUSE_AUTO_APPROVE_UNDER, for example '{"USD": "500"}',
    approves smaller invoices automatically. Next: billhouse publish PERIOD.
    """
    month = BillingPeriod.parse(period)
    if everything and invoice_ids:
        raise WrongUsageError("Give invoices or --all, not both.")
    if revoke and not (everything or invoice_ids):
        raise WrongUsageError("--revoke needs invoices or --all.")
    from pipeline.monitoring.health import updated_health
    from pipeline.stripe.operations import approve_and_build

    home = Home.open(context.obj)
    with updated_health(home), progress("Approving") as follow:
        result = approve_and_build(
            home,
            month,
            invoice_ids or (),
            everything=everything,
            revoke=revoke,
            by=by,
            why=why,
            on_decided=lambda decided: report(home, "approve", lambda: decided),
            on_progress=follow,
        )
    show(as_json, result.as_dict(), lambda: print_approvals(result))


def explain(
    context: typer.Context,
    invoice_id: Annotated[
        str, typer.Argument(metavar="INVOICE_ID", help="The id as listed by billhouse invoices.", show_default=False)
    ],
    line: Annotated[
        str | None,
        typer.Option("--line", metavar="LINE_ID", help="Explain only this line, down to the landed events.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain an invoice: its total, lines and days; with --line, also the line's sandboxes, sessions and landed events.

    Shows who approved the invoice, when and why, and the arithmetic of each step; the parts sum to the whole. Changes nothing.
    """
    from pipeline.ledger.explain import explain as explain_invoice

    home = Home.open(context.obj)
    with progress("Explaining") as follow:
        explanation = explain_invoice(home, invoice_id, line, on_progress=follow)
    show(as_json, explanation.as_dict(), lambda: print_explanation(explanation))


def verify(
    context: typer.Context,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HASH", help="A head printed earlier: fail if anything written before it was changed."),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="First add files to the manifest that no command wrote, and print their number.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify raw/ and ledger/: every file against the manifest, every close's hash, every invoice's sums. Changes nothing.

    Prints the manifest's head. Store it where users with write access to this home cannot change it, and pass it with --head next
    time: every later edit, deletion, forgery or rollback is then reported. Alerts, exports, invoices in Stripe and the health
    file contain the head, too. Exits with 1 if there is a problem.
    """
    from pipeline.ledger.verify import verify_ledger
    from pipeline.store.integrity import adopt_files

    home = Home.open(context.obj)
    if adopt:
        print_adopted(adopt_files(home))
    result = verify_ledger(home, head=head)
    # A head with a spelling error says nothing about the ledger.
    report(home, "verify", lambda: replace(result, problems=[one for one in result.problems if one != result.head_problem]))
    show(as_json, result.as_dict(), lambda: print_verification(result))
    if result.problems:
        raise typer.Exit(1)


def print_close(result: CloseResult) -> None:
    """Print the number of invoices, their totals, and the next command."""
    totals = ", ".join(format_money(total, currency) for currency, total in result.totals.items()) or "nothing"
    if result.already_closed:
        out.print(f"{result.period} was already closed; nothing changed: {result.invoices:,} invoices, {totals} in total.")
    else:
        out.print(f"Closed [bold]{result.period}[/]: {result.invoices:,} invoices, {totals} in total.")
    out.print(f"Head of the manifest: {result.head}", soft_wrap=True)
    out.print(f"Next: billhouse approve {result.period}")


def print_checklist(month: BillingPeriod, items: list[ChecklistItem], is_ready: bool) -> None:
    """Print each item with its state, and below it what to do."""
    colors = {"ok": "green", "attention": "yellow", "blocks": "red"}
    for one in items:
        state = f"[{colors[one.state]}]{one.state.words:<15}[/]"
        out.print(f"{state} [bold]{one.title}[/]: {plain(one.detail)}", soft_wrap=True)
        if one.name == "adjustments":
            for example in one.examples:
                amount = format_money(Decimal(example["adjustment_amount"]), example["currency"])
                out.print(
                    f"                  {plain(example['customer_id'])}, {example['service_period']}: {amount}", soft_wrap=True
                )
        if one.next_step:
            out.print(f"                [dim]next:[/] {plain(one.next_step)}", soft_wrap=True)
    if is_ready:
        out.print(f"Nothing stops the close of {month}.")
    else:
        out.print(f"Items that stop the close of {month}: {sum(one.state == 'blocks' for one in items)}.")


def print_approvals(result: ApprovalResult) -> None:
    """Print the decisions, and the invoices that wait for approval."""
    if result.approved:
        out.print(f"Approved [bold]{len(result.approved):,}[/] invoices of {result.period}, by {plain(result.decided_by)}.")
    if result.revoked:
        out.print(f"Revoked the approval of [bold]{len(result.revoked):,}[/] invoices of {result.period}.")
    if not result.waiting:
        out.print(f"No invoice of {result.period} waits for approval. Next: billhouse publish {result.period}")
        return
    shown = table("waits for approval", "customer", "plan", ">total")
    for row in result.waiting[:SHOWN_ROWS]:
        customer = row["customer_name"] or row["customer_id"]
        shown.add_row(
            row["invoice_id"], plain(customer), plain(row["plan_id"]), format_money(row["total_amount"], row["currency"])
        )
    out.print(shown)
    if len(result.waiting) > SHOWN_ROWS:
        out.print(f"and {len(result.waiting) - SHOWN_ROWS:,} more")
    out.print(f"Approve them: billhouse approve {result.period} INVOICE...  or --all")


def print_explanation(explained: InvoiceExplanation) -> None:
    """Print the invoice's total, lines and days; with sessions and events where the line has them."""
    currency = explained.currency
    out.print(
        f"[bold]{explained.invoice_id}[/], {plain(explained.customer_id)}, {explained.period}, {explained.status}",
        highlight=False,
    )
    parts = [f"{format_money(explained.subtotal_amount, currency)} in lines"]
    if explained.credits_applied_amount:
        parts.append(f"- {format_money(explained.credits_applied_amount, currency)} credit")
    if explained.carried_forward_amount:
        parts.append(f"- {format_money(explained.carried_forward_amount, currency)} carried forward")
    out.print(f"total {format_money(explained.total_amount, currency)} = {' '.join(parts)}")
    if explained.approved_by is not None and explained.approved_at is not None:
        reason = f": {plain(explained.approval_reason)}" if explained.approval_reason else ""
        out.print(
            f"approved by {plain(explained.approved_by)} at {explained.approved_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC{reason}",
            soft_wrap=True,
        )
    for credit in explained.credits:
        out.print(f"  credit {plain(credit['grant_id'])} ({credit['source']}): {format_money(credit['amount'], currency)}")
    for line in explained.lines:
        _line(line, currency)


def _line(line: LineExplanation, currency: str) -> None:
    out.print()
    out.print(
        f"[bold]{format_money(line.amount, currency)}[/]  {plain(line.description)}  [dim]{line.line_id}[/]", soft_wrap=True
    )
    for step in line.arithmetic:
        out.print(f"  {plain(step)}", soft_wrap=True)
    for day in line.days:
        out.print(f"  {day.usage_date}  {day.quantity.normalize():>24,f}  {format_money(day.amount, currency):>16}")
        for session in day.sessions[:SHOWN_ROWS]:
            out.print(
                f"    {plain(session.sandbox_id)}  {session.started_at:%Y-%m-%d %H:%M:%S} to"
                f" {session.ended_at:%Y-%m-%d %H:%M:%S} ({session.end_reason})"
                f"  {session.quantity.normalize():,f}  {format_money(session.amount, currency)}",
                soft_wrap=True,
            )
            for event in session.events[:SHOWN_ROWS]:
                out.print(
                    f"      {event.event_at:%Y-%m-%d %H:%M:%S.%f} {event.event_type} {plain(event.named)}"
                    f"  [dim]{plain(event.file_name)}, row {event.file_row}, {plain(event.event_id)}[/]",
                    soft_wrap=True,
                )
            if len(session.events) > SHOWN_ROWS:
                out.print(f"      and {len(session.events) - SHOWN_ROWS:,} more events (all with --json)")
        if len(day.sessions) > SHOWN_ROWS:
            out.print(f"    and {len(day.sessions) - SHOWN_ROWS:,} more sessions (all with --json)")


def print_verification(result: VerifyResult) -> None:
    """Print the problems, or that there are none, and the manifest's head."""
    for problem in result.problems:
        out.print(f"[red]problem[/] {plain(problem)}", soft_wrap=True)
    if not result.problems:
        out.print(f"Verified {len(result.periods)} closed months and {result.invoices:,} invoices: all hashes and sums match.")
        out.print("Every file in raw/ and ledger/ is unchanged, and each raw event occurs once.")
    if result.head:
        out.print(f"Head of the manifest: {result.head}", soft_wrap=True)


def print_adopted(files: int) -> None:
    """Print the number of files added to the manifest."""
    stderr.print(f"Added {files} files to the manifest that no command wrote.")
