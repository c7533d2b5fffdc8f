"""The command that shows which rows did not land, and why, and settles those that need nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.support import SHOWN_ROWS, Json, out, report, show, table
from pipeline.core.decisions import logged_in_user
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.landing.settlement import SettlementResult

_SHOWN_CHARACTERS = 500
_SHOWN_OF_ID = 8


def quarantine(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Show the rows with this reason.", show_default=False)] = None,
    file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Show the rows of a file: its name, or the start of its id.", show_default=False),
    ] = None,
    row: Annotated[
        list[int] | None,
        typer.Option("--row", min=1, metavar="LINE", help="Show this line of the file; repeatable.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most rows to show.")] = SHOWN_ROWS,
    settled: Annotated[
        bool, typer.Option("--settled", help="Show the rows that were settled instead, with who and why.")
    ] = False,
    settle: Annotated[
        bool,
        typer.Option("--settle", help="Settle all chosen rows: record that they need nothing more, for good. Needs --why."),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who settles. Default: the name of the logged-in user.", show_default=False),
    ] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, recorded with the decision.")] = "",
    as_json: Json = False,
) -> None:
    """Show the rows that wait in quarantine: why, from which file and line, and as they came.

    By default each reason once, with its number of rows and an example; with --reason or --file the rows themselves. Correct
    what is wrong where the rows come from, and land them in a new file. If the cause was a setting or the price book, correct
    it and run billhouse land --again. Needs no build, and without --settle changes nothing.

    --settle records for good that the rows chosen by --file, --row and --reason need nothing more, because they landed corrected
    from another file, say: they stay in quarantine, and no longer count as waiting. Safe to repeat; cannot be undone. Show the
    same rows first: the same command without --settle. With it, --file names one file: where several have the name, by 8 or more
    characters of its id.
    """
    home = Home.open(context.obj)
    if row and file is None:
        raise WrongUsageError("It does not say of which file the row is.", "Name it: --file NAME --row LINE")
    if settle:
        if settled:
            raise WrongUsageError("--settled shows rows: use it without --settle.")
        if _is_given(context, "limit"):
            raise WrongUsageError("--limit bounds what is shown: --settle settles all chosen rows.", "Use it without --limit.")
        _settle(home, reason, file, row or [], logged_in_user() if by is None else by, why, as_json)
        return
    if by is not None or why:
        raise WrongUsageError("--by and --why belong to a decision.", "Use them with --settle.")
    from pipeline.landing.quarantine_report import reasons_in_quarantine, rows_in_quarantine

    if reason is None and file is None:
        reasons = reasons_in_quarantine(home, is_settled=settled)
        show(as_json, {"reasons": [_as_json(found) for found in reasons]}, lambda: _print_reasons(reasons, settled))
    else:
        rows = rows_in_quarantine(home, reason=reason, file=file, file_rows=row or (), is_settled=settled, limit=limit)
        show(as_json, {"rows": [_as_json(found) for found in rows]}, lambda: _print_rows(rows, limit, settled))


def _is_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _settle(home: Home, reason: str | None, file: str | None, rows: list[int], by: str, why: str, as_json: bool) -> None:
    from pipeline.landing.settlement import settle_rows
    from pipeline.monitoring.health import updated_health

    with updated_health(home):
        result = settle_rows(home, reason=reason, file=file, file_rows=rows, by=by, why=why)
    if result.rows:
        report(home, "quarantine --settle", lambda: result)
    show(as_json, result.as_dict(), lambda: _print_settlement(result))


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def _print_settlement(result: SettlementResult) -> None:
    if result.rows:
        reasons = ", ".join(f"{plain(reason)} {number:,}" for reason, number in result.by_reason.items())
        out.print(f"Settled [bold]{result.rows:,}[/] rows, by {plain(result.settled_by)}: {reasons}.")
        for file in result.files[:SHOWN_ROWS]:
            lines = file.lines if len(file.lines) <= _SHOWN_CHARACTERS else f"{file.lines[:_SHOWN_CHARACTERS]} ..."
            out.print(f"  {plain(file.file_name)} [dim]{file.file_id[:_SHOWN_OF_ID]}[/] lines {lines}", soft_wrap=True)
        if len(result.files) > SHOWN_ROWS:
            out.print(f"  and {len(result.files) - SHOWN_ROWS:,} other files: billhouse quarantine --settled")
    if result.already_settled:
        out.print(f"Settled before, unchanged: {result.already_settled:,} rows.")
    out.print("After the next build, billing.quarantined_events shows who, when and why.")


def _print_reasons(reasons: list[dict[str, Any]], is_settled: bool) -> None:
    if not reasons:
        out.print("No rows in quarantine are settled." if is_settled else "No rows wait in quarantine.")
        return
    shown = table("reason", "kind", ">rows", ">files", "example")
    for row in reasons:
        shown.add_row(plain(row["reason"]), row["kind"], f"{row['rows']:,}", f"{row['files']:,}", plain(row["example"]))
    out.print(shown)
    if is_settled:
        out.print("The rows themselves, with who and why: billhouse quarantine --settled --reason REASON.")
        return
    out.print("The rows themselves: billhouse quarantine --reason REASON. Corrected the cause here? billhouse land --again")
    out.print("Landed them corrected from another file? billhouse quarantine --settle --file NAME --why TEXT")


def _print_rows(rows: list[dict[str, Any]], limit: int, is_settled: bool) -> None:
    if not rows:
        out.print("No such rows are settled." if is_settled else "No such rows wait in quarantine.")
    for row in rows:
        out.print(
            f"[bold]{plain(row['file_name'])}[/] [dim]{row['file_id'][:_SHOWN_OF_ID]}[/] line {row['file_row']},"
            f" {plain(row['reason'])}: {plain(row['detail'])}",
            soft_wrap=True,
        )
        out.print(f"  {plain(str(row['raw_row'])[:_SHOWN_CHARACTERS])}", soft_wrap=True)
        if is_settled:
            who = f"{plain(row['settled_by'])} at {row['settled_at']:%Y-%m-%d %H:%M} UTC"
            out.print(f"  settled by {who}: {plain(row['settlement_reason'])}", soft_wrap=True)
    if len(rows) == limit:
        out.print(f"At most {limit:,} rows are shown: --limit shows more.")
