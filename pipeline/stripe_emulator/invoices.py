"""Invoices, their lines and taxes, and payments."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import CallContext, integer, new_id
from pipeline.stripe_emulator.errors import RefusalError, required
from pipeline.stripe_emulator.invoice_items import refuse_too_many, require_draft, require_units
from pipeline.stripe_emulator.store import Object

LINES_IN_OBJECT = 10
"""How many lines Stripe includes in an invoice or a credit note; the others are listed separately."""


class Invoices:
    """Calls on invoices."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def create(self, params: Object) -> Object:
        if "customer" not in params:
            raise required("customer")
        customer = self._context.get("customer", params["customer"])
        params = {"currency": customer["currency"] or "usd"} | params
        if params.get("collection_method") == "send_invoice" and not {"days_until_due", "due_date"} & params.keys():
            raise required("days_until_due")
        invoice = self._context.store.save(objects.invoice(new_id("in"), self._context.now(), params, customer))
        if params.get("pending_invoice_items_behavior") == "include":
            for item in list(self._context.store.list("invoiceitem", customer=customer["id"])):
                if item["invoice"] is None and item["currency"] == invoice["currency"]:
                    self._context.store.save(item | {"invoice": invoice["id"]})
        return self._save_and_emit(invoice, "invoice.created")

    def retrieve(self, id: str) -> Object:
        return self.view(self._context.get("invoice", id))

    def list(self, params: Object) -> Object:
        return self._context.page("invoice", "/v1/invoices", params, equal=("status", "collection_method"), view=self.view)

    def list_lines(self, id: str, params: Object) -> Object:
        self._context.get("invoice", id)
        asked = {name: value for name, value in params.items() if name != "starting_after"} | {"invoice": id}
        if "starting_after" in params:
            asked["starting_after"] = "ii_" + params["starting_after"].removeprefix("il_")
        return self._context.page("invoiceitem", f"/v1/invoices/{id}/lines", asked, view=objects.line_item)

    def add_lines(self, id: str, params: Object) -> Object:
        """Add several lines: all of them, or none."""
        invoice = require_draft(self._context, id)
        if not params.get("lines"):
            raise required("lines")
        refuse_too_many(self._context, id, len(params["lines"]))
        for line in params["lines"]:
            if "amount" not in line:
                raise required("lines[amount]")
            require_units(integer(line, "amount", 0), invoice["currency"])
            owner = {"customer": invoice["customer"], "invoice": id, "currency": invoice["currency"]}
            self._context.store.save(objects.invoice_item(new_id("ii"), self._context.now(), line | owner))
        return self._save_and_emit(invoice, "invoice.updated")

    def update(self, id: str, params: Object) -> Object:
        invoice = self._context.get("invoice", id)
        if invoice["status"] != "draft" and params.keys() - {"metadata"}:
            raise RefusalError("Finalized invoices can't be updated.", code="invoice_not_editable")
        invoice |= {name: params[name] for name in ("description", "footer") if name in params}
        if "default_tax_rates" in params:
            invoice["default_tax_rates"] = [self._context.get("tax_rate", id) for id in params["default_tax_rates"] or []]
        invoice["metadata"] |= params.get("metadata", {})
        return self._save_and_emit(invoice, "invoice.updated")

    def delete(self, id: str) -> Object:
        """Delete a draft; its items become pending."""
        invoice = require_draft(self._context, id)
        for item in list(self._context.store.list("invoiceitem", invoice=id)):
            self._context.store.save(item | {"invoice": None})
        self._context.store.delete(id)
        self._context.emit("invoice.deleted", invoice | {"lines": None})
        return {"id": id, "object": "invoice", "deleted": True}

    def finalize(self, id: str) -> Object:
        """Number and open it; an invoice with nothing to pay is paid at once."""
        invoice = self.view(require_draft(self._context, id))
        customer = self._context.get("customer", invoice["customer"])
        now = self._context.now()
        number = customer["next_invoice_sequence"]
        # A negative customer balance is credit and is applied first; a positive one is added.
        starting_balance, total = customer["balance"], invoice["total"]
        ending_balance = min(starting_balance + max(total, 0), 0)
        invoice |= {"starting_balance": starting_balance, "ending_balance": ending_balance}
        changes = {"next_invoice_sequence": number + 1, "currency": invoice["currency"], "balance": ending_balance}
        self._context.store.save(customer | changes)
        is_free = total - (ending_balance - starting_balance) <= 0
        invoice |= {
            "status": "paid" if is_free else "open",
            "number": f"{customer['invoice_prefix']}-{number:04d}",
            "effective_at": now,
            "attempted": is_free,
            "hosted_invoice_url": f"https://invoice.stripe.example/{id}",
            "invoice_pdf": f"https://invoice.stripe.example/{id}/pdf",
        }
        invoice["status_transitions"] |= {"finalized_at": now, "paid_at": now if is_free else None}
        return self._save_and_emit(invoice, "invoice.finalized", *(["invoice.paid"] if is_free else []))

    def send(self, id: str) -> Object:
        """E-mail it to the customer; every call sends another e-mail."""
        invoice = self._context.get("invoice", id)
        if invoice["status"] == "draft":
            self.finalize(id)
            invoice = self._context.get("invoice", id)
        if invoice["collection_method"] != "send_invoice":
            raise RefusalError("You can only manually send an invoice if its collection method is 'send_invoice'.")
        return self._save_and_emit(invoice, "invoice.sent")

    def pay(self, id: str, params: Object) -> Object:
        invoice = self.view(self._in_status(id, ("open", "uncollectible"), "pay"))
        amount = invoice["amount_remaining"]
        invoice |= {"status": "paid", "amount_paid": invoice["amount_paid"] + amount, "attempted": True}
        invoice["status_transitions"]["paid_at"] = self._context.now()
        if params.get("paid_out_of_band") != "true":
            payment = objects.invoice_payment(new_id("inpay"), self._context.now(), invoice, amount)
            self._context.save(payment, "invoice_payment.paid")
        return self._save_and_emit(invoice, "invoice.paid")

    def void(self, id: str) -> Object:
        """Void it and restore the part of the customer's balance that it used."""
        invoice = self._in_status(id, ("open", "uncollectible"), "void") | {"status": "void"}
        customer = self._context.get("customer", invoice["customer"])
        self._context.store.save(
            customer | {"balance": customer["balance"] + invoice["starting_balance"] - invoice["ending_balance"]}
        )
        invoice["status_transitions"]["voided_at"] = self._context.now()
        return self._save_and_emit(invoice, "invoice.voided")

    def mark_uncollectible(self, id: str) -> Object:
        invoice = self._in_status(id, ("open",), "mark as uncollectible") | {"status": "uncollectible"}
        invoice["status_transitions"]["marked_uncollectible_at"] = self._context.now()
        return self._save_and_emit(invoice, "invoice.marked_uncollectible")

    def create_tax_rate(self, params: Object) -> Object:
        for name in ("display_name", "percentage", "inclusive"):
            if name not in params:
                raise required(name)
        return self._context.store.save(objects.tax_rate(new_id("txr"), self._context.now(), params))

    def list_payments(self, params: Object) -> Object:
        return self._context.page("invoice_payment", "/v1/invoice_payments", params, equal=("status",))

    def retrieve_payment(self, id: str) -> Object:
        return self._context.get("invoice_payment", id)

    def view(self, invoice: Object) -> Object:
        """The invoice as Stripe returns it: with its first ten lines, and the sums over all of its lines."""
        items = list(self._context.store.list("invoiceitem", invoice=invoice["id"]))
        subtotal = sum(item["amount"] for item in items)
        taxes = total_taxes(invoice, items)
        total = subtotal + sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
        without_tax = total - sum(tax["amount"] for tax in taxes)
        from_balance = 0 if invoice["ending_balance"] is None else invoice["ending_balance"] - invoice["starting_balance"]
        due = max(total - invoice["pre_payment_credit_notes_amount"] - from_balance, 0)
        lines = [objects.line_item(item) for item in items[:LINES_IN_OBJECT]]
        url = f"/v1/invoices/{invoice['id']}/lines"
        return invoice | {
            "lines": {"object": "list", "url": url, "has_more": len(items) > LINES_IN_OBJECT, "data": lines},
            "subtotal": subtotal,
            "subtotal_excluding_tax": without_tax,
            "total": total,
            "total_excluding_tax": without_tax,
            "total_taxes": taxes,
            "amount_due": due,
            "amount_remaining": 0 if invoice["status"] == "paid" else due - invoice["amount_paid"],
        }

    def _save_and_emit(self, invoice: Object, *event_types: str) -> Object:
        """Save it, emit events, and return the view."""
        self._context.store.save(invoice | {"lines": None})
        view = self.view(invoice)
        for event_type in event_types:
            self._context.emit(event_type, view)
        return view

    def _in_status(self, id: str, statuses: tuple[str, ...], verb: str) -> Object:
        invoice = self._context.get("invoice", id)
        if invoice["status"] not in statuses:
            raise RefusalError(f"You can only {verb} an {statuses[0]} invoice; this one is {invoice['status']}.")
        return invoice


def total_taxes(invoice: Object, items: list[Object]) -> list[Object]:
    """The taxes of an invoice by rate. The tax of each item is rounded half up to a whole unit."""
    sums: dict[str, Object] = {}
    for item in items:
        for rate in item["tax_rates"] or invoice["default_tax_rates"]:
            percentage = Decimal(str(rate["percentage"]))
            share = percentage / (100 + percentage) if rate["inclusive"] else percentage / 100
            tax = int((item["amount"] * share).quantize(Decimal(1), ROUND_HALF_UP))
            behavior = "inclusive" if rate["inclusive"] else "exclusive"
            found = sums.setdefault(rate["id"], objects.total_tax(rate["id"], behavior))
            found["amount"] += tax
            found["taxable_amount"] += item["amount"] - (tax if rate["inclusive"] else 0)
    return list(sums.values())
