"""Commands on the price book: check-prices, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipeline.cli.support import SHOWN_ROWS, Json, out, progress, show, table
from pipeline.core.decisions import logged_in_user
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.ledger.price_check import PriceCheck
    from pipeline.ledger.simulation import Simulation


def check_prices(
    context: typer.Context,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept that edited plans, contracts, meters and currencies adjust closed months.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="First rewrite files that a spreadsheet program saved in another form. Values stay the same."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the price book in seeds/: it must be valid, and no price that closed months used may be edited.

    If one was edited, shows which closed invoices the edit would change. Correct a rate or fee by a row that replaces it; an edit
    of other terms takes effect with --accept, which records who accepted it. Exits with 1 if there is a problem. Changes nothing
    without --fix or --accept. Next: billhouse build.
    """
    from pipeline.ledger.price_check import check_prices as check

    home = Home.open(context.obj)
    accept_by = logged_in_user("Set the environment variable USER to your name.") if accept else None
    with progress("Checking") as follow:
        result = check(home, accept_by=accept_by, is_to_be_fixed=fix, on_progress=follow)
    show(as_json, result.as_dict(), lambda: print_price_check(result))
    if result.problems:
        raise typer.Exit(1)


def simulate(
    context: typer.Context,
    prices: Annotated[
        Path,
        typer.Option(
            "--prices", metavar="DIR", help="A folder with changed price book files; missing files are taken from seeds/."
        ),
    ],
    first: Annotated[str, typer.Option("--from", metavar="PERIOD", help="The first month, as YYYY-MM.")],
    last: Annotated[str, typer.Option("--to", metavar="PERIOD", help="The last month, as YYYY-MM.")],
    as_json: Json = False,
) -> None:
    """Simulate another price book: price the months with it, and show which invoices would change.

    Changes no data and no price. Writes a CSV file and a workbook with a chart to <home>/exports/simulations/.
    """
    months = (BillingPeriod.parse(first), BillingPeriod.parse(last))
    from pipeline.ledger.simulation import simulate as simulate_prices

    home = Home.open(context.obj)
    with progress("Simulating") as follow:
        result = simulate_prices(home, prices, *months, on_progress=follow)
    show(as_json, result.as_dict(), lambda: print_simulation(result))


def print_price_check(result: PriceCheck) -> None:
    """Print the problems of the price book, and the closed invoices that an edit would change."""
    for name in result.fixed:
        out.print(f"Rewrote seeds/{plain(name)} as plain CSV; values are unchanged.")
    for problem in result.problems:
        out.print(f"[red]problem[/] {plain(problem)}", soft_wrap=True)
    if not result.problems:
        out.print("The price book is valid.")
    if result.changed:
        out.print(f"It would change {len(result.changed)} closed invoices:")
        out.print(_changes(result.changed))


def _changes(rows: list[Any]) -> Table:
    shown = table("customer", "month", ">before", ">after", ">change")
    for customer_id, period, currency, before, after, difference in rows[:SHOWN_ROWS]:
        amounts = (format_money(amount, currency) for amount in (before, after, difference))
        shown.add_row(plain(customer_id), period, *amounts)
    if len(rows) > SHOWN_ROWS:
        shown.add_row(f"and {len(rows) - SHOWN_ROWS:,} more")
    return shown


def print_simulation(result: Simulation) -> None:
    """Print the totals before and after, the largest changes, and the files."""
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
