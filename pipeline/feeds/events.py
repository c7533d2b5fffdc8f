"""Collects an events API page by page, from the position of the last run."""

from __future__ import annotations

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.api import Access, Api, as_line
from pipeline.feeds.paging import CursorPaging, ResumablePaging
from pipeline.feeds.position import Collected, open_source
from pipeline.landing.record_kinds import Kind

_EMPTY_PAGES = 100
"""A run ends after this many empty pages in a row, since an API may never stop naming a next page. The next run continues."""


def collect_events(
    home: Home, access: Access, *, name: str, kind: Kind = Kind.USAGE, paging: ResumablePaging | None = None, rows_at: str = "$"
) -> Collected:
    """Write new rows to the inbox, each at least once. Safe to kill and to repeat.

    A page that names a next page is complete. The last page may grow, so the next run requests it again; landing skips the rows
    that it repeats. `rows_at` is the JSON path of the rows in a response. Raises BillhouseError.
    """
    paging = paging or CursorPaging()
    with Api(access) as api, open_source(home, name, kind, access.url, access.key_variable or "") as source:
        position: str | None = source.position
        empty, asked = 0, {position}
        for page in api.pages(paging.first_request(access.url, position), rows_at, paging):
            if page.next_request is not None:
                following = paging.position(page.next_request)
                empty = 0 if page.rows else empty + 1
                is_last = following == position or empty == _EMPTY_PAGES
                if following in asked and not is_last:
                    raise BillhouseError(
                        f"{access.shown} names a next page that this run has already read: its pages form a cycle.",
                        "The pages before it were collected. Ask the operator of the API.",
                    )
                asked.add(following)
                position = following
            else:
                is_last = True
            source.add(map(as_line, page.rows), position)
            if is_last:
                break
    return source.collected
