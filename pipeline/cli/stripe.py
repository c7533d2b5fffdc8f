"""Commands for Stripe: publish, credit-note, sync-stripe, reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pipeline.cli.support import SHOWN_ROWS, Json, Live, OptionalPeriod, Period, out, progress, report, show, table
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.plain_text import plain_json
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.stripe.credit_notes import CreditNoteResult
    from pipeline.stripe.mirror import SyncResult
    from pipeline.stripe.publish_result import PublishResult


def publish(
    context: typer.Context,
    period: Period,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the requests, and send none.")] = False,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Publish a closed month's approved invoices to Stripe, each exactly once. Safe to interrupt and to repeat.

    Without STRIPE_API_KEY in the environment, publishes to the local Stripe emulator. Next: billhouse sync-stripe, then
    billhouse reconcile.
    """
    month = BillingPeriod.parse(period)
    from pipeline.monitoring.health import updated_health
    from pipeline.stripe.operations import publish_and_build

    home = Home.open(context.obj)
    with updated_health(home), progress("Publishing") as follow:
        result = publish_and_build(home, month, dry_run=dry_run, allow_live=live, on_progress=follow)
    if not dry_run:
        report(home, "publish", result)
    show(as_json, result.as_dict(), lambda: print_publication(result))
    if result.problems:
        raise typer.Exit(1)


def credit_note(
    context: typer.Context,
    invoice_id: Annotated[str, typer.Argument(metavar="INVOICE", help="The id of a published invoice.", show_default=False)],
    memo: Annotated[str, typer.Option(help="The text for the customer.")] = "",
    settle: Annotated[
        str, typer.Option(help="How to settle an invoice that was paid: balance, refund, or outside (of Stripe).")
    ] = "balance",
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who issues it. Default: the name of the logged-in user.", show_default=False),
    ] = None,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Credit on a published invoice what it billed above the amount due, instead of adjusting the next invoice.

    Land the correction and build first. The credit note is issued exactly once; safe to interrupt and to repeat. To waive an
    amount that is due, land a goodwill credit grant instead.
    """
    if settle not in ("balance", "refund", "outside"):
        raise WrongUsageError(f"Invalid --settle value '{settle}'.", "Use balance, refund or outside.")
    from pipeline.monitoring.health import updated_health
    from pipeline.stripe.operations import credit_and_build

    home = Home.open(context.obj)
    with updated_health(home), progress("Crediting") as follow:
        result = credit_and_build(
            home,
            invoice_id,
            by=by,
            memo=memo,
            settlement=cast(Any, settle),
            allow_live=live,
            on_progress=follow,
        )
    show(as_json, result.as_dict(), lambda: print_credit_note(result))


def sync_stripe(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Fetch everything, not only changes since the last sync.")] = False,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Mirror customers, subscriptions, invoices, payments, credit notes and events of Stripe into raw/stripe/ and the reports.

    Only reads from Stripe. Safe to interrupt and to repeat. Next: billhouse reconcile.
    """
    from pipeline.monitoring.health import updated_health
    from pipeline.stripe.operations import sync_and_build

    home = Home.open(context.obj)
    with updated_health(home), progress("Mirroring") as follow:
        result = sync_and_build(home, full=full, allow_live=live, on_progress=follow)
    report(home, "sync-stripe", result)
    show(as_json, result.as_dict(), lambda: print_sync(result))


def reconcile(
    context: typer.Context,
    period: OptionalPeriod = None,
    as_json: Json = False,
) -> None:
    """Compare the ledger's invoices with Stripe's as of the last sync, and list differences; exits with 1 if there are any.

    Also shows the paid, open and overdue amounts. Changes nothing. What each difference means: docs/operate/stripe.md.
    """
    month = BillingPeriod.parse(period) if period is not None else None
    from pipeline.warehouse.reports import reconciliation

    home = Home.open(context.obj)
    result = reconciliation(home, month)
    if month is None:
        report(home, "reconcile", result)
    show(as_json, result, lambda: print_reconciliation(result))
    if result["differences"] or result["subscriptions"]:
        raise typer.Exit(1)


