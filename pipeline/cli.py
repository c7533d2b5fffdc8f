"""The command line. Human output by default; `--json` prints one JSON object on stdout, and everything else goes to stderr.

Heavy libraries are imported by the command that needs them: `billhouse --help` answers at once.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pipeline import cli_collect, console
from pipeline.cli_support import Json, close_broken_pipe, progress, show, show_failure, show_usage_error, stderr
from pipeline.errors import BillhouseError, PriceBookError, WrongUsageError
from pipeline.failures import failure_in_words
from pipeline.home import DEFAULT_HOME, HOME_VARIABLE, Home
from pipeline.kinds import Kind, TimestampUnit
from pipeline.periods import BillingPeriod, parse_instant
from pipeline.plain_text import plain_json
from pipeline.terminal import plain, protected_output

app = typer.Typer(
    name="billhouse",
    help="Turns raw usage events into invoices that are right to the cent.\n\n"
    "The usual month: land files, build, look at the drafts, close the month, publish it, export it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Period = Annotated[str, typer.Argument(metavar="PERIOD", help="A month as YYYY-MM, in UTC.", show_default=False)]
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""What the command line raises for an option or argument that it does not know."""
_INTERRUPTED = 130
Live = Annotated[bool, typer.Option("--live", help="Allow a live key: real customers, real invoices.")]


@app.callback()
def main_options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help=f"Where everything is kept. Default: ${HOME_VARIABLE}, else {DEFAULT_HOME}.", show_default=False),
    ] = None,
) -> None:
    """Options of every command; --help shows the program's own text."""
    context.obj = home


