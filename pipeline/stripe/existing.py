"""Our invoices and customers in Stripe, found by listing: Stripe's search index lags behind writes."""

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
from pipeline.stripe.steps import StepRunner, idempotency_key

PAGE = 100
_CLOCK_MARGIN = timedelta(days=1)
"""Our clock and Stripe's may differ."""


def metadata_of(stripe_object: Any) -> dict[str, str]:
    """The metadata of a Stripe object, as a plain dictionary."""
    metadata: Any = stripe_object.metadata
    return metadata.to_dict() if metadata is not None else {}


class ExistingInvoices:
    """Stripe invoices with our ids in their metadata, listed once per run."""

    def __init__(self, connection: StripeConnection, closed_at: datetime) -> None:
        self._connection = connection
        self._ids: dict[str, list[str]] = {}
        since = int((closed_at - _CLOCK_MARGIN).timestamp())
        invoices = connection.client.v1.invoices
        # One call per page, so that a failed page is retried alone.
        page = connection.call(invoices.list, {"created": {"gte": since}, "limit": PAGE})
        while page.data:
            self._add(page.data)
            if not page.has_more:
                break
            after = page.data[-1].id
            page = connection.call(invoices.list, {"created": {"gte": since}, "limit": PAGE, "starting_after": str(after)})

    def find(self, closed: ClosedInvoice, stripe_customer_id: str, *, refresh: bool) -> stripe.Invoice | None:
        """Our invoice as Stripe has it now, in any state, or None. Raises BillhouseError if Stripe has more than one.

        `refresh`: list the customer's invoices again, since a response was lost after the list at the start of the run.
        """
        invoices = self._connection.client.v1.invoices
        if refresh:
            self._add(
                self._connection.call(
                    lambda: list(invoices.list({"customer": stripe_customer_id, "limit": PAGE}).auto_paging_iter())
                )
            )
        found = [self._retrieve(id) for id in self._ids.get(closed.invoice_id, [])]
        existing = [invoice for invoice in found if invoice is not None]
        if len(existing) > 1:
            ids = ", ".join(str(invoice.id) for invoice in existing)
            raise BillhouseError(f"Stripe has {len(existing)} invoices for it: {ids}.", "Void or delete all but the right one.")
        for invoice in existing:
            if metadata_of(invoice).get("billhouse_content_hash") != content_hash(closed):
                raise BillhouseError(f"Stripe has {invoice.id} for it with other content.", "Void or delete that one first.")
        return existing[0] if existing else None

    def _add(self, invoices: Iterable[stripe.Invoice]) -> None:
        for invoice in invoices:
            invoice_id = metadata_of(invoice).get("billhouse_invoice_id")
            if invoice_id and invoice.id not in self._ids.setdefault(invoice_id, []):
                self._ids[invoice_id].append(str(invoice.id))

    def _retrieve(self, id: str) -> stripe.Invoice | None:
        try:
            return self._connection.call(self._connection.client.v1.invoices.retrieve, id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":  # a deleted draft
                return None
            raise


class ExistingCustomers:
    """Stripe customers by our customer ids; missing ones are created."""

    def __init__(self, home: Home, steps: StepRunner) -> None:
        self._steps = steps
        self._connection = steps.connection
        self._known = known_stripe_customers(home, is_live=self._connection.is_live)
        self._is_listed = False
        self._lock = Lock()

    def id_of(self, closed: ClosedInvoice, attempt: int) -> str:
        """The Stripe customer id: from the customer record, else of a Stripe customer with our id, else of a new one."""
        if closed.invoice["stripe_customer_id"]:
            return str(closed.invoice["stripe_customer_id"])
        customer_id = metadata_text(closed.customer_id)
        with self._lock:
            if customer_id not in self._known and (not self._is_listed or attempt > 1):
                self._list()
            if customer_id in self._known:
                return self._known[customer_id]
        key = idempotency_key(self._connection, "customer", closed.customer_id, closed.invoice_id, attempt)
        create = self._connection.client.v1.customers.create
        created = self._steps.run(closed.invoice_id, "customer", key, create, customer_request(closed))
        with self._lock:
            return self._known.setdefault(customer_id, str(created.id))

    def _list(self) -> None:
        """Stripe lists the newest first, so of several customers with one id the oldest is used."""
        customers = self._connection.client.v1.customers
        for customer in self._connection.call(lambda: list(customers.list({"limit": PAGE}).auto_paging_iter())):
            customer_id = metadata_of(customer).get("billhouse_customer_id")
            if customer_id:
                self._known[customer_id] = str(customer.id)
        self._is_listed = True
