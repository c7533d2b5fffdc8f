"""Invoice items, pending ones included, and the rules for changing an invoice's lines."""

from __future__ import annotations

from pipeline.pricebook.stripe_currencies import stripe_currencies
from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import CallContext, integer, new_id
from pipeline.stripe_emulator.errors import RefusalError, required
from pipeline.stripe_emulator.store import Object

MAX_LINES = 250
"""Stripe's limit on the items of one invoice."""


class InvoiceItems:
    """Calls on invoice items, including pending ones."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def create(self, params: Object) -> Object:
        for name in ("customer", "amount", "currency"):
            if name not in params:
                raise required(name)
        require_units(integer(params, "amount", 0), params["currency"])
        self._context.get("customer", params["customer"])
        if "invoice" in params:
            invoice = require_draft(self._context, params["invoice"])
            if invoice["customer"] != params["customer"]:
                raise RefusalError("The invoice belongs to another customer.", param="invoice")
            if invoice["currency"] != params["currency"].lower():
                raise RefusalError(f"The currency of the invoice is {invoice['currency']}.", param="currency")
            refuse_too_many(self._context, invoice["id"], 1)
        return self._context.save(objects.invoice_item(new_id("ii"), self._context.now(), params), "invoiceitem.created")

    def list(self, params: Object) -> Object:
        return self._context.page(
            "invoiceitem",
            "/v1/invoiceitems",
            params,
            where=lambda item: params.get("pending") != "true" or item["invoice"] is None,
        )

    def update(self, id: str, params: Object) -> Object:
        item = self._context.get("invoiceitem", id)
        if item["invoice"]:
            require_draft(self._context, item["invoice"])
        amount = integer(params, "amount", item["amount"])
        require_units(amount, item["currency"])
        item |= {"amount": amount, "net_amount": amount, "description": params.get("description", item["description"])}
        item["metadata"] |= params.get("metadata", {})
        return self._context.save(item)

    def delete(self, id: str) -> Object:
        item = self._context.get("invoiceitem", id)
        if item["invoice"]:
            require_draft(self._context, item["invoice"])
        self._context.store.delete(id)
        return {"id": id, "object": "invoiceitem", "deleted": True}


def require_units(amount: int, currency: str) -> None:
    """Raises RefusalError for an amount that Stripe does not accept: ISK amounts end in 00, KWD amounts in 0."""
    found = stripe_currencies().get(currency.upper())
    if found is None:
        raise RefusalError(f"Invalid currency: {currency.lower()}.", param="currency")
    if amount % found.step:
        raise RefusalError(
            f"Invalid amount. Amounts in {currency.lower()} must be evenly divisible by {found.step}.",
            code="parameter_invalid_integer",
            param="amount",
        )


def require_draft(context: CallContext, id: str) -> Object:
    """The invoice. Raises RefusalError unless it is a draft."""
    invoice = context.get("invoice", id)
    if invoice["status"] != "draft":
        raise RefusalError(
            "This invoice is already finalized, you can't change it.", code="invoice_not_editable", param="invoice"
        )
    return invoice


def refuse_too_many(context: CallContext, invoice: str, more: int) -> None:
    """Raises RefusalError if the invoice would have more than MAX_LINES items."""
    if sum(1 for _ in context.store.list("invoiceitem", invoice=invoice)) + more > MAX_LINES:
        raise RefusalError(f"An invoice can have at most {MAX_LINES} invoice items.", param="invoice")