@app.command()
def land(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files: .jsonl, .csv (also .gz) or .parquet.", show_default=False),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="What the rows are. Default: usage; with --again, all kinds.", show_default=False)
    ] = None,
    timestamps: Annotated[
        TimestampUnit | None,
        typer.Option(
            help="The unit of instants that are numbers, since 1970-01-01 UTC. Default: refuse numbers.", show_default=False
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Judge rows in quarantine again: all, or those of the files named. Reads no file."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Land files: check, deduplicate and store their rows. Safe to repeat.

    Good rows land; bad rows go to quarantine with file, line and reason. All files named are landed. The command exits
    with 1 if a file could not be read as a whole (nothing of it landed), or if less than half of a file's rows were
    accepted (BILLHOUSE_LAND_MIN_ACCEPTED_SHARE). Landing a file again judges its rows in quarantine again.
    """
    if not paths and not again:
        raise WrongUsageError("No file is named.", "Name files to land, or give --again to judge rows in quarantine again.")
    from pipeline.health import write_health
    from pipeline.landing import land_again, land_files
    from pipeline.settings import Settings

    least_share = Settings.load().land_min_accepted_share
    home = Home.open(context.obj)
    with progress("Landing") as follow:
        if again:
            names = [path.name for path in paths or ()]
            summary = land_again(home, names, kind, timestamps=timestamps, on_progress=follow)
        else:
            summary = land_files(home, paths or (), kind or Kind.USAGE, timestamps=timestamps, on_progress=follow)
    write_health(home)
    refused = [] if again else summary.mostly_refused(least_share)
    show(as_json, summary.as_dict(refused), lambda: console.landing_summary(summary, is_again=again))
    for problem in summary.problems:
        stderr.print(f"[red]not landed[/] {plain(problem)}", highlight=False, soft_wrap=True)
    for file in refused:
        stderr.print(f"[red]mostly refused[/] {plain(file.refusal)}", highlight=False, soft_wrap=True)
    if summary.problems or refused:
        raise typer.Exit(1)


app.command()(cli_collect.poll_metrics)
app.command()(cli_collect.collect)


@app.command()
def build(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(help="Events after this instant are not seen (ISO 8601, UTC). Default: now.", show_default=False),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Take nothing over from the last build. Slower, and comes to the same."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the warehouse: sessions, usage, prices, draft invoices; run every check; refresh billhouse.duckdb and marts/."""
    instant = parse_instant(as_of) if as_of is not None else None
    from pipeline.alerts import alerting
    from pipeline.warehouse import build as build_warehouse

    home = Home.open(context.obj)
    with progress("Building") as follow, alerting(home, "check_failed", "The build"):
        result = build_warehouse(home, instant, from_scratch=from_scratch, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.build_result(home, result))


@app.command()
def invoices(
    context: typer.Context,
    period: Annotated[
        str | None,
        typer.Argument(metavar="[PERIOD]", help="A month as YYYY-MM. Default: all months.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List invoices, drafts included, as of the last build."""
    month = BillingPeriod.parse(period) if period is not None else None
    from pipeline.reports import list_invoices

    listed = list_invoices(Home.open(context.obj), month)
    show(as_json, {"invoices": listed}, lambda: console.invoice_table(listed))


@app.command()
def close(
    context: typer.Context,
    period: Period,
    force: Annotated[bool, typer.Option("--force", help="Close before the month's end plus grace.")] = False,
    accept_adjustments: Annotated[
        bool, typer.Option("--accept-adjustments", help="Correct closed months, however much that changes them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Close a month: freeze its draft invoices in the ledger, for good. Months close in order; safe to repeat.

    What lands later for a closed month is settled as a correction on the next invoice.
    """
    month = BillingPeriod.parse(period)
    from pipeline.ledger import close_period

    home = Home.open(context.obj)
    with progress("Closing") as follow:
        result = close_period(home, month, force=force, accept_adjustments=accept_adjustments, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.close_result(result))


@app.command()
def approve(
    context: typer.Context,
    period: Period,
    invoice_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[INVOICE...]", help="Invoices of that month.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the month's.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the approval back, of what is not published yet.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who approves. Default: whoever is logged in.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve closed invoices for publishing; who and when is kept. Without INVOICE or --all, list what waits for approval.

    BILLHOUSE_AUTO_APPROVE_UNDER, for example '{"USD": "500"}', lets smaller ones go by themselves.
    """
    month = BillingPeriod.parse(period)
    if everything and invoice_ids:
        raise WrongUsageError("Give invoices, or --all, not both.")
    if revoke and not (everything or invoice_ids):
        raise WrongUsageError("Say which: invoices, or --all.")
    from pipeline.publishing import approve_and_refresh

    home = Home.open(context.obj)
    with progress("Approving") as follow:
        result = approve_and_refresh(
            home, month, invoice_ids or (), everything=everything, revoke=revoke, by=by, on_progress=follow
        )
    show(as_json, result.as_dict(), lambda: console.approval_result(result))


@app.command()
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
    from pipeline.publishing import publish_and_refresh

    home = Home.open(context.obj)
    with progress("Publishing") as follow:
        result = publish_and_refresh(home, month, dry_run=dry_run, allow_live=live, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.publish_result(result))
    if result.problems:
        raise typer.Exit(1)


@app.command()
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
    from pipeline.publishing import credit_and_refresh

    home = Home.open(context.obj)
    with progress("Crediting") as follow:
        result = credit_and_refresh(
            home,
            invoice_id,
            by=by,
            memo=memo,
            settlement=cast(Any, settle),
            allow_live=live,
            on_progress=follow,
        )
    show(as_json, result.as_dict(), lambda: console.credit_note_result(result))


@app.command()
def sync_stripe(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="List everything, not only what changed since the last time.")] = False,
    live: Live = False,
    as_json: Json = False,
) -> None:
    """Mirror Stripe: customers, subscriptions, invoices, payments, credit notes and events, into raw/stripe/ and the reports."""
    from pipeline.publishing import sync_and_refresh

    home = Home.open(context.obj)
    with progress("Mirroring") as follow:
        result = sync_and_refresh(home, full=full, allow_live=live, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.sync_result(result))


@app.command()
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
    from pipeline.reports import reconciliation

    result = reconciliation(Home.open(context.obj), month)
    show(as_json, result, lambda: console.reconciliation(result))
    if result["differences"] or result["subscriptions"]:
        raise typer.Exit(1)


@app.command()
def explain(
    context: typer.Context,
    invoice_id: Annotated[str, typer.Argument(metavar="INVOICE_ID", help="As billhouse invoices lists it.", show_default=False)],
    line: Annotated[
        str | None, typer.Option("--line", metavar="LINE_ID", help="One line, down to the landed events.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain an invoice: its total, lines and days; with --line its sandboxes, sessions and landed events too.

    Every step shows its arithmetic, and the pieces sum to the line.
    """
    from pipeline.explain import explain as explain_invoice

    home = Home.open(context.obj)
    with progress("Looking back") as follow:
        explanation = explain_invoice(home, invoice_id, line, on_progress=follow)
    show(as_json, explanation.as_dict(), lambda: console.explanation(explanation))


@app.command()
def verify(
    context: typer.Context,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HASH", help="A head that was written down: nothing written up to it may differ."),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="First enter files that no command wrote into the manifest, and say how many.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify that every file in raw/ and ledger/ is what was written, every close's hash and sums, each raw event once.

    It ends with the manifest's head. Write that down where nobody who may write here can reach it, and give it later with --head:
    then whatever was edited, deleted, forged or put back to an earlier state since is noticed. A head also leaves with
    each alert, export and invoice in Stripe, and is in the health file.
    """
    from pipeline.store.check import adopt_files
    from pipeline.verify import verify_ledger

    home = Home.open(context.obj)
    if adopt:
        console.adopted(adopt_files(home))
    result = verify_ledger(home, head=head)
    show(as_json, result.as_dict(), lambda: console.verify_result(result))
    if result.problems:
        raise typer.Exit(1)


@app.command()
def check_prices(
    context: typer.Context,
    accept: Annotated[
        bool, typer.Option("--accept", help="Let edited plans, contracts, meters and currencies correct closed months.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="First rewrite files that a spreadsheet program saved in another form. No value changes."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the price book in seeds/: that it is sound, and that no price was edited which held in closed months.

    Where one was, what the edit would change of the closed invoices is reckoned and shown. A rate or fee is corrected by a row
    that replaces it; an edit of other terms takes effect once it is accepted, and who did so is kept.
    """
    from pipeline.price_check import check_prices as check

    home = Home.open(context.obj)
    with progress("Checking") as follow:
        result = check(home, accept_by=getpass.getuser() if accept else None, is_to_be_fixed=fix, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.price_check(result))
    if result.problems:
        raise typer.Exit(1)


@app.command()
def simulate(
    context: typer.Context,
    prices: Annotated[Path, typer.Option("--prices", metavar="DIR", help="A folder with other price book files.")],
    first: Annotated[str, typer.Option("--from", metavar="PERIOD", help="The first month, as YYYY-MM.")],
    last: Annotated[str, typer.Option("--to", metavar="PERIOD", help="The last month, as YYYY-MM.")],
    as_json: Json = False,
) -> None:
    """What if: price history under another price book, and show what would change. Touches nothing real.

    Writes a CSV file and a workbook with a plot to <home>/exports/simulations/.
    """
    months = (BillingPeriod.parse(first), BillingPeriod.parse(last))
    from pipeline.simulation import simulate as simulate_prices

    home = Home.open(context.obj)
    with progress("Simulating") as follow:
        result = simulate_prices(home, prices, *months, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.simulation(result))


@app.command()
def export(context: typer.Context, period: Period, as_json: Json = False) -> None:
    """Export a month: a workbook, its tables as CSV and Parquet, a double-entry journal, and a statement per customer."""
    month = BillingPeriod.parse(period)
    from pipeline.exports import export_period

    home = Home.open(context.obj)
    with progress("Writing statements") as follow:
        result = export_period(home, month, on_progress=follow)
    show(as_json, result.as_dict(), lambda: console.export_result(result))


@app.command()
def alerts(
    context: typer.Context,
    send: Annotated[bool, typer.Option("--send", help="Send what is due to each channel; 1 where one failed.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a message to each channel that says it is a test.")] = False,
    as_json: Json = False,
) -> None:
    """List the latest alerts and whether they were sent; with --send, send what is due by webhook, Slack or e-mail.

    Each goes to each channel once. Limits are those of the last build. Channels are set in the environment: docs/alerts.md.
    """
    from pipeline.alerts import alert_states, send_alerts, send_test
    from pipeline.health import write_health

    home = Home.open(context.obj)
    if not (send or test):
        listed = alert_states(home)
        show(as_json, {"alerts": listed}, lambda: console.alert_table(listed))
        return
    result = send_test() if test else send_alerts(home)
    write_health(home)
    show(as_json, result.as_dict(), lambda: console.send_result(result))
    for problem in result.problems:
        stderr.print(f"[red]not sent[/] {plain(problem)}", highlight=False, soft_wrap=True)
    if result.problems:
        raise typer.Exit(1)


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what has landed, been built, closed and published."""
    from pipeline.reports import read_status

    report = read_status(Home.open(context.obj))
    show(as_json, report, lambda: console.status_report(report))


@app.command()
def health(context: typer.Context) -> None:
    """Write the figures that monitoring reads to <home>/health/billhouse.prom (Prometheus' text format), and print them.

    Every landing, build, publication and sync writes them too.
    """
    from pipeline.health import write_health

    print(write_health(Home.open(context.obj)).read_text(encoding="utf-8"), end="")


@app.command()
def docs(context: typer.Context, as_json: Json = False) -> None:
    """Write dbt's pages on the models to <home>/docs/index.html: every table, column and line of SQL, and the graph.

    One file that needs no network: open it in a browser.
    """
    from pipeline.model_docs import write_model_docs

    page = write_model_docs(Home.open(context.obj))
    show(as_json, {"page": str(page)}, lambda: console.out.print(f"Open {plain(page)} in a browser.", soft_wrap=True))


@app.command()
def demo(context: typer.Context, as_json: Json = False) -> None:
    """A month and a half of believable usage, from raw events to published invoices and exports. Under three minutes.

    It fills the home, and refuses one that holds other data. Safe to repeat: the second time everything is there already.
    """
    from pipeline.demo import run_demo

    report = run_demo(Home.open(context.obj), as_json=as_json)
    if as_json:
        print(plain_json(report))


@app.command()
def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port on the loopback address.", min=1, max=65535)] = 3000,
) -> None:
    """Open the Dagster UI on this machine: the whole graph, its checks, and a button for every step."""
    from orchestration.ui import serve

    serve(Home.open(context.obj), port)


def main() -> None:
    """Run the command line: 0 done, 1 failed, 2 wrong usage. A failure is told in words, with the next step."""
    os.umask(0o077)  # what is written holds money: for its owner alone
    with protected_output():
        code = _call(wants_json="--json" in sys.argv[1:])
    if code:
        sys.exit(code)


def _call(*, wants_json: bool) -> int:
    """The exit code of one call."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _USAGE_ERROR as error:
        show_usage_error(error)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            return close_broken_pipe()
        failure = failure_in_words(error)
        if wants_json:
            print(plain_json({"error": failure.message, "next_step": failure.next_step, **_problems(failure)}))
        show_failure(failure, error)
        return 2 if isinstance(failure, WrongUsageError) else 1
    if code == _INTERRUPTED:
        stderr.print("Interrupted. What was finished is kept; call the command again to go on.")
    return code if isinstance(code, int) else 0


def _problems(error: BillhouseError) -> dict[str, Any]:
    if not isinstance(error, PriceBookError):
        return {}
    return {"problems": [vars(problem) for problem in error.problems]}


if __name__ == "__main__":
    main()
