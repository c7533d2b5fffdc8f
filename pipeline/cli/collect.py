"""Commands that collect rows into the inbox: poll-metrics, poll-running, collect. docs/operate/collecting.md."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.feed_options import KindOption, SourceOption, inbox_folder, refuse_kind_with_source
from pipeline.cli.support import Json, out, show
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.feeds import Collected, CursorPaging, LinkPaging

BaseUrl = Annotated[str, typer.Option(metavar="URL", help="The API's base address, without a path.", show_default=False)]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--api-key-env", metavar="VARIABLE", help="The environment variable that holds the API's key.", show_default=False
    ),
]
KeyHeader = Annotated[
    str, typer.Option(metavar="HEADER", help="The header that carries the key; in Authorization it is a bearer token.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VARIABLE",
        help="Another header of each request, with the environment variable that holds its value. Repeatable.",
        show_default=False,
    ),
]
Speed = Annotated[int, typer.Option(help="The most requests per second.", min=1, max=1000)]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The source's name, for its position and its files. Default: made from its address.",
        show_default=False,
    ),
]


_SHOWN_FILES = 1000
"""A command that lands more is printed with `find`."""


class PagingStyle(StrEnum):
    """How an API is asked for the next page: a cursor in the response, the Link header, or the number of rows to skip."""

    CURSOR = "cursor"
    LINK = "link"
    OFFSET = "offset"


def poll_metrics(
    context: typer.Context,
    url: BaseUrl,
    api_key_env: KeyVariable = None,
    api_key_header: KeyHeader = "X-API-Key",
    header: Headers = None,
    latest: Annotated[
        bool,
        typer.Option(
            "--latest", help="Fetch only the latest sample of each sandbox: one request for 100 sandboxes, not for each."
        ),
    ] = False,
    requests_per_second: Speed = 5,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Fetch new sandbox metrics from an API like E2B's into the inbox. Safe to interrupt and to repeat.

    Fetches what is new since the last call, and writes files only to <home>/inbox/. Next: billhouse land --kind metrics FILE...
    """
    from pipeline.feeds import Access, poll_latest_metrics
    from pipeline.feeds import poll_metrics as poll_all_metrics

    access = Access(url, api_key_env, api_key_header, requests_per_second, _headers(header))
    poll = poll_latest_metrics if latest else poll_all_metrics
    collected = poll(Home.open(context.obj), access, name=name or f"metrics-{name_of(url)}")
    show(as_json, collected.as_dict(), lambda: print_collected(collected))


