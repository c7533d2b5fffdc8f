"""Commands for the feeds that feeds.toml configures: feeds list, feeds run. docs/operate/queues.md."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.support import Json, out, report, show, table
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.feeds.configured import FeedRun

app = typer.Typer(
    no_args_is_help=True,
    help="The feeds of this home: commands that fetch rows into the inbox, configured in <home>/feeds.toml. Safe to repeat.",
)


@app.command("list")
def list_feeds(context: typer.Context, as_json: Json = False) -> None:
    """List the configured feeds with their commands. Changes nothing."""
    from pipeline.feeds.configured import read_feeds

    home = Home.open(context.obj)
    feeds = read_feeds(home)
    rows = [{"feed": feed.name, "command": shlex.join(feed.words), "service": feed.is_service} for feed in feeds]

    def human() -> None:
        if not feeds:
            out.print(f"No feeds are configured: there is no {plain(str(home.feeds))}, or it is empty.")
        for row in rows:
            note = "  (a service)" if row["service"] else ""
            out.print(f"[bold]{plain(str(row['feed']))}[/]  billhouse {plain(str(row['command']))}{note}", soft_wrap=True)

    show(as_json, {"feeds": rows}, human)


@app.command("run")
def run(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="The feeds. Default: all, without services.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Follow one queue until the process is ended (SIGTERM), as a service.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the configured feeds one after the other. Safe to interrupt and to repeat.

    A feed that fails raises an alert and stops no other; the command ends with 1 then. With --follow, it becomes the feed's own
    command.
    """
    from pipeline.feeds.configured import command_line, find_feed, read_feeds, run_feeds
    from pipeline.feeds.environment import environment_of_feed

    home = Home.open(context.obj)
    feeds = [find_feed(home, name) for name in names] if names else [feed for feed in read_feeds(home) if not feed.is_service]
    if follow:
        if len(names or []) != 1 or not feeds[0].is_queue:
            raise WrongUsageError("--follow needs the name of one feed that consumes a queue.")
        words = command_line(home, [*feeds[0].words, "--follow"])
        os.execve(words[0], words, environment_of_feed(raises_alerts=True))  # noqa: S606 - the words are those of the home's owner
    runs = run_feeds(home, feeds)
    report(home, "feeds run", runs)
    show(as_json, {"feeds": [one.as_dict() for one in runs]}, lambda: _print_runs(runs))
    if any(one.problem for one in runs):
        raise typer.Exit(1)


def _print_runs(runs: list[FeedRun]) -> None:
    if not runs:
        out.print("No feeds to run.")
        return
    shown = table("feed", ">rows", ">files", ">seconds", "problem")
    for one in runs:
        shown.add_row(plain(one.feed), f"{one.rows:,}", f"{one.files:,}", f"{one.seconds:,.1f}", plain(one.problem))
    out.print(shown)
    for one in runs:
        for warning in one.warnings:
            out.print(f"[yellow]warning[/] {plain(one.feed)}: {plain(warning)}", soft_wrap=True)
