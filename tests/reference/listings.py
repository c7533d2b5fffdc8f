"""Listings of the sandboxes that ran at an instant. Billing rules, section 4."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .records import ListingPart


@dataclass(frozen=True)
class Heard:
    """What complete listings say of a sandbox before an instant."""

    last_listed_at: datetime | None
    """The last listing that names it; None: none does."""
    last_listing_at: datetime | None
    """The last listing of the scope that named it last, whether or not it names it; None: none."""


class Listings:
    """The complete listings up to as_of."""

    def __init__(self, parts: Iterable[ListingPart], as_of: datetime) -> None:
        by_listing: dict[tuple[str, datetime], dict[int, ListingPart]] = defaultdict(dict)
        for part in parts:
            by_listing[part.scope or "", part.listed_at].setdefault(part.part, part)
        self._listings: list[tuple[str, datetime, set[str]]] = []
        for (scope, listed_at), of_listing in by_listing.items():
            wanted = {part.parts for part in of_listing.values()}
            if listed_at <= as_of and wanted == {len(of_listing)}:
                named = {sandbox_id for part in of_listing.values() for sandbox_id in part.sandbox_ids}
                self._listings.append((scope, listed_at, named))

    def of(self, sandbox_id: str, before: datetime | None) -> Heard:
        """`before`: exclusive; None: up to as_of."""
        earlier = [one for one in self._listings if before is None or one[1] < before]
        last_listed_at = max((at for _, at, named in earlier if sandbox_id in named), default=None)
        scopes = {scope for scope, at, named in earlier if at == last_listed_at and sandbox_id in named}
        return Heard(last_listed_at, max((at for scope, at, _ in earlier if scope in scopes), default=None))
