"""How the pages of an API's list follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext.parser import parse

from pipeline.core.errors import WrongUsageError

_PAGE_SIZES = ("limit", "page_size", "pageSize", "per_page", "perPage", "size", "count", "maxResults", "max_results")
"""Parameters by which APIs are asked for a number of rows a page."""


@dataclass(frozen=True)
class PageRequest:
    """What asks for one page: an address, whole or below the API's, and the parameters that are added to its own."""

    address: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What an API answered: its headers, the addresses of its `Link` header by their relation, and its body's JSON."""

    address: str
    """The address that was asked, with all parameters."""
    headers: httpx.Headers
    links: Mapping[str, str]
    body: Any


class Paging(Protocol):
    """A way of naming the next page."""

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        """What asks for the page after the one that was answered; None after the last."""

    def says_whether_more_follows(self, answer: Answer) -> bool:
        """Whether the answer has the place where a next page is named, also if it names none."""


class ResumablePaging(Paging, Protocol):
    """A way of naming pages at which a later run can continue."""

    def first_request(self, address: str, position: str | None) -> PageRequest:
        """What asks for the page at a position; None is the first page."""

    def position(self, request: PageRequest) -> str:
        """The position of the page that a request asks for."""


@dataclass(frozen=True)
class CursorPaging:
    """Each answer names a cursor, which the next request sends as a parameter."""

    next_at: str = "next_cursor"
    """The JSON path of the cursor in an answer."""
    parameter: str = "cursor"

    def first_request(self, address: str, position: str | None) -> PageRequest:
        return PageRequest(address, {} if position is None else {self.parameter: position})

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        cursor = next(iter(values_at(self.next_at, answer.body)), None)
        return _with_parameter(request, self.parameter, cursor) if cursor else None

    def says_whether_more_follows(self, answer: Answer) -> bool:
        return bool(values_at(self.next_at, answer.body))

    def position(self, request: PageRequest) -> str:
        return str(request.parameters[self.parameter])


@dataclass(frozen=True)
class LinkPaging:
    """Each answer names the next page's address in its `Link` header, `rel="next"` (RFC 8288)."""

    def first_request(self, address: str, position: str | None) -> PageRequest:
        return PageRequest(position or address)

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        link = answer.links.get("next")
        return None if link is None else PageRequest(urljoin(answer.address, link))

    def says_whether_more_follows(self, answer: Answer) -> bool:
        return bool(answer.links)

    def position(self, request: PageRequest) -> str:
        return request.address


@dataclass(frozen=True)
class HeaderCursorPaging:
    """Each answer names a cursor in a header, which the next request sends as a parameter."""

    header: str
    parameter: str

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        cursor = answer.headers.get(self.header)
        return None if cursor is None else _with_parameter(request, self.parameter, cursor)

    def says_whether_more_follows(self, answer: Answer) -> bool:
        return True


@dataclass(frozen=True)
class OffsetPaging:
    """Each request says how many rows to skip. The list ends with an empty page: an API may give fewer rows than asked for."""

    page_size: int = 100
    offset_parameter: str = "offset"
    limit_parameter: str = "limit"
    rows_at: str = "$"

    def first_request(self, address: str) -> PageRequest:
        return PageRequest(address, {self.limit_parameter: self.page_size, self.offset_parameter: 0})

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        rows = sum(len(found) for found in values_at(self.rows_at, answer.body) if isinstance(found, list))
        skipped = int(request.parameters[self.offset_parameter]) + rows
        return _with_parameter(request, self.offset_parameter, skipped) if rows else None

    def says_whether_more_follows(self, answer: Answer) -> bool:
        return True


class SinglePage:
    """A list that comes whole."""

    def next_request(self, request: PageRequest, answer: Answer) -> PageRequest | None:
        return None

    def says_whether_more_follows(self, answer: Answer) -> bool:
        return True


def page_size_of(address: str) -> int | None:
    """The number of rows a page that an address asks for by a parameter of its own; None where it does not say."""
    parameters = dict(parse_qsl(urlsplit(address).query))
    sizes = [int(parameters[name]) for name in _PAGE_SIZES if parameters.get(name, "").isdecimal()]
    return sizes[0] if sizes else None


def values_at(json_path: str, body: Any) -> list[Any]:
    """The values at a JSON path. Raises WrongUsageError for what is no JSON path."""
    return [match.value for match in _compiled(json_path).find(body)]


@cache
def _compiled(json_path: str) -> Any:
    try:
        return parse(json_path)
    except JSONPathError:
        raise WrongUsageError(
            f"'{json_path}' is not a JSON path.", "Write it as $.data, or data.rows for a list in a list."
        ) from None


def _with_parameter(request: PageRequest, name: str, value: Any) -> PageRequest:
    return PageRequest(request.address, {**request.parameters, name: value})