def poll_running(
    context: typer.Context,
    url: BaseUrl,
    api_key_env: KeyVariable = None,
    api_key_header: KeyHeader = "X-API-Key",
    header: Headers = None,
    scope: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The part of your deployment that this API covers, such as a region, if it does not cover all.",
            show_default=False,
        ),
    ] = None,
    requests_per_second: Speed = 5,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Fetch a listing of running sandboxes from an API like E2B's into the inbox. Safe to interrupt and to repeat.

    Run it each minute: a sandbox that crashes is billed up to the last listing that names it. A listing is complete or not
    written. Writes files only to <home>/inbox/. Next: billhouse land --kind running FILE...
    """
    from pipeline.feeds import Access
    from pipeline.feeds import poll_running as poll

    access = Access(url, api_key_env, api_key_header, requests_per_second, _headers(header))
    collected = poll(Home.open(context.obj), access, name=name or f"running-{name_of(url)}", scope=scope)
    show(as_json, collected.as_dict(), lambda: print_collected(collected))


def collect(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address of a paginated API, with its parameters.", show_default=False),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="A JSON Lines file, or a folder of them, that a queue is exported to.", show_default=False
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A prefix of a bucket (s3://bucket/prefix), a pattern or a folder: files that do not grow, each copied once.",
            show_default=False,
        ),
    ] = None,
    kind: KindOption = None,
    source: SourceOption = None,
    api_key_env: KeyVariable = None,
    api_key_header: KeyHeader = "X-API-Key",
    header: Headers = None,
    rows_at: Annotated[str, typer.Option(metavar="JSONPATH", help="The path of the list of rows in a response.")] = "data",
    paging: Annotated[
        PagingStyle, typer.Option(help="cursor: in the response; link: in the Link header; offset: rows to skip.")
    ] = PagingStyle.CURSOR,
    next_cursor_at: Annotated[
        str, typer.Option(metavar="JSONPATH", help="The path of the next page's cursor in a response.")
    ] = "next_cursor",
    cursor_parameter: Annotated[str, typer.Option(metavar="NAME", help="The request parameter of the cursor.")] = "cursor",
    page_size: Annotated[int, typer.Option(min=1, help="With offset: the rows to ask for on a page.")] = 100,
    offset_parameter: Annotated[str, typer.Option(metavar="NAME", help="The request parameter of the offset.")] = "offset",
    limit_parameter: Annotated[str, typer.Option(metavar="NAME", help="The request parameter of the page size.")] = "limit",
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="With offset: the list begins with the newest row; read up to a known one.")
    ] = False,
    requests_per_second: Speed = 5,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Collect new rows from an events API, a queue's export or a bucket into the inbox. Safe to interrupt and to repeat.

    Collects each row at least once, and writes files only to <home>/inbox/. Next: billhouse land FILE..., which stores each row
    exactly once. Rows of other systems need --source, here or there: billhouse sources.
    """
    if [url, export, objects].count(None) != 2:
        raise WrongUsageError("Give one source to collect from: --url, --export or --objects.")
    refuse_kind_with_source(kind, source)
    if newest_first and paging is not PagingStyle.OFFSET:
        raise WrongUsageError("--newest-first needs --paging offset.", "Other lists are read from the oldest row on.")
    from pipeline.feeds import (
        Access,
        CursorPaging,
        LinkPaging,
        OffsetPaging,
        collect_by_offset,
        collect_events,
        collect_export,
        collect_objects,
    )

    home = Home.open(context.obj)
    folder = inbox_folder(home, kind, source)
    if export is not None:
        collected = collect_export(home, export, name=name or f"{folder}-{name_of(export)}", folder=folder)
    elif objects is not None:
        collected = collect_objects(home, objects, name=name or f"{folder}-{name_of(objects)}", folder=folder)
    else:
        assert url is not None
        access = Access(url, api_key_env, api_key_header, requests_per_second, _headers(header))
        name = name or f"{folder}-{name_of(url)}"
        if paging is PagingStyle.OFFSET:
            by_offset = OffsetPaging(page_size, offset_parameter, limit_parameter, rows_at)
            collected = collect_by_offset(home, access, name=name, folder=folder, paging=by_offset, is_newest_first=newest_first)
        else:
            style: CursorPaging | LinkPaging = (
                CursorPaging(next_cursor_at, cursor_parameter) if paging is PagingStyle.CURSOR else LinkPaging()
            )
            collected = collect_events(home, access, name=name, folder=folder, paging=style, rows_at=rows_at)
    show(as_json, collected.as_dict(), lambda: print_collected(collected))
    if collected.refused:
        raise typer.Exit(1)


def _headers(written: list[str] | None) -> tuple[tuple[str, str], ...]:
    from pipeline.feeds.access import parse_header

    return tuple(map(parse_header, written or ()))


def name_of(address: str) -> str:
    """https://api.example.com/v1/events?limit=500 -> api.example.com-v1-events."""
    place = re.sub(r"^[a-z0-9+]+://|[?#].*$", "", address.lower())
    return re.sub(r"[^a-z0-9._]+", "-", place.rpartition("@")[2])[-60:].strip("-._") or "source"


def print_collected(result: Collected) -> None:
    """Print the collected files, and the command that lands them."""
    if result.files:
        number = f"[bold]{result.rows:,}[/] rows" if result.rows else f"[bold]{len(result.files):,}[/] objects"
        out.print(f"Collected {number} from {plain(result.source)}.")
        if len(result.files) <= _SHOWN_FILES:
            named = " ".join(shlex.quote(str(path)) for path in result.files)
            out.print(f"Next: billhouse land {result.land_options} {plain(named)}", soft_wrap=True)
        else:  # more than a command line can hold
            folder = shlex.quote(str(result.files[0].parent))
            found = f"find {folder} -type f -name {shlex.quote('[!.]*')} -print0"
            out.print(f"Next: {plain(found)} | xargs -0 billhouse land {result.land_options}", soft_wrap=True)
    else:
        out.print(f"No new rows from {plain(result.source)}.")
    for warning in result.warnings:
        out.print(f"[yellow]warning[/] {plain(warning)}", soft_wrap=True)
    for path in result.skipped:
        out.print(f"[yellow]skipped[/] {plain(path)}: not a .jsonl file. Land it directly with billhouse land.", soft_wrap=True)
    for refusal in result.refused:
        out.print(f"[red]refused[/] {plain(refusal)}", soft_wrap=True)
