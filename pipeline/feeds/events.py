"""Collects an events API page by page, from the position of the last run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from dlt.sources.helpers.rest_client.client import PageData
from dlt.sources.helpers.rest_client.paginators import BasePaginator, HeaderLinkPaginator, JSONResponseCursorPaginator

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.api import Access, Api, as_line
from pipeline.feeds.position import Collected, open_source
from pipeline.landing.record_kinds import Kind

_EMPTY_PAGES = 100
"""A run ends after this many empty pages in a row, since an API may never stop naming a next page. The next run continues."""


class Paging(Protocol):
    """How an API's pages follow one another."""

    def paginator(self) -> BasePaginator: ...

    def first(self, access: Access, position: str | None) -> tuple[str, dict[str, Any]]:
        """The address of the page at a position (None: the first), and its parameters."""

    def next_position(self, page: PageData[Any]) -> str:
        """Where the page after this one is."""


@dataclass(frozen=True)
class CursorPaging:
    """Each answer names a cursor, which the next request sends as a parameter."""

    next_at: str = "next_cursor"
    """The JSON path of the cursor in an answer."""
    parameter: str = "cursor"

    def paginator(self) -> BasePaginator:
        return JSONResponseCursorPaginator(cursor_path=self.next_at, cursor_param=self.parameter)

    def first(self, access: Access, position: str | None) -> tuple[str, dict[str, Any]]:
        return access.url, {} if position is None else {self.parameter: position}

    def next_position(self, page: PageData[Any]) -> str:
        params = cast(dict[str, Any], page.request.params)
        return str(params[self.parameter])


@dataclass(frozen=True)
class LinkPaging:
    """Each answer names the next page's address in its `Link` header, `rel="next"`."""

    def paginator(self) -> BasePaginator:
        return HeaderLinkPaginator()

    def first(self, access: Access, position: str | None) -> tuple[str, dict[str, Any]]:
        return position or access.url, {}

    def next_position(self, page: PageData[Any]) -> str:
        return str(page.request.url)


def collect_events(
    home: Home, access: Access, *, name: str, kind: Kind = Kind.USAGE, paging: Paging | None = None, rows_at: str = "$"
) -> Collected:
    """Write new rows to the inbox, each at least once. Safe to kill and to repeat.

    A page that names a next page is complete. The last page may grow, so the next run requests it again; landing skips the rows
    that it repeats. `rows_at` is the JSON path of the rows in a response. Raises BillhouseError.
    """
    paging = paging or CursorPaging()
    api = Api(access)
    with open_source(home, name, kind, access.url, access.key_variable or "") as source:
        position: str | None = source.position
        address, params = paging.first(access, position)
        empty, asked = 0, {position}
        for page in api.pages(address, rows_at, paging.paginator(), params):
            if page.paginator.has_next_page:
                following = paging.next_position(page)
                empty = 0 if page else empty + 1
                is_last = following == position or empty == _EMPTY_PAGES
                if following in asked and not is_last:
                    raise BillhouseError(
                        f"{access.shown} names a next page that this run has read already: its pages go in a circle.",
                        "What came before is kept. Ask whoever runs the API.",
                    )
                asked.add(following)
                position = following
            else:
                is_last = True
            source.add(map(as_line, page), position)
            if is_last:
                break
    return source.collected
