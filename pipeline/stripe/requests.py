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
_CREDIT_NAMES = {
    "signup": "Sign-up credit",
    "promotional": "Promotional credit",
    "purchased": "Prepaid credit",
    "goodwill": "Goodwill credit",
}
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
    """POST /v1/invoiceitems, by our line id: one for each line, for each credit, and for what is carried forward.

    They sum to the invoice's total: credit used is negative, credit given back positive.
    """
    period = closed.invoice["period"]
    parts = [(line["line_id"], line["amount"], line["description"], line["service_period"]) for line in closed.lines]
    for credit in closed.credits:
        told = _CREDIT_NAMES.get(credit["source"], "Credit")
        told = f"{told}, given back" if credit["amount"] < 0 else told
        line_id = f"CRD-{credit['grant_id']}-{credit['application_period']}"
        parts.append((line_id, -credit["amount"], told, credit["application_period"]))
    if closed.invoice["carried_forward_amount"]:
        amount = -closed.invoice["carried_forward_amount"]
        parts.append((f"CFW-{closed.invoice_id}", amount, "Carried forward to the next invoice", period))
    return {
        line_id: _item(closed, stripe_customer_id, stripe_invoice_id, line_id, amount, description, service_period)
        for line_id, amount, description, service_period in parts
    }


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
