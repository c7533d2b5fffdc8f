"""The commands that write raw files, and list sources: land, sources, compact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.cli.feed_options import refuse_kind_with_source
from pipeline.cli.support import Json, out, progress, report, show, stderr, table
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain
from pipeline.landing.record_kinds import Kind, TimestampUnit

if TYPE_CHECKING:
    from pipeline.landing import LandedFile, LandingSummary
    from pipeline.landing.merge_raw_files import MergedFiles
    from pipeline.landing.preview import Preview
    from pipeline.landing.sources.source_files import Source


def land(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...", help="Files: .jsonl, .json, .csv (and .gz, .zst), .parquet, .avro.", show_default=False
        ),
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
        typer.Option(
            "--again",
            help="Check rows in quarantine again: all but settled ones, or all of the named files, also settled ones. Reads no"
            " file.",
        ),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Select the rows with a source: see billhouse sources.", show_default=False),
    ] = None,
    rows_at: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The path of the rows in a JSON document, as in $.data.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would land, and what would be quarantined. Lands nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Land files: validate, deduplicate and store their rows. Safe to interrupt and to repeat.

    Valid rows are stored in <home>/raw/; invalid rows go to quarantine with file, line and reason. Landing a file again stores
    nothing twice, and checks its rows in quarantine again. Every named file is tried; the exit code is 1 if a file could not be
    read (then none of it is landed), or if the accepted share of its rows is below BILLHOUSE_LAND_MIN_ACCEPTED_SHARE (default:
    half). Each new file with rows in quarantine raises an alert. Days with many small files are compacted, as by billhouse
    compact. Next: billhouse build.
    """
    if not paths and not again:
        raise WrongUsageError("No file is given.", "Give files to land, or --again to check rows in quarantine again.")
    if again and (source or rows_at or dry_run):
        raise WrongUsageError(
            "--again cannot be combined with --source, --rows-at or --dry-run.",
            "Rows in quarantine are checked with the source that they landed with.",
        )
    refuse_kind_with_source(kind, source)
    from pipeline.core.settings import Settings
    from pipeline.landing import land_files, retry_quarantined
    from pipeline.landing.merge_raw_files import merge_if_possible
    from pipeline.landing.quarantine_alerts import raise_quarantine_alerts
    from pipeline.landing.result import LandReport
    from pipeline.landing.sources.source_files import check_rows_at, find_source
    from pipeline.monitoring.health import write_health

    least_share = Settings.load().land_min_accepted_share
    home = Home.open(context.obj)
    chosen = find_source(home, source) if source else None
    if rows_at:
        check_rows_at(rows_at, "--rows-at")
    if chosen is not None and chosen.replaces_built_in:
        stderr.print(f"Source {plain(chosen.name)}: yours in {plain(chosen.path)}, not the built-in one.", soft_wrap=True)
    if dry_run:
        dry_run_of(home, paths or [], kind or Kind.USAGE, timestamps, chosen, rows_at, as_json=as_json)
        return
    started = monotonic()
    with progress("Landing") as follow:
        if again:
            names = [path.name for path in paths or ()]
            summary = retry_quarantined(home, names, kind, timestamps=timestamps, on_progress=follow)
        else:
            summary = land_files(
                home,
                paths or (),
                kind or Kind.USAGE,
                timestamps=timestamps,
                source=chosen,
                rows_at=rows_at,
                on_progress=follow,
            )
        not_merged = merge_if_possible(home)
    refused = [] if again else summary.mostly_refused(least_share)
    not_recorded = None if again else raise_quarantine_alerts(home, summary, refused)
    write_health(home)
    landed_kind = chosen.kind if chosen is not None else kind or (None if again else Kind.USAGE)
    seconds, refusals = round(monotonic() - started, 2), None if again else [file.refusal for file in refused]
    report(home, "land", lambda: LandReport(summary, seconds, landed_kind, refusals))
    show(as_json, summary.as_dict(refused), lambda: print_landing(summary, is_again=again))
    for problem in summary.problems:
        stderr.print(f"[red]not landed[/] {plain(problem)}", highlight=False, soft_wrap=True)
    for file in refused:
        stderr.print(f"[red]mostly refused[/] {plain(file.refusal)}", highlight=False, soft_wrap=True)
    if not_merged is not None:
        stderr.print(f"[yellow]warning[/] {plain(not_merged)}", highlight=False, soft_wrap=True)
    if not_recorded is not None:
        stderr.print(
            f"[yellow]warning[/] The alert could not be recorded. {plain(not_recorded)}", highlight=False, soft_wrap=True
        )
    if summary.problems or refused:
        raise typer.Exit(1)


