"""Shared by all commands: options, printing of results, progress bars, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.core.home import Home
from pipeline.core.plain_text import plain_json
from pipeline.core.terminal import Console, plain

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Period = Annotated[str, typer.Argument(metavar="PERIOD", help="A month as YYYY-MM, in UTC.", show_default=False)]
OptionalPeriod = Annotated[
    str | None, typer.Argument(metavar="[PERIOD]", help="A month as YYYY-MM. Default: all months.", show_default=False)
]
Live = Annotated[bool, typer.Option("--live", help="Allow a live key, which means real customers and real invoices.")]
SHOWN_ROWS = 20
"""Rows of a long list that the terminal shows; --json and files have all."""
_PIPED_WIDTH = 160
"""Width of output to a file or a pipe, in characters."""
out = Console(highlight=False)
if not out.is_terminal:
    out.width = _PIPED_WIDTH
stderr = Console(stderr=True)


def show(as_json: bool, data: dict[str, Any], human: Callable[[], object]) -> None:
    """Print one JSON object on stdout, or call `human` to print text."""
    if as_json:
        print(plain_json(data))
    else:
        human()


def table(*columns: str, title: str = "") -> Table:
    """A table without borders. '>' in front of a column's name makes it right-aligned and never wrapped, for numbers."""
    shown = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_number = column.startswith(">")
        shown.add_column(
            column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number or column == "invoice"
        )
    return shown


def report(home: Home, work: str, result: Any, **details: Any) -> None:
    """Report a command's result to the Dagster that serves the home, if there is one. A failure is a warning."""
    if not home.command_reports.is_dir():
        return
    from pipeline.monitoring.command_reports import report_command

    try:
        report_command(home, work, result, **details)
    except Exception as error:  # the command's own work is done
        stderr.print(f"[yellow]warning[/] {plain(f'Dagster does not show this command: {error}')}", soft_wrap=True)


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """Show a progress bar on stderr until the block ends; yields the function that updates it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def follow(step: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what}: {plain(step[:48])}", completed=done, total=total)

        yield follow


def show_usage_error(error: Exception) -> None:
    """Print the usage error on stderr. Called without a command, typer has printed the help already."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return
    usage: Any = error
    if usage.ctx is not None:
        stderr.print(escape(usage.ctx.get_usage()), highlight=False, soft_wrap=True)
        stderr.print(f"Try '{escape(usage.ctx.command_path)} --help'.", highlight=False, soft_wrap=True)
    stderr.print(f"[red]error[/] {escape(cast(str, usage.format_message()))}", highlight=False, soft_wrap=True)


def close_broken_pipe() -> int:
    """Stop writing to a pipe that its reader closed (`billhouse invoices | head`). Returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
