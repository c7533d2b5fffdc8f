"""The commands that collect: what others keep comes into the inbox. docs/operate/collecting.md."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.support import Json, out, show
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain
from pipeline.landing.record_kinds import Kind

if TYPE_CHECKING:
    from pipeline.feeds import Collected, CursorPaging, LinkPaging

KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--api-key-env", metavar="VARIABLE", help="The environment variable that holds the API's key.", show_default=False
    ),
]
KeyHeader = Annotated[
    str, typer.Option(metavar="HEADER", help="The header that carries the key; in Authorization it is a bearer token.")
]
Speed = Annotated[int, typer.Option(help="How fast the API is asked, at most.", min=1, max=1000)]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Names the source: its position and its files. Default: from its address.", show_default=False
    ),
]


class PagingStyle(StrEnum):
    """How an API's pages follow one another."""

    CURSOR = "cursor"
    LINK = "link"


def poll_metrics(
    context: typer.Context,
    url: Annotated[str, typer.Option(metavar="URL", help="The API's address, without a path of its own.", show_default=False)],
    api_key_env: KeyVariable = None,
    api_key_header: KeyHeader = "X-API-Key",
    requests_per_second: Speed = 5,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Fetch what sandboxes used since the last time, from an API like E2B's, into the inbox. Safe to kill and to repeat.

    Then: billhouse land --kind metrics FILE...
    """
    from pipeline.feeds import Access
    from pipeline.feeds import poll_metrics as poll

    access = Access(url, api_key_env, api_key_header, requests_per_second)
    collected = poll(Home.open(context.obj), access, name=name or f"metrics-{_name_of(url)}")
    show(as_json, collected.as_dict(), lambda: print_collected(collected))


def collect(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An API that gives rows page by page, parameters included.", show_default=False),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A file or a folder of JSON lines that a queue is exported to.", show_default=False),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What the rows are.")] = Kind.USAGE,
    api_key_env: KeyVariable = None,
    api_key_header: KeyHeader = "X-API-Key",
    rows_at: Annotated[str, typer.Option(metavar="JSONPATH", help="Where the list of rows is in an answer.")] = "data",
    paging: Annotated[PagingStyle, typer.Option(help="cursor: in the answer; link: the Link header.")] = PagingStyle.CURSOR,
    next_cursor_at: Annotated[
        str, typer.Option(metavar="JSONPATH", help="Where the next page's cursor is in an answer.")
    ] = "next_cursor",
    cursor_parameter: Annotated[str, typer.Option(metavar="NAME", help="The parameter that a request sends it as.")] = "cursor",
    requests_per_second: Speed = 5,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Collect what is new at an events API or in a queue's export into the inbox, every row at least once. Safe to repeat.

    Then: billhouse land FILE..., which keeps each row exactly once.
    """
    if (url is None) == (export is None):
        raise WrongUsageError("Say where to collect from: --url or --export.")
    from pipeline.feeds import Access, CursorPaging, LinkPaging, collect_events, collect_export

    home = Home.open(context.obj)
    if export is not None:
        collected = collect_export(home, export, name=name or f"{kind}-{_name_of(export)}", kind=kind)
    else:
        assert url is not None
        access = Access(url, api_key_env, api_key_header, requests_per_second)
        style: CursorPaging | LinkPaging = (
            CursorPaging(next_cursor_at, cursor_parameter) if paging is PagingStyle.CURSOR else LinkPaging()
        )
        collected = collect_events(home, access, name=name or f"{kind}-{_name_of(url)}", kind=kind, paging=style, rows_at=rows_at)
    show(as_json, collected.as_dict(), lambda: print_collected(collected))
    if collected.refused:
        raise typer.Exit(1)


def _name_of(address: str) -> str:
    """https://api.example.com/v1/events?limit=500 -> api.example.com-v1-events."""
    place = re.sub(r"^[a-z0-9+]+://|[?#].*$", "", address.lower())
    return re.sub(r"[^a-z0-9._]+", "-", place.rpartition("@")[2])[-60:].strip("-._") or "source"


def print_collected(result: Collected) -> None:
    """What came, and what to call next."""
    if result.files:
        out.print(f"Collected [bold]{result.rows:,}[/] rows of {plain(result.source)}.")
        named = " ".join(shlex.quote(str(path)) for path in result.files)
        out.print(f"Now: billhouse land --kind {result.kind} {plain(named)}", soft_wrap=True)
    else:
        out.print(f"Nothing new from {plain(result.source)}.")
    for path in result.skipped:
        out.print(f"[yellow]left out[/] {plain(path)}: no JSON lines by its name. Land it as it is.", soft_wrap=True)
    for refusal in result.refused:
        out.print(f"[red]refused[/] {plain(refusal)}", soft_wrap=True)
