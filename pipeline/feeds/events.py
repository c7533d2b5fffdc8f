"""Collects an events API page by page, from the position of the last run."""

from __future__ import annotations

import hashlib

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.access import Access
from pipeline.feeds.api import Api, as_line
from pipeline.feeds.paging import CursorPaging, OffsetPaging, ResumablePaging, page_size_of
from pipeline.feeds.position import Collected, open_source
from pipeline.landing.record_kinds import Kind

_KNOWN_ROWS = 1000
"""Rows of a run by which the next one recognises where it began."""
_EMPTY_PAGES = 100
"""A run ends after this many empty pages in a row, since an API may never stop naming a next page. The next run continues."""


def collect_events(
    home: Home, access: Access, *, name: str, folder: str = Kind.USAGE, paging: ResumablePaging | None = None, rows_at: str = "$"
) -> Collected:
    """Write new rows to the inbox, each at least once. Safe to kill and to repeat.

    A page that names a next page is complete. The last page may grow, so the next run requests it again; landing skips the rows
    that it repeats. `rows_at` is the JSON path of the rows in a response. Raises BillhouseError.
    """
    paging = paging or CursorPaging()
    with Api(access) as api, open_source(home, name, folder, *access.place) as source:
        position: str | None = source.position
        empty, asked = 0, {position}
        page_size = page_size_of(access.url)
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
            if position is None and page_size and len(page.rows) >= page_size and not page.says_whether_more_follows:
                raise BillhouseError(
                    f"{access.shown} answered with a full page of {len(page.rows):,} rows and does not say whether more follow.",
                    "Its rows were collected. Say how the API pages: --next-cursor-at, --paging link or --paging offset.",
                )
            if is_last:
                break
    return source.collected


def collect_by_offset(
    home: Home, access: Access, *, name: str, folder: str = Kind.USAGE, paging: OffsetPaging, is_newest_first: bool = False
) -> Collected:
    """Write the rows of a list that is paged by offset to the inbox, each at least once. Safe to kill and to repeat.

    Each run reads the whole list, since rows before an offset may be gone by the next run; landing skips what it repeats.
    `is_newest_first`: it reads up to the page with a row of the last run. If there is none any more, `warnings` says so. Raises
    BillhouseError.
    """
    with Api(access) as api, open_source(home, name, folder, *access.place, "offset") as source:
        known = frozenset(source.position or ())
        newest: list[str] = []
        before: list[str] = []
        is_known_found = not known
        for page in api.pages(paging.first_request(access.url), paging.rows_at, paging):
            lines = [as_line(row) for row in page.rows]
            digests = [hashlib.sha256(line).hexdigest()[:32] for line in lines]
            if digests and digests == before:
                raise BillhouseError(
                    f"{access.shown} answers with the same page for another offset.",
                    "Check --offset-parameter and --limit-parameter, or choose another --paging.",
                )
            newest, before = (newest + digests)[:_KNOWN_ROWS], digests
            # After a kill, the next run reads from the newest row again.
            source.add(lines, source.position)
            if is_newest_first and not known.isdisjoint(digests):
                is_known_found = True
                break
        if newest:
            source.add((), newest)
    if is_newest_first and not is_known_found:
        source.collected.warnings.append(
            f"No row of the last run is in the list of {access.shown} any more: rows may have been removed before they were read."
            " Collect more often, and compare with the API's own counts."
        )
    return source.collected
