"""Runs the demo: generates usage, and takes it through every step of a month, printing each step's result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table

from pipeline.alerts import send_alerts
from pipeline.cli.landing import reason_table
from pipeline.cli.warehouse import month_table
from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.settings import Settings
from pipeline.core.terminal import Console, plain
from pipeline.demo.dagster_history import DagsterHistory, recorded_history
from pipeline.demo.dataset import generate
from pipeline.exports import export_period
from pipeline.landing import LandingSummary, land_files
from pipeline.landing.inbox import LANDED, move_landed, version_of_path
from pipeline.landing.result import LandReport
from pipeline.ledger.approvals import approve
from pipeline.ledger.close import close_period
from pipeline.ledger.verify import verify_ledger
from pipeline.monitoring.command_reports import build_report, reports_replaced_at
from pipeline.monitoring.health import write_health
from pipeline.store.raw import landed_file_ids
from pipeline.stripe.client import local_emulator
from pipeline.stripe.comparison import sync_report
from pipeline.stripe.mirror import sync_stripe
from pipeline.stripe.publish import publish_period
from pipeline.warehouse.build import build
from pipeline.warehouse.build_record import is_current
from pipeline.warehouse.reports import open_reports, read_status

_MARK = "demo.json"
Follow = Callable[[str, int, int], None]


def run_demo(home: Home, *, as_json: bool = False) -> dict[str, Any]:
    """Generate usage, land it, build, close, approve, publish to the local Stripe emulator, mirror it, export and verify.

    Dagster's instance in the home then shows all of it. Returns the results.

    Safe to repeat: the same files land again as duplicates, and the closed month stays closed. `as_json`: print to stderr. Raises
    BillhouseError where the home has other data.
    """
    console = Console(stderr=as_json, highlight=False)
    started = monotonic()
    _mark_as_demo(home)
    console.print(Rule("[bold]Billhouse demo[/]: from raw usage events to invoices", align="left"))

    with recorded_history(home) as history:
        report = _run_steps(home, console, history)
        with _step(console, "Recording it in Dagster"):
            history.finish()
    for problem in history.problems:
        console.print(f"[yellow]warning[/] Dagster does not show all of it: {plain(problem)}", soft_wrap=True)
    _summarize(console, home, read_status(home)["months"], report.pop("folder"), monotonic() - started)
    return {**report, "seconds": round(monotonic() - started, 1)}


def _run_steps(home: Home, console: Console, history: DagsterHistory) -> dict[str, Any]:
    """Run the steps of a month, each followed by its report for Dagster. Returns their results."""
    with _step(console, "Generating a month and a half of usage") as follow:
        files = generate(home.inbox, on_progress=follow)
    console.print(f"   {len(files.landings)} landings for a few hundred customers, in {plain(files.folder)}", soft_wrap=True)

    summaries, began = [], monotonic()
    with _step(console, "Landing") as follow:
        for kind, paths in files.landings:
            summaries.append(land_files(home, paths, kind, on_progress=follow))
            _archive(home, summaries[-1].landed_paths)
    landed = LandingSummary([file for summary in summaries for file in summary.files])
    seconds = round(monotonic() - began, 2)
    refusals = [file.refusal for file in landed.mostly_refused(Settings.load().land_min_accepted_share)]
    history.report("land", lambda: LandReport(landed, seconds, None, refusals, is_of_all_kinds=True))
    counts = {name: sum(getattr(summary, name) for summary in summaries) for name in _COUNTS}
    console.print(
        f"   {counts['received']:,} rows received = {counts['accepted']:,} accepted + {counts['duplicates']:,} duplicates"
        f" + {counts['quarantined']:,} in quarantine"
    )
    reasons: dict[str, int] = {}
    for summary in summaries:
        for reason, rows in summary.by_reason.items():
            reasons[reason] = reasons.get(reason, 0) + rows
    if reasons:
        console.print(reason_table(reasons))

    with _step(console, f"Building as of {files.as_of:%Y-%m-%d}") as follow:
        _build_if_outdated(home, files.as_of, follow, history)
    with _step(console, f"Closing {files.period}") as follow:
        closed = close_period(home, files.period, on_progress=follow)
    history.report("close", lambda: closed)
    console.print(f"   {closed.invoices:,} invoices written to the ledger")
    approved = approve(home, files.period, everything=True, by="demo", why="The demo approves everything.")
    history.report("approve", lambda: approved)
    console.print(f"   {len(approved.approved):,} of them approved; the others are on plans that are not collected")
    with _step(console, "Publishing to the local Stripe emulator") as follow, local_emulator(home) as stripe:
        published = publish_period(home, files.period, client=stripe, on_progress=follow)
    if published.problems:
        raise BillhouseError("Publishing failed: " + "; ".join(str(problem) for problem in published.problems))
    history.report("publish", lambda: published)
    with _step(console, "Mirroring Stripe"), local_emulator(home) as stripe:
        synced = sync_stripe(home, client=stripe)
    with _step(console, "Refreshing the reports") as follow:
        _build_if_outdated(home, files.as_of, follow, history)
    history.report("sync-stripe", lambda: sync_report(home, synced))  # compares the refreshed reports
    with _step(console, "Exporting"):
        exported = export_period(home, files.period, with_pdf=False)  # `billhouse export` writes them, too
        history.report("export", lambda: exported)
    with _step(console, "Verifying the ledger"):
        history.report("verify", lambda: verify_ledger(home))
    sent = send_alerts(home)
    history.report("alerts --send", lambda: sent)
    write_health(home)
    return {
        **counts,
        "by_reason": reasons,
        "period": str(files.period),
        "closed": closed.as_dict(),
        "published": published.as_dict(),
        "exported": exported.as_dict(),
        "folder": exported.folder,
    }


def _archive(home: Home, paths: Sequence[Path]) -> None:
    """Move landed files to inbox/.landed/, as a Dagster run does, in place of those of an earlier demo."""
    for path in paths:
        (home.inbox / LANDED / path.relative_to(home.inbox)).unlink(missing_ok=True)
    move_landed(home, {path: version_of_path(path) for path in paths})


def _build_if_outdated(home: Home, as_of: datetime, follow: Follow, history: DagsterHistory) -> None:
    if not is_current(home, as_of):
        replaced_at = reports_replaced_at(home)
        built = build(home, as_of, on_progress=follow)
        history.report("build", lambda: build_report(home, as_of, built.steps, replaced_at))


_COUNTS = ("received", "accepted", "duplicates", "quarantined")


def _mark_as_demo(home: Home) -> None:
    """Mark the home as the demo's, and refuse one with other data: generated usage must not mix with real usage."""
    mark = home.path / _MARK
    if landed_file_ids(home) and not mark.exists():
        raise BillhouseError(
            f"{home.path} has landed data that is not the demo's.", "Use another home for the demo: billhouse --home DIR demo"
        )
    mark.write_text(json.dumps({"demo": True}) + "\n")