def print_publication(result: PublishResult) -> None:
    """Print the published invoices, those that were left out and why, warnings and problems."""
    if result.is_dry_run:
        out.print(f"Dry run: [bold]{len(result.requests)}[/] requests would be sent to {plain(result.where)}. None was sent:")
        for request in result.requests:
            out.print(f"{request['method']} {request['path']} {plain_json(request['params'])}", markup=False, soft_wrap=True)
        return
    counts = result.counts
    amounts = ", ".join(format_money(amount, currency) for currency, amount in result.amounts.items()) or "nothing"
    out.print(
        f"Published [bold]{result.period}[/] to {plain(result.where)}: {counts['published']:,} new invoices,"
        f" {counts['already_published']:,} published before, {amounts} in total."
    )
    if counts["not_approved"]:
        out.print(f"{counts['not_approved']:,} are not approved yet: billhouse approve {result.period} --all")
    if counts["not_collected"]:
        out.print(f"{counts['not_collected']:,} are not published: all their lines are of plans that are not collected.")
    for warning in result.warnings:
        out.print(f"[yellow]warning[/] {plain(warning)}", soft_wrap=True)
    for problem in result.problems:
        out.print(f"[red]failed[/] {plain(problem)}", soft_wrap=True)


def print_credit_note(result: CreditNoteResult) -> None:
    """Print the credit note, its lines, and earlier ones that this call published."""
    if result.credit_note_id:
        out.print(
            f"Credited [bold]{format_money(result.amount, result.currency)}[/] on {result.invoice_id}, in {plain(result.where)}:"
            f" {result.credit_note_id}."
        )
        for line in result.lines:
            out.print(f"  {format_money(line['amount'], result.currency):>16}  {plain(line['description'])}", soft_wrap=True)
    for earlier in result.published:
        if earlier != result.credit_note_id:
            out.print(f"{earlier}, issued earlier, is now in Stripe.")
    if not result.credit_note_id and result.issued_before:
        out.print(f"Nothing more to credit on {result.invoice_id}. Issued earlier: {', '.join(result.issued_before)}.")


def print_sync(result: SyncResult) -> None:
    """Print the number of mirrored objects by kind."""
    what = "all objects" if result.is_full else "changes"
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in result.counts.items() if count) or "none"
    out.print(f"Mirrored {what} from {plain(result.where)}: {counts}.")


def print_reconciliation(result: dict[str, Any]) -> None:
    """Print the differences, the subscriptions with a problem, and the sums by currency."""
    if result["differences"]:
        shown = table("difference", "invoice", "Stripe invoice", "customer", "Stripe status", ">ledger", ">Stripe")
        for row in result["differences"][:SHOWN_ROWS]:
            ours, theirs = (
                format_money(row[name], row["currency"]) if row[name] is not None else "-"
                for name in ("total_amount", "stripe_total_amount")
            )
            texts = (plain(row[name] or "-") for name in ("invoice_id", "stripe_invoice_id", "customer_id", "stripe_status"))
            shown.add_row(f"[red]{row['difference']}[/]", *texts, ours, theirs)
        out.print(shown)
        if len(result["differences"]) > SHOWN_ROWS:
            out.print(f"and {len(result['differences']) - SHOWN_ROWS:,} more: billhouse reconcile --json")
        out.print("What each difference means, and what to do: docs/operate/stripe.md")
    else:
        out.print("[green]Stripe matches the ledger[/], invoice by invoice and line by line.")
    if result["subscriptions"]:
        shown = table("problem", "Stripe subscription", "Stripe customer", "customer", "Stripe status", "since (UTC)")
        for row in result["subscriptions"][:SHOWN_ROWS]:
            texts = (
                plain(row[name] or "-")
                for name in ("stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
            )
            shown.add_row(f"[red]{row['problem']}[/]", *texts, f"{row['starts_at']:%Y-%m-%d %H:%M}")
        out.print(shown)
        if len(result["subscriptions"]) > SHOWN_ROWS:
            out.print(f"and {len(result['subscriptions']) - SHOWN_ROWS:,} more: billhouse reconcile --json")
        out.print("What each problem means, and what to do: docs/operate/stripe.md, Plans from Stripe subscriptions")
    for row in result["sums"]:
        amounts = (
            f"{name} {format_money(row[f'{name}_amount'], row['currency'])}"
            for name in ("total", "paid", "open", "overdue", "credited")
        )
        out.print(f"{row['invoices']:,} invoices: {', '.join(amounts)} (as of the sync of {row['synced_at']:%Y-%m-%d %H:%M} UTC)")
