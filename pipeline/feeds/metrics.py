"""Polls samples of CPU and memory use from an API like E2B's: the list of sandboxes, then the metrics of each.

Written after the API's published specification (e2b-dev/infra, spec/openapi.yml): `GET /sandboxes/{sandboxID}/metrics` takes
`start` and `end` in seconds since 1970; `GET /sandboxes/metrics` takes the ids of up to 100 sandboxes and returns the latest
sample of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.access import Access
from pipeline.feeds.api import Api, NotFoundError, as_line
from pipeline.feeds.paging import PageRequest, SinglePage
from pipeline.feeds.position import Collected, open_source
from pipeline.feeds.sandboxes import listed_sandboxes
from pipeline.landing.record_kinds import Kind

_WINDOW_SECONDS = 50 * 60
"""The API aggregates samples of windows of an hour or more, so each request asks for less."""


_SETTLES_AFTER_SECONDS = 15 * 60
"""Samples may become available until this long after their time; older times without samples are not requested again."""
_FIRST_LOOK_BACK_SECONDS = 24 * 3600
"""How far back to request samples of a sandbox that is new."""
_IDS_PER_REQUEST = 100
"""The API refuses more."""
_YEAR_5138 = 10**11
"""A larger number is in milliseconds, or not an instant."""


def poll_metrics(home: Home, access: Access, *, name: str, now: datetime | None = None) -> Collected:
    """Write the samples of every sandbox since the last run to the inbox, each at least once. Safe to kill and to repeat.

    The position is the newest instant of each sandbox, which the next run requests again: its aggregate may have been incomplete,
    and a later sample corrects an earlier one. A sandbox that is no longer listed is requested once more.
    Raises BillhouseError.
    """
    until = int((now or datetime.now(UTC)).timestamp())
    with Api(access) as api, open_source(home, name, Kind.METRICS, *access.place) as source:
        known: dict[str, int] = source.position or {}
        earliest = until - _FIRST_LOOK_BACK_SECONDS
        listed = {sandbox_id: max(int(started.timestamp()), earliest) for sandbox_id, started in listed_sandboxes(api)}
        for sandbox_id in sorted(known.keys() | listed.keys()):
            since = known[sandbox_id] if sandbox_id in known else listed[sandbox_id]
            rows = list(_samples(api, sandbox_id, since, until))
            if sandbox_id in listed:
                newest = max(map(_seconds, rows), default=0)
                known[sandbox_id] = max(since, min(newest, until), until - _SETTLES_AFTER_SECONDS)
            else:
                del known[sandbox_id]
            source.add(map(as_line, rows), known)
    return source.collected


def poll_latest_metrics(home: Home, access: Access, *, name: str) -> Collected:
    """Write the latest sample of every listed sandbox to the inbox, with one request for 100 sandboxes. Safe to repeat.

    Samples between two runs are not fetched, so it neither reads nor moves the position of `poll_metrics`. Raises BillhouseError.
    """
    with Api(access) as api, open_source(home, name, Kind.METRICS, *access.place) as source:
        # The whole list first: a listing and a sample that are far apart would miss sandboxes that ended between them.
        listed = sorted({sandbox_id for sandbox_id, _ in listed_sandboxes(api)})
        for start in range(0, len(listed), _IDS_PER_REQUEST):
            samples = _latest_samples(api, listed[start : start + _IDS_PER_REQUEST])
            rows = [_row(sandbox_id, metric) for sandbox_id, metric in samples.items()]
            source.add(map(as_line, rows), source.position)
    return source.collected


def _latest_samples(api: Api, sandbox_ids: Sequence[str]) -> dict[str, Any]:
    """The latest sample by sandbox; sandboxes without one are not in the answer."""
    listed = ",".join(quote(sandbox_id, safe="") for sandbox_id in sandbox_ids)
    answer = api.document(PageRequest(f"sandboxes/metrics?sandbox_ids={listed}"))
    samples = answer.get("sandboxes") if isinstance(answer, dict) else None
    if not isinstance(samples, dict):
        raise BillhouseError(
            "The API answered without a map of samples at 'sandboxes'.", "Check --url, or poll without --latest."
        )
    return samples


def _samples(api: Api, sandbox_id: str, since: int, until: int) -> Iterator[dict[str, Any]]:
    """The samples of a sandbox in [since, until], as rows to land."""
    path = f"sandboxes/{quote(sandbox_id, safe='')}/metrics"
    for start in range(since, until, _WINDOW_SECONDS):
        window = {"start": start, "end": min(start + _WINDOW_SECONDS, until)}
        try:
            for page in api.pages(PageRequest(path, window), "$", SinglePage()):
                yield from (_row(sandbox_id, metric) for metric in page.rows)
        except NotFoundError:
            return  # it was removed after it was listed


def _row(sandbox_id: str, metric: Any) -> dict[str, Any]:
    """One metric as a row to land. Incomplete metrics are included; landing quarantines them."""
    row = {**(metric if isinstance(metric, dict) else {"unread": metric}), "sandbox_id": sandbox_id}
    if seconds := _seconds(row):
        row["timestamp"] = datetime.fromtimestamp(seconds, UTC).isoformat()
    return row


def _seconds(row: dict[str, Any]) -> int:
    """A metric's instant, in seconds since 1970; 0 if it has none."""
    seconds = row.get("timestampUnix")
    return seconds if isinstance(seconds, int) and 0 < seconds < _YEAR_5138 else 0
