"""What Stripe already has of ours, asked of Stripe itself: by listing, never by searching, which lags behind."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.ledger.closed_invoices import ClosedInvoice
from pipeline.store.publications import known_stripe_customers
from pipeline.stripe.client import StripeConnection
from pipeline.stripe.requests import content_hash, customer_request, metadata_text
from pipeline.stripe.steps import Steps, idempotency_key

PAGE = 100
_CLOCK_MARGIN = timedelta(days=1)
"""Ours and Stripe's clocks may differ."""


def metadata_of(found: Any) -> dict[str, str]:
    """What was written on an object of Stripe's, as a plain dictionary."""
    written: Any = found.metadata
    return written.to_dict() if written is not None else {}


class ExistingInvoices:
    """Invoices there that carry our ids, listed once for a run."""

    def __init__(self, connection: StripeConnection, closed_at: datetime) -> None:
        self._connection = connection
        self._ids: dict[str, list[str]] = {}
        since = int((closed_at - _CLOCK_MARGIN).timestamp())
        invoices = connection.client.v1.invoices
        # Each page is a request of its own, so each is called for itself: one that fails is asked for again.
        page = connection.call(invoices.list, {"created": {"gte": since}, "limit": PAGE})
        while page.data:
            self._note(page.data)
            if not page.has_more:
                break
            after = page.data[-1].id
            page = connection.call(invoices.list, {"created": {"gte": since}, "limit": PAGE, "starting_after": str(after)})

    def find(self, closed: ClosedInvoice, stripe_customer_id: str, *, look_again: bool) -> stripe.Invoice | None:
        """The invoice of ours, fresh from Stripe, in whatever state. Raises BillhouseError where there is more than one.

        `look_again`: an answer got lost, so the list from the start of the run is not the last word.
        """
        invoices = self._connection.client.v1.invoices
        if look_again:
            self._note(
                self._connection.call(
                    lambda: list(invoices.list({"customer": stripe_customer_id, "limit": PAGE}).auto_paging_iter())
                )
            )
        found = [self._retrieve(id) for id in self._ids.get(closed.invoice_id, [])]
        there = [one for one in found if one is not None]
        if len(there) > 1:
            ids = ", ".join(str(one.id) for one in there)
            raise BillhouseError(f"Stripe has {len(there)} invoices for it: {ids}.", "Void or delete all but the right one.")
        for one in there:
            if metadata_of(one).get("billhouse_content_hash") != content_hash(closed):
                raise BillhouseError(f"Stripe has {one.id} for it with other content.", "Void or delete that one first.")
        return there[0] if there else None

    def _note(self, invoices: Iterable[stripe.Invoice]) -> None:
        for one in invoices:
            ours = metadata_of(one).get("billhouse_invoice_id")
            if ours and one.id not in self._ids.setdefault(ours, []):
                self._ids[ours].append(str(one.id))

    def _retrieve(self, id: str) -> stripe.Invoice | None:
        try:
            return self._connection.call(self._connection.client.v1.invoices.retrieve, id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":  # a draft that somebody deleted
                return None
            raise


class ExistingCustomers:
    """Stripe's customers by our ids; those that are missing are created, one for each of ours."""

    def __init__(self, home: Home, steps: Steps) -> None:
        self._steps = steps
        self._connection = steps.connection
        self._known = known_stripe_customers(home, is_live=self._connection.is_live)
        self._is_listed = False
        self._lock = Lock()

    def id_of(self, closed: ClosedInvoice, attempt: int) -> str:
        """Stripe's id of the invoice's customer: the record's own, else the one there that carries our id, else a new one."""
        if closed.invoice["stripe_customer_id"]:
            return str(closed.invoice["stripe_customer_id"])
        ours = metadata_text(closed.customer_id)
        with self._lock:
            if ours not in self._known and (not self._is_listed or attempt > 1):
                self._list()
            if ours in self._known:
                return self._known[ours]
        key = idempotency_key(self._connection, "customer", closed.customer_id, closed.invoice_id, attempt)
        create = self._connection.client.v1.customers.create
        created = self._steps.take(closed.invoice_id, "customer", key, create, customer_request(closed))
        with self._lock:
            return self._known.setdefault(ours, str(created.id))

    def _list(self) -> None:
        """Newest first, so that the oldest of several stands."""
        customers = self._connection.client.v1.customers
        for one in self._connection.call(lambda: list(customers.list({"limit": PAGE}).auto_paging_iter())):
            ours = metadata_of(one).get("billhouse_customer_id")
            if ours:
                self._known[ours] = str(one.id)
        self._is_listed = True
