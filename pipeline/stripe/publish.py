"""Publishes closed invoices to Stripe: draft, lines, a look at the total, finalize. Safe to kill and to repeat.

Before anything is created, Stripe is asked what is there: customers and invoices carry our ids in their metadata, so a run
that was cut off is continued and never doubled, however old. Idempotency keys make each single request safe besides.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

import stripe

from pipeline.errors import BillhouseError, Problem
from pipeline.home import Home
from pipeline.ledger_files import closed_periods, read_close
from pipeline.periods import BillingPeriod
from pipeline.stripe.client import StripeConnection, connect
from pipeline.stripe.publications import published_invoices, write_publication
from pipeline.stripe.requests import ClosedInvoice, Row, customer_request, invoice_request, item_requests

OnProgress = Callable[[str, int, int], None]
Outcome = Literal["published", "already_published", "not_collected"]


@dataclass
class PublishResult:
    """What became of each invoice of the period."""

    period: BillingPeriod
    where: str
    is_dry_run: bool = False
    counts: dict[str, int] = field(
        default_factory=lambda: {"published": 0, "already_published": 0, "not_collected": 0, "failed": 0}
    )
    amounts: dict[str, Decimal] = field(default_factory=dict)
    """Sum of the totals now in Stripe, by currency."""
    problems: list[Problem] = field(default_factory=list)
    requests: list[Row] = field(default_factory=list)
    """What a dry run would send."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {
            "period": str(self.period),
            "where": self.where,
            "dry_run": self.is_dry_run,
            **self.counts,
            "amounts": {currency: str(amount) for currency, amount in self.amounts.items()},
            "problems": [vars(problem) for problem in self.problems],
        }
        return told | ({"requests": self.requests} if self.is_dry_run else {})


