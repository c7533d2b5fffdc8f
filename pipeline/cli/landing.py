"""The command that lands files: land."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.cli.support import Json, out, progress, show, stderr, table
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain
from pipeline.landing.record_kinds import Kind, TimestampUnit

if TYPE_CHECKING:
    from pipeline.landing import LandedFile, LandingSummary


def land(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files: .jsonl, .csv (also .gz) or .parquet.", show_default=False),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="The kind of the rows. Default: usage; with --again, all kinds.", show_default=False)
    ] = None,
    timestamps: Annotated[
        TimestampUnit | None,
        typer.Option(help="The unit of numeric timestamps, since 1970-01-01 UTC. Default: reject numbers.", show_default=False),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Check rows in quarantine again: all, or those of the named files. Reads no file."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Land files: validate, deduplicate and store their rows. Safe to interrupt and to repeat.

    Valid rows are stored in <home>/raw/; invalid rows go to quarantine with file, line and reason. Landing a file again stores
    nothing twice, and checks its rows in quarantine again. Every named file is tried; the exit code is 1 if a file could not be
    read (then none of it is landed), or if the accepted share of its rows is below BILLHOUSE_LAND_MIN_ACCEPTED_SHARE (default:
    half). Next: billhouse build.
    """
    if not paths and not again:
        raise WrongUsageError("No file is given.", "Give files to land, or --again to check rows in quarantine again.")
    from pipeline.core.settings import Settings
    from pipeline.landing import land_files, retry_quarantined
    from pipeline.monitoring.health import write_health

    least_share = Settings.load().land_min_accepted_share
    home = Home.open(context.obj)
    with progress("Landing") as follow:
        if again:
            names = [path.name for path in paths or ()]
            summary = retry_quarantined(home, names, kind, timestamps=timestamps, on_progress=follow)
        else:
            summary = land_files(home, paths or (), kind or Kind.USAGE, timestamps=timestamps, on_progress=follow)
    write_health(home)
    refused = [] if again else summary.mostly_refused(least_share)
    show(as_json, summary.as_dict(refused), lambda: print_landing(summary, is_again=again))
    for problem in summary.problems:
        stderr.print(f"[red]not landed[/] {plain(problem)}", highlight=False, soft_wrap=True)
    for file in refused:
        stderr.print(f"[red]mostly refused[/] {plain(file.refusal)}", highlight=False, soft_wrap=True)
    if summary.problems or refused:
        raise typer.Exit(1)


def print_landing(summary: LandingSummary, *, is_again: bool = False) -> None:
    """Print the rows by outcome, the columns that were not read, and the reasons of rows in quarantine."""
    counts = summary.as_dict()
    if is_again and not summary.files:
        out.print("No rows are in quarantine.")
        return
    what = "Checked again the rows in quarantine of" if is_again else "Landed"
    out.print(
        f"{what} [bold]{counts['files']:,}[/] file(s): {counts['received']:,} rows received = {counts['accepted']:,} accepted"
        f" + {counts['duplicates']:,} duplicates + {counts['quarantined']:,} in quarantine."
    )
    if counts["already_landed"]:
        out.print(
            f"{counts['already_landed']} file(s) had landed before: their rows are duplicates, and their rows in quarantine were"
            " checked again."
        )
    for file in summary.files:
        _unread_columns(file)
    if counts["by_reason"]:
        out.print(reason_table(counts["by_reason"]))
        out.print("After a build, billing.quarantined_events lists each with file, line and what to do.")


def _unread_columns(file: LandedFile) -> None:
    """Print the columns that are not read, and the start events that get their plan's default resources."""
    if file.unread_columns:
        out.print(plain(f"{file.file_name}: columns that are not read: {file.unread_text}."), soft_wrap=True)
    if file.suggestions:
        pairs = ", ".join(f"{field} for {name}" for name, field in file.suggestions.items())
        out.print(plain(f"  Did you mean {pairs}?"), soft_wrap=True)
    if file.starts_without:
        without = ", ".join(f"{number:,} have no {column}" for column, number in file.starts_without.items())
        billed = "the plan's default is billed, unless their stop names one"
        out.print(plain(f"{file.file_name}: of its start events, {without}: {billed}."), soft_wrap=True)
    if file.misspelt_resources:
        names = ", ".join(file.misspelt_resources)
        out.print(
            f"[yellow]warning[/] {plain(f'{file.file_name}: {names}')} look like misspelt resources or quantities: they are not"
            " billed. Correct the names at the source of the file.",
            soft_wrap=True,
        )


def reason_table(by_reason: dict[str, int]) -> Table:
    """A table of rows in quarantine by reason."""
    shown = table("quarantine reason", ">rows")
    for reason, rows in sorted(by_reason.items()):
        shown.add_row(plain(reason), f"{rows:,}")
    return shown
