"""What a person reads in the terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.cli_support import stderr
from pipeline.money import format_money
from pipeline.plain_text import plain_json
from pipeline.terminal import Console, plain

if TYPE_CHECKING:
    from pipeline.alerts import SendResult
    from pipeline.approvals import ApprovalResult
    from pipeline.collecting import Collected
    from pipeline.explain import InvoiceExplanation, LineExplanation
    from pipeline.exports import ExportResult
    from pipeline.home import Home
    from pipeline.landing import LandedFile, LandingSummary
    from pipeline.ledger import CloseResult
    from pipeline.price_check import PriceCheck
    from pipeline.simulation import Simulation
    from pipeline.stripe.credit_notes import CreditNoteResult
    from pipeline.stripe.mirror import SyncResult
    from pipeline.stripe.publish import PublishResult
    from pipeline.verify import VerifyResult
    from pipeline.warehouse import BuildResult

_PIPED_WIDTH = 160
"""Columns of output that goes to a file or another program, where no terminal says how wide it is."""
out = Console(highlight=False)
if not out.is_terminal:
    out.width = _PIPED_WIDTH
_SHOWN = 20
"""How many rows of a long list a person is shown; --json and the files have all."""


def _table(*columns: str, title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number or column == "invoice"
        )
    return table


def collected(result: Collected) -> None:
    """What came, and what to call next."""
    if result.files:
        out.print(f"Collected [bold]{result.rows:,}[/] rows of {plain(result.source)}.")
        named = " ".join(shlex.quote(str(path)) for path in result.files)
        out.print(f"Now: billhouse land --kind {result.kind} {plain(named)}", soft_wrap=True)
    else:
        out.print(f"Nothing new from {plain(result.source)}.")
    for path in result.skipped:
        out.print(f"[yellow]left out[/] {plain(path)}: no JSON lines by its name. Land it as it is.", soft_wrap=True)
    for refusal in result.refused:
        out.print(f"[red]refused[/] {plain(refusal)}", soft_wrap=True)


def landing_summary(summary: LandingSummary, *, is_again: bool = False) -> None:
    """Rows by what became of them, and why some are in quarantine."""
    told = summary.as_dict()
    if is_again and not summary.files:
        out.print("No rows are in quarantine.")
        return
    what = "Judged again the rows in quarantine of" if is_again else "Landed"
    out.print(
        f"{what} [bold]{told['files']:,}[/] file(s): {told['received']:,} rows received = {told['accepted']:,} accepted"
        f" + {told['duplicates']:,} duplicates + {told['quarantined']:,} in quarantine."
    )
    if told["already_landed"]:
        out.print(
            f"{told['already_landed']} file(s) had landed before: their rows are duplicates, but for those in quarantine, which"
            " were judged again."
        )
    for file in summary.files:
        _unread_columns(file)
    if told["by_reason"]:
        out.print(reason_table(told["by_reason"]))
        out.print("Each with file, line and what to do: table billing.quarantined_events, after a build.")


def _unread_columns(file: LandedFile) -> None:
    """Columns that no field reads, and how many starts get the default sandbox of their plan."""
    if file.unread_columns:
        out.print(plain(f"{file.file_name}: columns that no field reads: {file.unread_text}."), soft_wrap=True)
    if file.suggestions:
        pairs = ", ".join(f"{field} for {name}" for name, field in file.suggestions.items())
        out.print(plain(f"  Did you mean {pairs}?"), soft_wrap=True)
    if file.starts_without:
        without = ", ".join(f"{number:,} name no {column}" for column, number in file.starts_without.items())
        out.print(
            plain(f"{file.file_name}: of its starts, {without}: the plan's default is billed."),
            soft_wrap=True,
        )
    if file.misspelt_resources:
        names = ", ".join(file.misspelt_resources)
        out.print(
            f"[yellow]warning[/] {plain(f'{file.file_name}: {names}')} look like misspelt resources or quantities: they are not"
            " billed. Rename them where the file is written.",
            soft_wrap=True,
        )


def reason_table(by_reason: dict[str, int]) -> Table:
    """Rows in quarantine by reason."""
    table = _table("in quarantine because", ">rows")
    for reason, rows in sorted(by_reason.items()):
        table.add_row(plain(reason), f"{rows:,}")
    return table


def build_result(home: Home, result: BuildResult) -> None:
    """How long it took, and what to open."""
    out.print(
        f"Built as of [bold]{result.as_of:%Y-%m-%d %H:%M:%S} UTC[/] in {result.seconds:.1f} s: {result.steps} steps, all well."
    )
    table = _table("table", ">rows")
    for name, rows in result.tables.items():
        table.add_row(f"billing.{name}", f"{rows:,}")
    out.print(table)
    if result.ignored_events:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.ignored_events.items())
        out.print(f"Events without effect on a session, in billing.ignored_events: {reasons}.")
    if result.defaulted_sessions:
        out.print(
            "Sessions with a resource from their plan's default sandbox, in billing.sessions (has_defaulted_resources):"
            f" {result.defaulted_sessions:,}."
        )
    if result.unmatched_voids:
        names = ", ".join(result.unmatched_voids[:5]) + (", ..." if len(result.unmatched_voids) > 5 else "")
        out.print(
            plain(f"Voids of ids that have not landed: {len(result.unmatched_voids):,} ({names}). Check that each id is right."),
            soft_wrap=True,
        )
    out.print(plain(f"In {home.analysts_file} and {home.marts}/"))


def invoice_table(invoices: list[dict[str, Any]]) -> None:
    """One line an invoice."""
    if not invoices:
        out.print("No invoices. Land usage and build: billhouse land ..., billhouse build")
        return
    table = _table("invoice", "period", "customer", "plan", "status", ">subtotal", ">credits", ">total")
    for row in invoices:
        currency = row["currency"]
        table.add_row(
            row["invoice_id"],
            row["period"],
            plain(row["customer_name"] or row["customer_id"]),
            plain(row["plan_id"]),
            row["status"],
            format_money(row["subtotal_amount"], currency),
            format_money(row["credits_applied_amount"], currency),
            format_money(row["total_amount"], currency),
        )
    out.print(table)


def close_result(result: CloseResult) -> None:
    """What was frozen."""
    totals = ", ".join(format_money(total, currency) for currency, total in result.totals.items()) or "nothing"
    if result.already_closed:
        out.print(f"{result.period} was closed already; nothing changed: {result.invoices:,} invoices, {totals} in all.")
    else:
        out.print(f"Closed [bold]{result.period}[/]: {result.invoices:,} invoices, {totals} in all.")
    out.print(f"Head of the manifest: {result.head}", soft_wrap=True)


def approval_result(result: ApprovalResult) -> None:
    """What was decided, and what still waits."""
    if result.approved:
        out.print(f"Approved [bold]{len(result.approved):,}[/] invoices of {result.period}, by {plain(result.decided_by)}.")
    if result.revoked:
        out.print(f"Approval taken back of [bold]{len(result.revoked):,}[/] invoices of {result.period}.")
    if not result.waiting:
        out.print(f"No invoice of {result.period} waits for approval. Next: billhouse publish {result.period}")
        return
    table = _table("waits for approval", "customer", "plan", ">total")
    for row in result.waiting[:_SHOWN]:
        customer = row["customer_name"] or row["customer_id"]
        table.add_row(
            row["invoice_id"], plain(customer), plain(row["plan_id"]), format_money(row["total_amount"], row["currency"])
        )
    out.print(table)
    if len(result.waiting) > _SHOWN:
        out.print(f"and {len(result.waiting) - _SHOWN:,} more")
    out.print(f"Approve them: billhouse approve {result.period} INVOICE...  or --all")


def publish_result(result: PublishResult) -> None:
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


def credit_note_result(result: CreditNoteResult) -> None:
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


def sync_result(result: SyncResult) -> None:
    """What was mirrored."""
    what = "everything" if result.is_full else "what changed"
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in result.counts.items() if count) or "nothing new"
    out.print(f"Mirrored {what} from {plain(result.where)}: {counts}.")


def reconciliation(result: dict[str, Any]) -> None:
    """What differs from Stripe, and what is paid, open and overdue."""
    if result["differences"]:
        table = _table("difference", "invoice", "in Stripe", "customer", "its status", ">ours", ">Stripe's")
        for row in result["differences"][:_SHOWN]:
            ours, theirs = (
                format_money(row[name], row["currency"]) if row[name] is not None else "-"
                for name in ("total_amount", "stripe_total_amount")
            )
            shown = (plain(row[name] or "-") for name in ("invoice_id", "stripe_invoice_id", "customer_id", "stripe_status"))
            table.add_row(f"[red]{row['difference']}[/]", *shown, ours, theirs)
        out.print(table)
        if len(result["differences"]) > _SHOWN:
            out.print(f"and {len(result['differences']) - _SHOWN:,} more: billhouse reconcile --json")
        out.print("What each means and what to do: docs/stripe.md")
    else:
        out.print("[green]Stripe has what we have[/], invoice by invoice and line by line.")
    if result["subscriptions"]:
        table = _table("problem", "subscription in Stripe", "its customer", "customer", "its status", "since (UTC)")
        for row in result["subscriptions"][:_SHOWN]:
            shown = (
                plain(row[name] or "-")
                for name in ("stripe_subscription_id", "stripe_customer_id", "customer_id", "stripe_status")
            )
            table.add_row(f"[red]{row['problem']}[/]", *shown, f"{row['starts_at']:%Y-%m-%d %H:%M}")
        out.print(table)
        if len(result["subscriptions"]) > _SHOWN:
            out.print(f"and {len(result['subscriptions']) - _SHOWN:,} more: billhouse reconcile --json")
        out.print("What each means and what to do: docs/stripe.md, Plans from Stripe subscriptions")
    for row in result["sums"]:
        amounts = (
            f"{name} {format_money(row[f'{name}_amount'], row['currency'])}"
            for name in ("total", "paid", "open", "overdue", "credited")
        )
        out.print(f"{row['invoices']:,} invoices: {', '.join(amounts)} (as of the sync of {row['synced_at']:%Y-%m-%d %H:%M} UTC)")


def export_result(result: ExportResult) -> None:
    """Where the files are."""
    out.print(f"Exported to [bold]{plain(result.folder)}[/]:")
    for file in result.files:
        out.print(f"  {plain(file.name)}")
    out.print(f"  statements/  {result.statements:,} pages, one an invoice")


def alert_table(alerts: list[dict[str, Any]]) -> None:
    """What people had to be told."""
    table = _table("alert", "raised (UTC)", "kind", "about", "channel", "state")
    for row in alerts:
        about = plain(row["subject"])
        table.add_row(
            row["alert_id"], f"{row['raised_at']:%Y-%m-%d %H:%M}", row["kind"], about, row["channel"] or "-", row["state"]
        )
    out.print(table if alerts else "No alert was raised yet. billhouse alerts --send raises those of the last build.")


def send_result(result: SendResult) -> None:
    """What went out."""
    to = ", ".join(result.channels) or "no channel is configured (docs/alerts.md)"
    out.print(f"{result.raised} new alerts of limits; {result.delivered} delivered; {len(result.problems)} not. Channels: {to}.")


def month_table(months: list[dict[str, Any]]) -> Table:
    """Invoices by month and status."""
    table = _table("month", "status", ">invoices", ">subtotal", ">credits", ">total")
    for row in months:
        currency = row["currency"]
        table.add_row(
            row["period"],
            row["status"],
            f"{row['invoices']:,}",
            format_money(row["subtotal_amount"], currency),
            format_money(row["credits_applied_amount"], currency),
            format_money(row["total_amount"], currency),
        )
    return table


def status_report(report: dict[str, Any]) -> None:
    """The state of the house on one screen."""
    landed = report["landed"]
    out.print(plain(f"Home      {report['home']}"))
    out.print(
        f"Landed    {landed['files']:,} files: {landed['received']:,} rows = {landed['accepted']:,} accepted"
        f" + {landed['duplicate']:,} duplicates + {landed['quarantined']:,} in quarantine"
    )
    out.print(f"Built     {report['built_as_of'] or 'not yet: billhouse build'}")
    out.print(f"Closed    {', '.join(report['closed']) or 'no month yet'}")
    if report["months"]:
        out.print()
        out.print(month_table(report["months"]))


def explanation(explained: InvoiceExplanation) -> None:
    """The invoice from its total to its lines and days; of a single line also sessions and events."""
    currency = explained.currency
    out.print(
        f"[bold]{explained.invoice_id}[/], {plain(explained.customer_id)}, {explained.period}, {explained.status}",
        highlight=False,
    )
    parts = [f"{format_money(explained.subtotal_amount, currency)} of lines"]
    if explained.credits_applied_amount:
        parts.append(f"- {format_money(explained.credits_applied_amount, currency)} credit")
    if explained.carried_forward_amount:
        parts.append(f"- {format_money(explained.carried_forward_amount, currency)} carried forward")
    out.print(f"total {format_money(explained.total_amount, currency)} = {' '.join(parts)}")
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
        for session in day.sessions[:_SHOWN]:
            out.print(
                f"    {plain(session.sandbox_id)}  {session.started_at:%Y-%m-%d %H:%M:%S} to"
                f" {session.ended_at:%Y-%m-%d %H:%M:%S} ({session.end_reason})"
                f"  {session.quantity.normalize():,f}  {format_money(session.amount, currency)}",
                soft_wrap=True,
            )
            for event in session.events[:_SHOWN]:
                out.print(
                    f"      {event.event_at:%Y-%m-%d %H:%M:%S.%f} {event.event_type} {plain(event.named)}"
                    f"  [dim]{plain(event.file_name)}, row {event.file_row}, {plain(event.event_id)}[/]",
                    soft_wrap=True,
                )
            if len(session.events) > _SHOWN:
                out.print(f"      and {len(session.events) - _SHOWN:,} more events (--json has all)")
        if len(day.sessions) > _SHOWN:
            out.print(f"    and {len(day.sessions) - _SHOWN:,} more sessions (--json has all)")


def verify_result(result: VerifyResult) -> None:
    """Whether the ledger is what was written."""
    for problem in result.problems:
        out.print(f"[red]wrong[/] {plain(problem)}", soft_wrap=True)
    if not result.problems:
        out.print(f"The ledger is sound: {len(result.periods)} closed months, {result.invoices:,} invoices, every hash and sum.")
        out.print("Every file in raw/ and ledger/ is what was written; each raw event is there once.")
    if result.head:
        out.print(f"Head of the manifest: {result.head}", soft_wrap=True)


def adopted(files: int) -> None:
    """How many files were entered into the manifest that no command wrote."""
    stderr.print(f"Entered {files} files into the manifest that no command wrote.")


def price_check(result: PriceCheck) -> None:
    """What is wrong with the price book, and what an edit would change of the past."""
    for name in result.fixed:
        out.print(f"Rewrote seeds/{plain(name)} plainly; no value changed.")
    for problem in result.problems:
        out.print(f"[red]wrong[/] {plain(problem)}", soft_wrap=True)
    if not result.problems:
        out.print("The price book is sound.")
    if result.changed:
        out.print(f"It would change {len(result.changed)} closed invoices:")
        out.print(_changes(result.changed))


def _changes(rows: list[Any]) -> Table:
    table = _table("customer", "month", ">before", ">after", ">change")
    for customer_id, period, currency, before, after, difference in rows[:_SHOWN]:
        amounts = (format_money(amount, currency) for amount in (before, after, difference))
        table.add_row(plain(customer_id), period, *amounts)
    if len(rows) > _SHOWN:
        table.add_row(f"and {len(rows) - _SHOWN:,} more")
    return table


def simulation(result: Simulation) -> None:
    """What would change, in all and by invoice."""
    for currency, (before, after) in result.totals.items():
        share = f" ({(after - before) / before:+.2%})" if before else ""
        out.print(
            f"{result.first} to {result.last}, before credits: {format_money(before, currency)} would be"
            f" [bold]{format_money(after, currency)}[/], {format_money(after - before, currency)}{share}"
        )
    if not result.changed:
        out.print("No invoice would change.")
        return
    out.print(f"{len(result.changed):,} of {len(result.rows):,} invoices would change; the largest changes:")
    out.print(_changes(result.changed))
    for file in result.files:
        out.print(f"  {plain(file)}", soft_wrap=True)
