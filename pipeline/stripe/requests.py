"""What is sent to Stripe for one invoice, as data: the same for a dry run and for publishing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.errors import BillhouseError
from pipeline.periods import BillingPeriod

DAYS_UNTIL_DUE = 30
Row = dict[str, Any]


@dataclass(frozen=True)
class ClosedInvoice:
    """An invoice from the ledger, with all that stands on it."""

    invoice: Row
    lines: list[Row]
    credits: list[Row]

    @property
    def invoice_id(self) -> str:
        return str(self.invoice["invoice_id"])

    @property
    def customer_id(self) -> str:
        return str(self.invoice["customer_id"])

    @property
    def total(self) -> int:
        """In whole minor units."""
        return self.minor_units(self.invoice["total_amount"])

    @property
    def content_hash(self) -> str:
        """SHA-256 over everything that the customer is to see: two invoices of one id and other content can be told apart."""
        content = json.dumps([self.invoice, self.lines, self.credits], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()

    def minor_units(self, amount: Decimal) -> int:
        """12.34 USD -> 1234; 1234 JPY -> 1234. Raises BillhouseError for an amount that has no whole minor units."""
        scaled = amount.scaleb(self.invoice["minor_unit_digits"])
        if scaled != scaled.to_integral_value():
            raise BillhouseError(f"{self.invoice_id} has an amount of {amount}, finer than its currency.", "This is a fault.")
        return int(scaled)


def customer_request(closed: ClosedInvoice) -> Row:
    """POST /v1/customers"""
    invoice = closed.invoice
    params: Row = {"metadata": {"billhouse_customer_id": closed.customer_id}}
    if invoice["customer_name"]:
        params["name"] = invoice["customer_name"]
    if invoice["customer_email"]:
        params["email"] = invoice["customer_email"]
    return params


def invoice_request(closed: ClosedInvoice, stripe_customer_id: str) -> Row:
    """POST /v1/invoices: a draft that takes nothing but what we put on it, and does nothing by itself."""
    return {
        "customer": stripe_customer_id,
        "currency": closed.invoice["currency"].lower(),
        "auto_advance": False,
        "collection_method": "send_invoice",
        "days_until_due": DAYS_UNTIL_DUE,
        "pending_invoice_items_behavior": "exclude",
        "description": f"Usage in {closed.invoice['period']}",
        "metadata": {
            "billhouse_invoice_id": closed.invoice_id,
            "billhouse_period": closed.invoice["period"],
            "billhouse_content_hash": closed.content_hash,
        },
    }


def item_requests(closed: ClosedInvoice, stripe_customer_id: str, stripe_invoice_id: str) -> dict[str, Row]:
    """POST /v1/invoiceitems, by our line id: a line for each of ours, and a negative one for each credit used."""
    items: dict[str, Row] = {}
    for line in closed.lines:
        items[line["line_id"]] = _item(
            closed,
            stripe_customer_id,
            stripe_invoice_id,
            line["line_id"],
            line["amount"],
            line["description"],
            line["service_period"],
        )
    for credit in closed.credits:
        line_id = f"CRD-{credit['grant_id']}"
        told = "Sign-up credit" if credit["source"] == "signup" else "Credit"
        items[line_id] = _item(
            closed, stripe_customer_id, stripe_invoice_id, line_id, -credit["amount"], told, closed.invoice["period"]
        )
    return items


def _item(
    closed: ClosedInvoice, customer: str, invoice: str, line_id: str, amount: Decimal, description: str, service_period: str
) -> Row:
    period = BillingPeriod.parse(service_period)
    return {
        "customer": customer,
        "invoice": invoice,
        "amount": closed.minor_units(amount),
        "currency": closed.invoice["currency"].lower(),
        "description": description[:500],
        "period": {"start": int(period.start.timestamp()), "end": int(period.end.timestamp())},
        "metadata": {"billhouse_line_id": line_id},
    }
