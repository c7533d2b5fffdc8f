"""The list of sandboxes of an API like E2B's.

Written after the API's published specification (e2b-dev/infra, spec/openapi.yml): `GET /v2/sandboxes` is paged by the header
`X-Next-Token`, and `state=running` leaves out paused sandboxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.feeds.api import Api
from pipeline.feeds.paging import HeaderCursorPaging, PageRequest

_PAGE_SIZE = 100
_EMPTY_PAGES = 100
_LONGEST_ID = 800
"""In bytes: four for each of the 200 characters of an id."""


def listed_sandboxes(api: Api, **parameters: str) -> Iterator[tuple[str, datetime]]:
    """The id of each sandbox that the API lists, and when it started. `parameters`: of the request, as state="running".

    Raises BillhouseError if the list has no end, or has a sandbox without either.
    """
    paging = HeaderCursorPaging("X-Next-Token", "nextToken")
    asked, empty = set(), 0
    for page in api.pages(PageRequest("v2/sandboxes", {"limit": _PAGE_SIZE, **parameters}), "$", paging):
        empty = 0 if page.rows else empty + 1
        if page.next_request is not None:
            following = str(page.next_request.parameters["nextToken"])
            if following in asked or empty > _EMPTY_PAGES:
                raise BillhouseError("The API's list of sandboxes has no end: its pages form a cycle.", "Ask its operator.")
            asked.add(following)
        yield from map(_sandbox, page.rows)


def _sandbox(listed: Any) -> tuple[str, datetime]:
    try:
        sandbox_id = str(listed["sandboxID"])
        if not 0 < len(sandbox_id.encode()) <= _LONGEST_ID:
            raise ValueError(sandbox_id)
        return sandbox_id, datetime.fromisoformat(listed["startedAt"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BillhouseError(
            f"The API lists a sandbox without its sandboxID and startedAt: {ascii(listed)[:200]}.", "Check --url."
        ) from error
