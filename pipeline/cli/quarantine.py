"""The command that shows which rows did not land, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.cli.support import SHOWN_ROWS, Json, out, show, table
from pipeline.core.home import Home
from pipeline.core.terminal import plain

_SHOWN_CHARACTERS = 500


def quarantine(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Show the rows with this reason.", show_default=False)] = None,
    file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Show the rows of a file: its name, or the start of its id.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most rows to show.")] = SHOWN_ROWS,
    as_json: Json = False,
) -> None:
    """Show the rows in quarantine: why, from which file and line, and as they came.

    By default each reason once, with its number of rows and an example; with --reason or --file the rows themselves. Correct
    what is wrong where the rows come from, and land them in a new file. If the cause was a setting or the price book, correct
    it and run billhouse land --again. Changes nothing, and needs no build.
    """
    from pipeline.landing.quarantine_report import reasons_in_quarantine, rows_in_quarantine

    home = Home.open(context.obj)
    if reason is None and file is None:
        reasons = reasons_in_quarantine(home)
        show(as_json, {"reasons": [_as_json(row) for row in reasons]}, lambda: _print_reasons(reasons))
    else:
        rows = rows_in_quarantine(home, reason=reason, file=file, limit=limit)
        show(as_json, {"rows": [_as_json(row) for row in rows]}, lambda: _print_rows(rows, limit))


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def _print_reasons(reasons: list[dict[str, Any]]) -> None:
    if not reasons:
        out.print("No rows are in quarantine.")
        return
    shown = table("reason", "kind", ">rows", ">files", "example")
    for row in reasons:
        shown.add_row(plain(row["reason"]), row["kind"], f"{row['rows']:,}", f"{row['files']:,}", plain(row["example"]))
    out.print(shown)
    out.print("The rows themselves: billhouse quarantine --reason REASON. Corrected the cause here? billhouse land --again")


def _print_rows(rows: list[dict[str, Any]], limit: int) -> None:
    if not rows:
        out.print("No such rows are in quarantine.")
    for row in rows:
        out.print(
            f"[bold]{plain(row['file_name'])}[/] line {row['file_row']}, {plain(row['reason'])}: {plain(row['detail'])}",
            soft_wrap=True,
        )
        out.print(f"  {plain(str(row['raw_row'])[:_SHOWN_CHARACTERS])}", soft_wrap=True)
    if len(rows) == limit:
        out.print(f"At most {limit:,} rows are shown: --limit shows more.")