def publish_period(
    home: Home,
    period: BillingPeriod,
    *,
    dry_run: bool = False,
    client: StripeConnection | None = None,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the period's closed invoices; one that fails is reported, and the others go on.

    Not published: invoices of plans that collect nothing. `dry_run` lists the requests and sends none. Raises BillhouseError
    where the period is not closed.
    """
    if period not in closed_periods(home):
        raise BillhouseError(f"{period} is not closed, and only closed invoices are published.", f"billhouse close {period}")
    with home.writing(), nullcontext(client) if client else connect(home) as connection:
        run = _Run(home, connection, PublishResult(period, connection.where, dry_run))
        invoices = _closed_invoices(home, period)
        for done, closed in enumerate(invoices):
            if on_progress is not None:
                on_progress(closed.invoice_id, done, len(invoices))
            run.take(closed)
    return run.result


def _closed_invoices(home: Home, period: BillingPeriod) -> list[ClosedInvoice]:
    lines: dict[str, list[Row]] = {}
    credits: dict[str, list[Row]] = {}
    for line in read_close(home, period, "invoice_lines").to_pylist():
        lines.setdefault(line["invoice_id"], []).append(line)
    for credit in read_close(home, period, "credit_applications").to_pylist():
        credits.setdefault(credit["invoice_id"], []).append(credit)
    return [
        ClosedInvoice(invoice, lines.get(invoice["invoice_id"], []), credits.get(invoice["invoice_id"], []))
        for invoice in read_close(home, period, "invoices").to_pylist()
    ]


class _Run:
    """One run over a period's invoices."""

    def __init__(self, home: Home, connection: StripeConnection, result: PublishResult) -> None:
        self.home = home
        self.connection = connection
        self.stripe = connection.client.v1
        self.result = result
        self.published = published_invoices(home, is_live=connection.is_live)

    def take(self, closed: ClosedInvoice) -> None:
        """Publish one invoice, or say why not."""
        try:
            outcome = self._take(closed)
        except (stripe.StripeError, BillhouseError) as error:
            self.result.counts["failed"] += 1
            told = getattr(error, "user_message", None) or str(error)
            self.result.problems.append(
                Problem(closed.invoice_id, None, f"was not published: {told}", "Publish again: what is there is continued.")
            )
            return
        self.result.counts[outcome] += 1
        if outcome in ("published", "already_published"):
            currency = closed.invoice["currency"]
            total = self.result.amounts.get(currency, Decimal(0)) + closed.invoice["total_amount"]
            self.result.amounts[currency] = total

    def _take(self, closed: ClosedInvoice) -> Outcome:
        if closed.invoice["collection"] == "none":
            return "not_collected"
        if closed.invoice_id in self.published:
            return "already_published"
        if self.result.is_dry_run:
            self._list_requests(closed)
            return "published"
        customer = self._customer(closed)
        draft = self._draft(closed, customer)
        finalized = self._finalized(closed, draft) if draft.status == "draft" else draft
        write_publication(
            self.home,
            {
                "invoice_id": closed.invoice_id,
                "period": closed.invoice["period"],
                "customer_id": closed.customer_id,
                "livemode": self.connection.is_live,
                "stripe_customer_id": customer,
                "stripe_invoice_id": finalized.id,
                "stripe_invoice_number": finalized.number,
                "status": finalized.status,
                "total_amount": closed.invoice["total_amount"],
                "currency": closed.invoice["currency"],
                "hosted_invoice_url": finalized.hosted_invoice_url,
                "content_hash": closed.content_hash,
                "published_at": datetime.now(UTC),
            },
        )
        return "published"

    @cached_property
    def _known_customers(self) -> dict[str, str]:
        """Our customer id -> Stripe's, of every customer there that carries ours."""
        known: dict[str, str] = {}
        for customer in self.stripe.customers.list({"limit": 100}).auto_paging_iter():
            ours = metadata_of(customer).get("billhouse_customer_id")
            if ours:
                known[ours] = customer.id
        return known

    def _customer(self, closed: ClosedInvoice) -> str:
        if closed.invoice["stripe_customer_id"]:
            return str(closed.invoice["stripe_customer_id"])
        if closed.customer_id not in self._known_customers:
            created = self.stripe.customers.create(
                customer_request(closed),  # type: ignore[arg-type]
                {"idempotency_key": f"billhouse/customer/{closed.customer_id}/{closed.invoice_id}"},
            )
            self._known_customers[closed.customer_id] = created.id
        return self._known_customers[closed.customer_id]

    def _draft(self, closed: ClosedInvoice, customer: str) -> stripe.Invoice:
        """The invoice of ours that is in Stripe already, in whatever state, else a new draft."""
        for found in self.stripe.invoices.list({"customer": customer, "limit": 100}).auto_paging_iter():
            metadata = metadata_of(found)
            if metadata.get("billhouse_invoice_id") == closed.invoice_id and found.status != "void":
                if metadata.get("billhouse_content_hash") != closed.content_hash:
                    raise BillhouseError(f"Stripe has {found.id} for it with other content.", "Void or delete that one first.")
                return found
        return self.stripe.invoices.create(
            invoice_request(closed, customer),  # type: ignore[arg-type]
            {"idempotency_key": f"billhouse/invoice/{closed.invoice_id}/{closed.content_hash}"},
        )

    def _finalized(self, closed: ClosedInvoice, draft: stripe.Invoice) -> stripe.Invoice:
        """Adds the lines that are not there yet, compares the totals, and finalizes."""
        there = {
            metadata_of(item).get("billhouse_line_id")
            for item in self.stripe.invoice_items.list({"invoice": str(draft.id), "limit": 100}).auto_paging_iter()
        }
        for line_id, params in item_requests(closed, str(draft.customer), str(draft.id)).items():
            if line_id not in there:
                self.stripe.invoice_items.create(
                    params,  # type: ignore[arg-type]
                    {"idempotency_key": f"billhouse/line/{draft.id}/{line_id}"},
                )
        checked = self.stripe.invoices.retrieve(str(draft.id))
        if checked.total != closed.total:
            raise BillhouseError(
                f"Stripe's total is {checked.total}, ours is {closed.total} (in minor units): {draft.id} stays a draft.",
                "Look at its lines in Stripe.",
            )
        return self.stripe.invoices.finalize_invoice(
            str(draft.id), {"auto_advance": False}, {"idempotency_key": f"billhouse/finalize/{draft.id}"}
        )

    def _list_requests(self, closed: ClosedInvoice) -> None:
        customer = closed.invoice["stripe_customer_id"] or f"<customer of {closed.customer_id}>"
        requests = [("/v1/customers", customer_request(closed))] if customer.startswith("<") else []
        requests.append(("/v1/invoices", invoice_request(closed, customer)))
        requests += [("/v1/invoiceitems", params) for params in item_requests(closed, customer, "<the draft>").values()]
        requests.append(("/v1/invoices/<the draft>/finalize", {"auto_advance": False}))
        self.result.requests += [
            {"invoice_id": closed.invoice_id, "method": "POST", "path": path, "params": params} for path, params in requests
        ]


def metadata_of(found: stripe.Customer | stripe.Invoice | stripe.InvoiceItem) -> dict[str, str]:
    """What we wrote on an object of Stripe's, as a plain dictionary."""
    written: Any = found.metadata
    return written.to_dict() if written is not None else {}
