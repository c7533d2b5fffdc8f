"""What the emulated calls do to the state. Each takes the parameters as Stripe receives them, and returns the object."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.stripe.emulator import objects
from pipeline.stripe.emulator.faults import RefusalError, missing, required
from pipeline.stripe.emulator.store import Object, Store

MOST_LINES = 250
"""The most items that Stripe takes on one invoice."""


class Service:
    """The calls, over a store and a clock (seconds since 1970)."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    def create_customer(self, params: Object) -> Object:
        return self._store.save(objects.customer(_new("cus"), self._now(), params))

    def retrieve_customer(self, id: str) -> Object:
        return self._get("customer", id)

    def update_customer(self, id: str, params: Object) -> Object:
        found = self._get("customer", id)
        found |= {name: params[name] for name in ("name", "email", "description") if name in params}
        found["metadata"] |= params.get("metadata", {})
        return self._store.save(found)

    def list_customers(self, params: Object) -> Object:
        found = self._store.list("customer")
        email = params.get("email")
        return _page("/v1/customers", (one for one in found if email is None or one["email"] == email), params)

    def create_invoice_item(self, params: Object) -> Object:
        for name in ("customer", "amount", "currency"):
            if name not in params:
                raise required(name)
        try:
            int(params["amount"])
        except ValueError:
            raise RefusalError(f"Invalid integer: {params['amount']}", code="parameter_invalid_integer", param="amount") from None
        self._get("customer", params["customer"])
        if "invoice" in params:
            invoice = self._draft(params["invoice"])
            if invoice["customer"] != params["customer"]:
                raise RefusalError("The invoice belongs to another customer.", param="invoice")
            if invoice["currency"] != params["currency"].lower():
                raise RefusalError(f"The currency of the invoice is {invoice['currency']}.", param="currency")
            if len(self._items(invoice["id"])) >= MOST_LINES:
                raise RefusalError(f"An invoice can have at most {MOST_LINES} invoice items.", param="invoice")
        return self._store.save(objects.invoice_item(_new("ii"), self._now(), params))

    def list_invoice_items(self, params: Object) -> Object:
        found = self._store.list("invoiceitem", customer=params.get("customer"), invoice=params.get("invoice"))
        if params.get("pending") == "true":
            found = (item for item in found if item["invoice"] is None)
        return _page("/v1/invoiceitems", found, params)

    def create_invoice(self, params: Object) -> Object:
        if "customer" not in params:
            raise required("customer")
        customer = self._get("customer", params["customer"])
        params = {"currency": customer["currency"] or "usd"} | params
        if params.get("collection_method") == "send_invoice" and not {"days_until_due", "due_date"} & params.keys():
            raise required("days_until_due")
        invoice = self._store.save(objects.invoice(_new("in"), self._now(), params, customer))
        if params.get("pending_invoice_items_behavior") == "include":
            for item in list(self._store.list("invoiceitem", customer=customer["id"])):
                if item["invoice"] is None and item["currency"] == invoice["currency"]:
                    self._store.save(item | {"invoice": invoice["id"]})
        return self._shown(invoice)

    def retrieve_invoice(self, id: str) -> Object:
        return self._shown(self._get("invoice", id))

    def list_invoices(self, params: Object) -> Object:
        found = self._store.list("invoice", customer=params.get("customer"))
        status = params.get("status")
        chosen = (self._shown(one) for one in found if status is None or one["status"] == status)
        return _page("/v1/invoices", chosen, params)

    def list_lines(self, id: str, params: Object) -> Object:
        self._get("invoice", id)
        lines = (objects.line_item(item) for item in self._items(id))
        return _page(f"/v1/invoices/{id}/lines", lines, params)

    def update_invoice(self, id: str, params: Object) -> Object:
        invoice = self._get("invoice", id)
        if invoice["status"] != "draft" and params.keys() - {"metadata"}:
            raise RefusalError("Finalized invoices can't be updated.", code="invoice_not_editable")
        invoice |= {name: params[name] for name in ("description", "footer") if name in params}
        invoice["metadata"] |= params.get("metadata", {})
        self._store.save(invoice)
        return self._shown(invoice)

    def finalize_invoice(self, id: str) -> Object:
        """Number it and open it; one of nothing to pay is paid at once."""
        invoice = self._shown(self._draft(id))
        customer = self._get("customer", invoice["customer"])
        now = self._now()
        number = customer["next_invoice_sequence"]
        self._store.save(customer | {"next_invoice_sequence": number + 1, "currency": invoice["currency"]})
        is_free = invoice["total"] <= 0
        invoice |= {
            "status": "paid" if is_free else "open",
            "number": f"{customer['invoice_prefix']}-{number:04d}",
            "effective_at": now,
            "attempted": is_free,
            "hosted_invoice_url": f"https://invoice.stripe.example/{id}",
            "invoice_pdf": f"https://invoice.stripe.example/{id}/pdf",
            "ending_balance": 0,
        }
        invoice["status_transitions"] |= {"finalized_at": now, "paid_at": now if is_free else None}
        self._store.save(invoice)
        return self._shown(invoice)

    def send_invoice(self, id: str) -> Object:
        invoice = self._get("invoice", id)
        return self.finalize_invoice(id) if invoice["status"] == "draft" else self._shown(invoice)

    def pay_invoice(self, id: str, params: Object) -> Object:
        invoice = self._shown(self._in_status(id, "open", "pay"))
        invoice |= {"status": "paid", "amount_paid": invoice["amount_due"], "attempted": True}
        invoice["status_transitions"]["paid_at"] = self._now()
        self._store.save(invoice)
        return self._shown(invoice)

    def void_invoice(self, id: str) -> Object:
        invoice = self._in_status(id, "open", "void")
        invoice["status"] = "void"
        invoice["status_transitions"]["voided_at"] = self._now()
        self._store.save(invoice)
        return self._shown(invoice)

    def mark_uncollectible(self, id: str) -> Object:
        invoice = self._in_status(id, "open", "mark as uncollectible")
        invoice["status"] = "uncollectible"
        invoice["status_transitions"]["marked_uncollectible_at"] = self._now()
        self._store.save(invoice)
        return self._shown(invoice)

    def _get(self, kind: str, id: str) -> Object:
        found = self._store.find(kind, id)
        if found is None:
            raise missing(kind, id)
        return found

    def _draft(self, id: str) -> Object:
        invoice = self._get("invoice", id)
        if invoice["status"] != "draft":
            raise RefusalError(
                "This invoice is already finalized, you can't change it.", code="invoice_not_editable", param="invoice"
            )
        return invoice

    def _in_status(self, id: str, status: str, verb: str) -> Object:
        invoice = self._get("invoice", id)
        if invoice["status"] != status:
            raise RefusalError(f"You can only {verb} an {status} invoice; this one is {invoice['status']}.")
        return invoice

    def _items(self, invoice_id: str) -> list[Object]:
        return list(self._store.list("invoiceitem", invoice=invoice_id))

    def _shown(self, invoice: Object) -> Object:
        """With its lines (the first ten, as Stripe shows them) and the sums over all of them."""
        items = self._items(invoice["id"])
        total = sum(item["amount"] for item in items)
        due = max(total, 0)
        return invoice | {
            "lines": _page(f"/v1/invoices/{invoice['id']}/lines", map(objects.line_item, items), {}),
            "subtotal": total,
            "subtotal_excluding_tax": total,
            "total": total,
            "total_excluding_tax": total,
            "amount_due": due,
            "amount_remaining": 0 if invoice["status"] == "paid" else due,
        }


def _new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(18).replace('-', 'A').replace('_', 'B')}"


def _page(url: str, found: Iterable[Object], params: Object) -> Object:
    """One page of a list, newest first: `limit`, `starting_after`."""
    try:
        limit = int(params.get("limit", 10))
    except ValueError:
        raise RefusalError(f"Invalid integer: {params['limit']}", code="parameter_invalid_integer", param="limit") from None
    if not 1 <= limit <= 100:
        raise RefusalError("This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
    data: list[Any] = list(found)
    after = params.get("starting_after")
    if after is not None:
        ids = [one["id"] for one in data]
        if after not in ids:
            raise missing("object", after)
        data = data[ids.index(after) + 1 :]
    return {"object": "list", "url": url, "has_more": len(data) > limit, "data": data[:limit]}
