"""Commands that talk to Stripe, and reconcile, which compares it with the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pipeline.cli.support import SHOWN_ROWS, Json, Live, Period, out, progress, show, table
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the requests that would be sent; send nothing.")] = False,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Publish a closed month's approved invoices to Stripe, each exactly once. Safe to kill and to repeat.

    Without STRIPE_API_KEY in the environment, they go to the local Stripe emulator.
    """
    month = BillingPeriod.parse(period)
    from pipeline.monitoring.health import write_health
    from pipeline.stripe.operations import publish_and_build

    home = Home.open(context.obj)
    with progress("Publishing") as follow:
        result = publish_and_build(home, month, dry_run=dry_run, allow_live=live, on_progress=follow)
    write_health(home)
    show(as_json, result.as_dict(), lambda: print_publication(result))
    if result.problems:
        raise typer.Exit(1)


def credit_note(
    context: typer.Context,
    invoice_id: Annotated[str, typer.Argument(metavar="INVOICE", help="A published invoice.", show_default=False)],
    memo: Annotated[str, typer.Option(help="What the customer reads on it.")] = "",
    settle: Annotated[
        str, typer.Option(help="Where the money goes if it was paid: balance, refund, or outside (of Stripe).")
    ] = "balance",
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who issues it. Default: whoever is logged in.", show_default=False)
    ] = None,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Credit now, on a published invoice, what it bills beyond what is due; else the next invoice would correct it.

    Land the correction and build first. Exactly once, and safe to repeat. To forgive what is due, land a goodwill grant.
    """
    if settle not in ("balance", "refund", "outside"):
        raise WrongUsageError(f"--settle is '{settle}'.", "Use balance, refund or outside.")
    from pipeline.monitoring.health import write_health
    from pipeline.stripe.operations import credit_and_build

    home = Home.open(context.obj)
    with progress("Crediting") as follow:
        result = credit_and_build(
            home,
            invoice_id,
            by=by,
            memo=memo,
            settlement=cast(Any, settle),
            allow_live=live,
            on_progress=follow,
        )
    write_health(home)
    show(as_json, result.as_dict(), lambda: print_credit_note(result))


def sync_stripe(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="List everything, not only what changed since the last time.")] = False,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Mirror Stripe: customers, subscriptions, invoices, payments, credit notes and events, into raw/stripe/ and the reports."""
    from pipeline.monitoring.health import write_health
    from pipeline.stripe.operations import sync_and_build

    home = Home.open(context.obj)
    with progress("Mirroring") as follow:
        result = sync_and_build(home, full=full, allow_live=live, on_progress=follow)
    write_health(home)
    show(as_json, result.as_dict(), lambda: print_sync(result))


def reconcile(
    context: typer.Context,
    period: Annotated[
        str | None,
        typer.Argument(metavar="[PERIOD]", help="A month as YYYY-MM. Default: all months.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold our invoices against Stripe's, as of the last sync, and show what differs; exits with 1 where something does.

    Also what is paid, open and overdue.
    """
    month = BillingPeriod.parse(period) if period is not None else None
    from pipeline.warehouse.reports import reconciliation

    result = reconciliation(Home.open(context.obj), month)
    show(as_json, result, lambda: print_reconciliation(result))
    if result["differences"] or result["subscriptions"]:
        raise typer.Exit(1)


def print_publication(result: PublishResult) -> None:
    """What is in Stripe now, and what is not."""
    if result.is_dry_run:
        out.print(f"[bold]{len(result.requests)}[/] requests would be sent to {plain(result.where)}; none was:")
        for request in result.requests:
            out.print(f"{request['method']} {request['path']} {plain_json(request['params'])}", markup=False, soft_wrap=True)
        return
    counts = result.counts
    amounts = ", ".join(format_money(amount, currency) for currency, amount in result.amounts.items()) or "nothing"
    out.print(
        f"Published [bold]{result.period}[/] to {plain(result.where)}: {counts['published']:,} invoices new,"
        f" {counts['already_published']:,} there before, {amounts} in all."
    )
    if counts["not_approved"]:
        out.print(f"{counts['not_approved']:,} are not approved yet: billhouse approve {result.period} --all")
    if counts["not_collected"]:
        out.print(f"{counts['not_collected']:,} have only lines of plans that collect nothing, and stay here.")
    for warning in result.warnings:
        out.print(f"[yellow]warning[/] {plain(warning)}", soft_wrap=True)
    for problem in result.problems:
        out.print(f"[red]failed[/] {plain(problem)}", soft_wrap=True)


def print_credit_note(result: CreditNoteResult) -> None:
    """What was credited."""
    if result.credit_note_id:
        out.print(
            f"Credited [bold]{format_money(result.amount, result.currency)}[/] on {result.invoice_id}, in {plain(result.where)}:"
            f" {result.credit_note_id}."
        )
        for line in result.lines:
            out.print(f"  {format_money(line['amount'], result.currency):>16}  {plain(line['description'])}", soft_wrap=True)
    for earlier in result.published:
        if earlier != result.credit_note_id:
            out.print(f"{earlier}, issued before, is in Stripe now.")


def print_sync(result: SyncResult) -> None:
    """What was mirrored."""
    what = "everything" if result.is_full else "what changed"
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in result.counts.items() if count) or "nothing new"
    out.print(f"Mirrored {what} from {plain(result.where)}: {counts}.")


def print_reconciliation(result: dict[str, Any]) -> None:
    """What differs from Stripe, and what is paid, open and overdue."""
    if result["differences"]:
        shown = table("difference", "invoice", "in Stripe", "customer", "its status", ">ours", ">Stripe's")
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
        out.print("What each means and what to do: docs/stripe.md")
    else:
        out.print("[green]Stripe has what we have[/], invoice by invoice and line by line.")
    if result["subscriptions"]:
        shown = table("problem", "subscription in Stripe", "its customer", "customer", "its status", "since (UTC)")
        for row in result["subscriptions"][:SHOWN_ROWS]:
            texts = (
                plain(row[name] or "-")
                for name in ("stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
            )
            shown.add_row(f"[red]{row['problem']}[/]", *texts, f"{row['starts_at']:%Y-%m-%d %H:%M}")
        out.print(shown)
        if len(result["subscriptions"]) > SHOWN_ROWS:
            out.print(f"and {len(result['subscriptions']) - SHOWN_ROWS:,} more: billhouse reconcile --json")
        out.print("What each means and what to do: docs/stripe.md, Plans from Stripe subscriptions")
    for row in result["sums"]:
        amounts = (
            f"{name} {format_money(row[f'{name}_amount'], row['currency'])}"
            for name in ("total", "paid", "open", "overdue", "credited")
        )
        out.print(f"{row['invoices']:,} invoices: {', '.join(amounts)} (as of the sync of {row['synced_at']:%Y-%m-%d %H:%M} UTC)")