def compact(context: typer.Context, as_json: Json = False) -> None:
    """Merge small raw files, those of each day of usage and the rows of landed files, so that builds read fewer files.

    Every row has its landed file and line. Folders with at most BILLHOUSE_RAW_FILES_PER_DAY (default: 32) files below 16 MB stay
    unchanged. Each landing does this. Replaced files that exist again, as after a restore from a bucket, are removed. Safe to
    interrupt and to repeat. The exit code is 1 if a file was changed after it was written: it is not merged.
    """
    from pipeline.landing.merge_raw_files import merge_raw_files, remove_replaced

    home = Home.open(context.obj)
    with progress("Compacting") as follow:
        removed = remove_replaced(home)
        merged = merge_raw_files(home, on_progress=follow)
    show(as_json, {**merged.as_dict(), "removed": removed}, lambda: print_merged(merged, removed))
    for problem in merged.problems:
        stderr.print(f"[red]not merged[/] {plain(problem)}", highlight=False, soft_wrap=True)
    if merged.problems:
        raise typer.Exit(1)


def print_merged(merged: MergedFiles, removed: int) -> None:
    """Print the number of files before and after."""
    if removed:
        out.print(f"Removed {removed:,} file(s) that had been replaced before.")
    if merged.files:
        out.print(f"[bold]{merged.files:,}[/] small files became {merged.merged_files:,} (usage of {merged.days:,} days).")
    else:
        out.print("No folder has so many small files.")


def print_landing(summary: LandingSummary, *, is_again: bool = False) -> None:
    """Print the rows by outcome, the columns that were not read, and the reasons of rows in quarantine."""
    counts = summary.as_dict()
    if is_again and not summary.files:
        out.print("No rows wait in quarantine.")
        return
    what = "Checked again the rows in quarantine of" if is_again else "Landed"
    out.print(
        f"{what} [bold]{counts['files']:,}[/] file(s): {counts['received']:,} rows received = {counts['accepted']:,} accepted"
        f" + {counts['duplicates']:,} duplicates + {counts['quarantined']:,} in quarantine"
        + (f" + {counts['omitted']:,} omitted by the source." if counts["omitted"] else ".")
    )
    if counts["already_landed"]:
        out.print(
            f"{counts['already_landed']} file(s) had landed before: their rows are duplicates, and their rows in quarantine were"
            " checked again."
        )
    for file in summary.files:
        _unread_columns(file)
        if file.omitted and file.omitted == file.received:
            out.print(
                f"[yellow]warning[/] {plain(f'{file.file_name}: source {file.source} left out all rows.')} Was it the right one?",
                soft_wrap=True,
            )
    if counts["by_reason"]:
        out.print(reason_table(counts["by_reason"]))
        out.print("Each with file, line and what to do: billhouse quarantine; after a build also in billing.quarantined_events.")


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


def dry_run_of(
    home: Home,
    paths: Sequence[Path],
    kind: Kind,
    timestamps: TimestampUnit | None,
    source: Source | None,
    rows_at: str | None,
    *,
    as_json: bool,
) -> None:
    """Print what would land of each file. Raises InputFileError if one cannot be read."""
    from pipeline.landing.preview import preview

    previews = [preview(home, path, kind, timestamps=timestamps, source=source, rows_at=rows_at) for path in paths]
    show(as_json, {"files": [vars(found) for found in previews]}, lambda: _print_previews(previews))


def _print_previews(previews: Sequence[Preview]) -> None:
    for found in previews:
        omitted = f" + {found.omitted:,} omitted by the source" if found.omitted else ""
        out.print(
            f"{plain(found.file_name)} as {found.kind}: {found.received:,} rows received = {found.accepted:,} would be accepted"
            f" + {found.duplicates:,} duplicates + {found.quarantined:,} would be quarantined{omitted}.",
            soft_wrap=True,
        )
        for row in found.rows:
            values = ", ".join(f"{name}={_shown_value(value)}" for name, value in row.items() if name != "file_row")
            out.print(f"  line {row['file_row']}: {plain(values)}", soft_wrap=True)
        for row in found.quarantined_rows:
            out.print(
                f"  [red]quarantine[/] line {row['file_row']}, {plain(row['reason'])}: {plain(row['detail'])}", soft_wrap=True
            )
            out.print(f"    {plain(str(row['raw_row'])[:500])}", soft_wrap=True)
    out.print("Nothing was landed.")


def _shown_value(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def sources(context: typer.Context, as_json: Json = False) -> None:
    """List the sources: selects that read the rows of other systems, for billhouse land --source NAME.

    Built-in sources, and your own in <home>/sources/NAME.sql. One of your own replaces the built-in one of the same name. Changes
    nothing.
    """
    from pipeline.landing.sources.source_files import all_sources

    found, problems = all_sources(Home.open(context.obj))
    data = {
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "description": source.description,
                "reads": source.reads,
                "path": source.path,
                "is_built_in": source.is_built_in,
                "replaces_built_in": source.replaces_built_in,
            }
            for source in found
        ],
        "problems": [vars(problem) for problem in problems],
    }

    def human() -> None:
        shown = table("source", "kind", "what it reads", "from")
        for source in found:
            place = "built in" if source.is_built_in else str(source.path)
            place += " (replaces the built-in one)" if source.replaces_built_in else ""
            reads = f"{source.description}: {source.reads}" if source.reads else source.description
            shown.add_row(plain(source.name), source.kind, plain(reads), plain(place))
        out.print(shown)

    show(as_json, data, human)
    for problem in problems:
        stderr.print(f"[red]no source[/] {plain(problem)}", highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
