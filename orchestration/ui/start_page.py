"""The start page of `billhouse ui`: what needs a person, what is due next, what ran; with links into Dagster."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from orchestration.ui.dagster_state import DagsterState
from orchestration.ui.home_state import HomeState, Item
from pipeline.core.home import Home
from pipeline.core.plain_text import plain_line

_SHOWN_CHARACTERS = 400


def render_start_page(home: Home, state: HomeState, dagster: DagsterState, now: datetime) -> tuple[str, dict[str, str]]:
    """The page, and the headers to send with it. Every value is escaped: names and ids come from customers' files."""
    nonce = secrets.token_urlsafe(16)
    page = _template().render(
        home=home.path,
        needs=[*dagster.needs, *state.needs],
        state=state,
        dagster=dagster,
        now=now,
        nonce=nonce,
        links=lambda item: links(item, dagster.location),
    )
    return page, {
        "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def links(item: Item, location: str) -> list[tuple[str, str]]:
    """Text and address of each link of an item, on this server."""
    found = []
    if item.job and location:
        path = f"/locations/{quote(location, safe='')}/jobs/{quote(item.job, safe='')}"
        if item.config:
            path += f"/playground/setup?{urlencode({'config': item.config})}"
        found.append((f"Job {item.job}", path))
    if item.run:
        found.append(("Run", f"/runs/{quote(item.run, safe='')}"))
    if item.asset:
        found.append((f"Show {'.'.join(item.asset)}", asset_link(item.asset) + ("?view=checks" if item.check else "")))
    return found


def asset_link(path: tuple[str, ...]) -> str:
    """The address of an asset in Dagster."""
    return "/assets/" + "/".join(quote(part, safe="") for part in path)


def ago(at: datetime, now: datetime) -> str:
    """'3 hours ago'."""
    seconds = max((now - at).total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        number = int(seconds // length)
        if number:
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"


def shown(text: Any) -> str:
    """A text from outside in one line of limited length, without control characters."""
    line = plain_line(str(text))
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"


@cache
def _template() -> Template:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "shown": shown,
        "asset_link": asset_link,
        "segment": lambda text: quote(text, safe=""),
        "utc": lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    }
    pages.globals["ago"] = ago
    return pages.get_template("start.html.j2")
