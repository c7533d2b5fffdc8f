"""The export command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.support import Json, Period, out, progress, report, show, stderr
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.exports import ExportResult


def export(
    context: typer.Context,
    period: Period,
    pdf: Annotated[
        bool, typer.Option("--pdf/--no-pdf", help="Write each statement as PDF, too (about 0.1 seconds for each).")
    ] = True,
    as_json: Json = False,
) -> None:
    """Export a month for finance: workbook, CSV, Parquet, FOCUS, double-entry journal, and statements for customers.

    Writes <home>/exports/PERIOD/ from the report tables of the last build. Safe to repeat: it replaces the files, and the same
    tables give the same bytes. Warns if files landed since that build. docs/use/exports.md describes each file.
    """
    month = BillingPeriod.parse(period)
    from pipeline.exports import export_period
    from pipeline.exports.freshness import files_landed_since_build

    home = Home.open(context.obj)
    with progress("Writing statements") as follow:
        result = export_period(home, month, with_pdf=pdf, on_progress=follow)
    report(home, "export", lambda: result)
    if landed := files_landed_since_build(home):
        text = f"{landed:,} files landed since the last build, and are not exported. Run billhouse build, then export again."
        stderr.print(f"[yellow]warning[/] {text}", soft_wrap=True)
    show(as_json, result.as_dict(), lambda: print_export(result))


def print_export(result: ExportResult) -> None:
    """Print the folder and the files."""
    out.print(f"Exported to [bold]{plain(result.folder)}[/]:")
    for file in result.files:
        out.print(f"  {plain(file.name)}")
    out.print(f"  statements/  {result.statements:,} statements, one for each invoice")
