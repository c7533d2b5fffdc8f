"""Commands on the warehouse and its reports: build, invoices, status, docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipeline.cli.support import Json, OptionalPeriod, is_reported, out, progress, report, show, table
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod, parse_instant
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.warehouse.build import BuildResult


def build(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(help="Ignore events after this instant (ISO 8601, UTC). Default: now.", show_default=False),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Reuse nothing of the last build. Slower, with the same result."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Build sessions, usage, rating, draft invoices and reports; run every check; then replace billhouse.duckdb and marts/.

    If a model or check fails, the reports stay as they were. Safe to interrupt and to repeat: a repeated build runs only what
    changed. Next: billhouse invoices.
    """
    instant = parse_instant(as_of) if as_of is not None else None
    from pipeline.monitoring.health import write_health
    from pipeline.store.alert_log import raise_alert_on_error
    from pipeline.warehouse.build import build as build_warehouse

    home = Home.open(context.obj)
    with (
        progress("Building") as follow,
        raise_alert_on_error(home, "check_failed", "The build"),
        reported_build(home, instant) as built,
    ):
        result = built(build_warehouse(home, instant, from_scratch=from_scratch, on_progress=follow))
    write_health(home)
    show(as_json, result.as_dict(), lambda: print_build(home, result))


@contextmanager
def reported_build(home: Home, as_of: datetime | None) -> Iterator[Callable[[BuildResult], BuildResult]]:
    """Report the build of a block to Dagster, also a failed one. Call the yielded function with the result; it returns it."""
    if not is_reported(home):
        yield lambda result: result
        return
    from pipeline.monitoring.command_reports import build_report, failed_build_report
    from pipeline.warehouse.build_steps import BuildFailedError

    replaced_at = _reports_replaced_at(home)

    def built(result: BuildResult) -> BuildResult:
        report(home, "build", lambda: build_report(home, result.as_of, result.steps, replaced_at))
        return result

    try:
        yield built
    except BuildFailedError as error:
        steps = error.steps
        report(home, "build", lambda: failed_build_report(as_of or datetime.now(UTC), steps))
        raise


def _reports_replaced_at(home: Home) -> float:
    from pipeline.monitoring.command_reports import reports_replaced_at

    try:
        return reports_replaced_at(home)
    except OSError:
        return 0.0


def invoices(
    context: typer.Context,
    period: OptionalPeriod = None,
    as_json: Json = False,
) -> None:
    """List invoices as of the last build, drafts included. Changes nothing."""
    month = BillingPeriod.parse(period) if period is not None else None
    from pipeline.warehouse.reports import list_invoices

    listed = list_invoices(Home.open(context.obj), month)
    show(as_json, {"invoices": listed}, lambda: print_invoices(listed))


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the landed rows, the last build, the closed months, and invoices by month and status. Changes nothing."""
    from pipeline.warehouse.reports import read_status

    report = read_status(Home.open(context.obj))
    show(as_json, report, lambda: print_status(report))


def docs(context: typer.Context, as_json: Json = False) -> None:
    """Write dbt's documentation of the models to <home>/docs/index.html: tables, columns, SQL and the graph.

    One file that needs no network: open it in a browser. Safe to repeat.
    """
    from pipeline.warehouse.model_docs import write_model_docs

    page = write_model_docs(Home.open(context.obj))
    show(as_json, {"page": str(page)}, lambda: out.print(f"Open {plain(page)} in a browser.", soft_wrap=True))


def print_build(home: Home, result: BuildResult) -> None:
    """Print the duration, the rows of each table, notes on the data, and the files."""
    out.print(
        f"Built as of [bold]{result.as_of:%Y-%m-%d %H:%M:%S} UTC[/] in {result.seconds:.1f} s:"
        f" {result.step_count} steps, all passed."
    )
    shown = table("table", ">rows")
    for name, rows in result.tables.items():
        shown.add_row(f"billing.{name}", f"{rows:,}")
    out.print(shown)
    if result.ignored_events:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.ignored_events.items())
        out.print(f"Events without effect on a session, listed in billing.ignored_events: {reasons}.")
    if result.defaulted_sessions:
        out.print(
            f"Sessions billed with default resources of their plan: {result.defaulted_sessions:,}"
            " (billing.sessions, has_defaulted_resources)."
        )
    if result.unmatched_voids:
        names = ", ".join(result.unmatched_voids[:5]) + (", ..." if len(result.unmatched_voids) > 5 else "")
        out.print(
            plain(f"Voids of ids that have not landed: {len(result.unmatched_voids):,} ({names}). Check these ids."),
            soft_wrap=True,
        )
    out.print(plain(f"In {home.analysts_file} and {home.marts}/"))


def print_invoices(invoices: list[dict[str, Any]]) -> None:
    """Print the invoices, one for each row."""
    if not invoices:
        out.print("No invoices. Land usage and build: billhouse land FILE..., then billhouse build")
        return
    shown = table("invoice", "period", "customer", "plan", "status", ">subtotal", ">credits", ">total")
    for row in invoices:
        currency = row["currency"]
        shown.add_row(
            row["invoice_id"],
            row["period"],
            plain(row["customer_name"] or row["customer_id"]),
            plain(row["plan_id"]),
            row["status"],
            format_money(row["subtotal_amount"], currency),
            format_money(row["credits_applied_amount"], currency),
            format_money(row["total_amount"], currency),
        )
    out.print(shown)


def print_status(report: dict[str, Any]) -> None:
    """Print the status."""
    landed = report["landed"]
    out.print(plain(f"Home      {report['home']}"))
    settled = f" + {landed['settled']:,} in quarantine, settled" if landed["settled"] else ""
    out.print(
        f"Landed    {landed['files']:,} files: {landed['received']:,} rows = {landed['accepted']:,} accepted"
        f" + {landed['duplicate']:,} duplicates + {landed['quarantined']:,} in quarantine{settled}"
    )
    out.print(f"Built     {report['built_as_of'] or 'not yet: billhouse build'}")
    out.print(f"Closed    {', '.join(report['closed']) or 'no month yet'}")
    if report["months"]:
        out.print()
        out.print(month_table(report["months"]))


def month_table(months: list[dict[str, Any]]) -> Table:
    """A table of invoices by month and status."""
    shown = table("month", "status", ">invoices", ">subtotal", ">credits", ">total")
    for row in months:
        currency = row["currency"]
        shown.add_row(
            row["period"],
            row["status"],
            f"{row['invoices']:,}",
            format_money(row["subtotal_amount"], currency),
            format_money(row["credits_applied_amount"], currency),
            format_money(row["total_amount"], currency),
        )
    return shown
