"""The export command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.support import Json, Period, out, progress, report, show, stderr
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.exports import ExportResult, StatementsResult


def export(
    context: typer.Context,
    period: Period,
    customer: Annotated[
        str | None,
        typer.Option("--customer", metavar="ID", help="Write only the statements of this customer.", show_default=False),
    ] = None,
    invoice: Annotated[
        str | None, typer.Option("--invoice", metavar="ID", help="Write only the statement of this invoice.", show_default=False)
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf/--no-pdf", help="Write each statement as PDF, too (about 0.1 seconds for each).")
    ] = True,
    as_json: Json = False,
) -> None:
    """Export a month for finance: workbook, CSV, Parquet, FOCUS, double-entry journal, and statements for customers.

    Writes <home>/exports/PERIOD/ from the report tables of the last build. Safe to repeat: it replaces the files, and the same
    tables give the same bytes. Warns if files landed since that build. docs/use/exports.md describes each file.

    With --customer or --invoice it writes only those statements, the same as in the export of the whole month, and leaves all
    other files as they are. `billhouse invoices PERIOD --json` lists the ids.
    """
    month = BillingPeriod.parse(period)
    if customer is not None and invoice is not None:
        raise WrongUsageError("Use --customer or --invoice, not both: an invoice has one customer.")
    home = Home.open(context.obj)
    if customer is not None or invoice is not None:
        from pipeline.exports import export_statements

        with progress("Writing statements") as follow:
            written = export_statements(home, month, customer_id=customer, invoice_id=invoice, with_pdf=pdf, on_progress=follow)
        _warn_of_landed_files(home)
        show(as_json, written.as_dict(), lambda: print_statements(written))
        return
    from pipeline.exports import export_period

    with progress("Writing statements") as follow:
        result = export_period(home, month, with_pdf=pdf, on_progress=follow)
    report(home, "export", lambda: result)
    _warn_of_landed_files(home)
    show(as_json, result.as_dict(), lambda: print_export(result))


def _warn_of_landed_files(home: Home) -> None:
    from pipeline.warehouse.reports import files_landed_since_build

    if landed := files_landed_since_build(home):
        text = f"{landed:,} files landed since the last build, and are not exported. Run billhouse build, then export again."
        stderr.print(f"[yellow]warning[/] {text}", soft_wrap=True)


def print_export(result: ExportResult) -> None:
    """Print the folder and the files."""
    out.print(f"Exported to [bold]{plain(result.folder)}[/]:")
    for file in result.files:
        out.print(f"  {plain(file.name)}")
    out.print(f"  statements/  {result.statements:,} statements, one for each invoice")


def print_statements(result: StatementsResult) -> None:
    """Print the folder and the statements."""
    out.print(f"Exported to [bold]{plain(result.folder)}[/]:")
    for file in result.files:
        out.print(f"  {plain(file.name)}")
