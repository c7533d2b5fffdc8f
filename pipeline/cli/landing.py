"""The land command."""

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
    shown = table("in quarantine because", ">rows")
    for reason, rows in sorted(by_reason.items()):
        shown.add_row(plain(reason), f"{rows:,}")
    return shown
