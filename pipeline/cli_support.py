"""What the commands share: how they show results, progress and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
stderr = Console(stderr=True)


def plain(text: object) -> str:
    """Text from files and paths is shown as it is: square brackets in it are no markup."""
    return escape(str(text))


def show(as_json: bool, data: dict[str, Any], human: Callable[[], object]) -> None:
    """One JSON object on stdout, or what a person reads."""
    if as_json:
        print(json.dumps(data, default=str))
    else:
        human()


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A progress bar on stderr, gone when done; yields the function that moves it."""
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
            bar.update(task, description=f"{what}: {step[:48]}", completed=done, total=total)

        yield follow
