"""Reads Stripe's objects as plain data: all pages of a list, and the complete lists inside an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import stripe

from pipeline.stripe.client import StripeConnection
from pipeline.stripe.existing import PAGE

Row = dict[str, Any]

_WORKERS = 8


class ObjectReader:
    """Reads objects over a connection."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._stripe: Any = connection.client.v1

    def latest_event_id(self) -> str | None:
        """The id of Stripe's newest event. One request."""
        page = self._connection.call(self._stripe.events.list, {"limit": 1})
        return str(page.data[0].id) if page.data else None

    def list_all(self, kind: str, params: Row) -> Iterator[Row]:
        """All objects of a kind, newest first. A failed page is retried alone."""
        service = getattr(self._stripe, kind)
        page_params: Row = {**params, "limit": PAGE}
        while True:
            page = self._connection.call(service.list, page_params)
            yield from map(_plain, page.data)
            if not page.has_more or not page.data:
                return
            page_params["starting_after"] = page.data[-1].id

    def retrieve_all(self, kind: str, changed: dict[str, datetime]) -> Iterator[Row]:
        """Objects by id, in their current state; a missing object is returned as deleted.

        `changed`: id -> instant of the event that reported the change.
        """
        service = getattr(self._stripe, kind)

        def retrieve(item: tuple[str, datetime]) -> Row:
            id, changed_at = item
            try:
                return _plain(self._connection.call(service.retrieve, id))
            except stripe.InvalidRequestError as error:
                if error.code != "resource_missing":
                    raise
                return {"id": id, "deleted": True, "created": int(changed_at.timestamp())}

        with ThreadPoolExecutor(_WORKERS) as pool:
            yield from pool.map(retrieve, sorted(changed.items()))

    def invoice_lines(self, invoice: Row) -> list[Row]:
        """All lines of an invoice; the invoice object contains only the first ten."""
        lines = invoice.get("lines") or {"data": [], "has_more": False}
        if not lines["has_more"]:
            return list(lines["data"])
        return self._all_pages(self._stripe.invoices.line_items.list, invoice["id"])

    def complete(self, kind: str, stripe_object: Row) -> Row:
        """The object with the complete list inside it, of which Stripe returns only the first page."""
        if kind == "subscriptions":
            self.complete_items(stripe_object)
        elif kind == "credit_notes" and (stripe_object.get("lines") or {}).get("has_more"):
            service = self._stripe.credit_notes.line_items
            stripe_object["lines"] |= {"data": self._all_pages(service.list, stripe_object["id"]), "has_more": False}
        return stripe_object

    def complete_items(self, subscription: Row, as_of: int | None = None) -> None:
        """Add the items of the further pages to a subscription.

        `as_of`: the instant of the event that contains the subscription (seconds since 1970). Stripe lists only current items:
        items created later are left out, and items removed since are lost.
        """
        items = subscription.get("items") or {}
        if not items.get("has_more"):
            return
        known = {item["id"] for item in items["data"]}
        try:
            listed = self._all_pages(self._stripe.subscription_items.list, {"subscription": subscription["id"]})
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            return
        others = [item for item in listed if item["id"] not in known and (as_of is None or item["created"] <= as_of)]
        items |= {"data": [*items["data"], *others], "has_more": False}

    def _all_pages(self, list_page: Callable[..., Any], parent: str | Row) -> list[Row]:
        """All objects of a list inside another object; `parent`: the object's id, or the parameters that name it."""
        if isinstance(parent, str):
            return self._connection.call(lambda: [_plain(one) for one in list_page(parent, {"limit": PAGE}).auto_paging_iter()])
        return self._connection.call(lambda: [_plain(one) for one in list_page({**parent, "limit": PAGE}).auto_paging_iter()])


def _plain(stripe_object: Any) -> Row:
    body: Row = json.loads(str(stripe_object))
    return body