@contextmanager
def _step(console: Console, what: str) -> Iterator[Follow]:
    """Show a progress bar while the step runs, and a line with its duration after it."""
    started = monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def follow(step: str, done: int, total: int) -> None:
            progress.update(task, description=f"{what}: {plain(step[:40])}", completed=done, total=total)

        yield follow
    console.print(f"[green]done[/] {what} [dim]{monotonic() - started:.1f} s[/]")


def _summarize(console: Console, home: Home, months: list[dict[str, Any]], exports: Path, seconds: float) -> None:
    console.print()
    console.print(Rule("Result", align="left"))
    console.print(month_table(months))
    console.print()
    with open_reports(home) as reports:
        rows = reports.execute(
            "select coalesce(customer_name, customer_id), plan_id, status, subtotal_amount, credits_applied_amount,"
            " total_amount, currency from invoices where status <> 'draft' order by total_amount desc, customer_id limit 5"
        ).fetchall()
    table = Table(title="Largest invoices", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in ("customer", "plan", "status"):
        table.add_column(column)
    for column in ("subtotal", "credits", "total"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, plan, status, subtotal, credits, total, currency in rows:
        table.add_row(
            plain(name), plain(plan), status, *(format_money(amount, currency) for amount in (subtotal, credits, total))
        )
    console.print(table)
    console.print()
    console.print(Rule("Next steps", align="left"))
    console.print("  [bold]make ui[/]   then open http://127.0.0.1:3000: what needs a person, what ran, and the graph in Dagster")
    console.print("  [bold]make notebook[/]   revenue, customers and usage as charts, each with its SQL")
    console.print(f"  {plain(exports)}/   the workbook and CSV files for finance")
    console.print(f"  {plain(home.analysts_file)}   query it: select * from billing.invoices;")
    console.print("  .venv/bin/billhouse invoices   all invoices; [bold]--help[/] lists the other commands")
    console.print(f"Finished in {seconds:.0f} seconds.")
