"""Polls an API like E2B's for the sandboxes that run: a complete listing of an instant. Billing rules, section 4."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pipeline.core.home import Home
from pipeline.feeds.access import Access
from pipeline.feeds.api import Api
from pipeline.feeds.position import Collected, open_source
from pipeline.feeds.sandboxes import listed_sandboxes
from pipeline.landing.record_kinds import Kind

_BYTES_OF_A_PART = 32 << 10
"""Half of the bytes that a row may have."""


def poll_running(home: Home, access: Access, *, name: str, scope: str | None = None, now: datetime | None = None) -> Collected:
    """Write one listing of all running sandboxes to the inbox, or none if a page of it fails. Safe to kill and to repeat.

    Its instant is that of the first request, so that a sandbox that starts meanwhile is not missing in it. `scope`: the part of
    the deployment that the API covers, if it does not cover all. Raises BillhouseError.
    """
    listed_at = (now or datetime.now(UTC)).isoformat()
    with Api(access) as api, open_source(home, name, Kind.RUNNING, *access.place) as source:
        parts = list(_parts(sorted({sandbox_id for sandbox_id, _ in listed_sandboxes(api, state="running")})))
        of_listing = {"listed_at": listed_at, "parts": len(parts)} | ({"scope": scope} if scope is not None else {})
        rows = (of_listing | {"part": number, "sandbox_ids": ids} for number, ids in enumerate(parts, 1))
        source.add((json.dumps(row).encode() for row in rows), source.position)
    return source.collected


def _parts(sandbox_ids: Iterable[str]) -> Iterator[list[str]]:
    """The ids in parts of limited size; one empty part if there are none."""
    part: list[str] = []
    size = 0
    for sandbox_id in sandbox_ids:
        length = len(json.dumps(sandbox_id)) + 2
        if part and size + length > _BYTES_OF_A_PART:
            yield part
            part, size = [], 0
        part.append(sandbox_id)
        size += length
    yield part
