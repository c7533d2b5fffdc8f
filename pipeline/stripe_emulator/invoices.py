"""Invoices, their items and lines, and what was paid on them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from pipeline.pricebook.stripe_currencies import stripe_currencies
from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import Desk, integer, new
from pipeline.stripe_emulator.errors import RefusalError, missing, required
from pipeline.stripe_emulator.store import Object

MOST_LINES = 250
"""The most items that Stripe takes on one invoice."""
_SHOWN_LINES = 10


class InvoiceItems:
    """Calls on invoice items, those that wait for an invoice included."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, params: Object) -> Object:
        for name in ("customer", "amount", "currency"):
            if name not in params:
                raise required(name)
        require_units(integer(params, "amount", 0), params["currency"])
        self._desk.get("customer", params["customer"])
        if "invoice" in params:
            invoice = draft(self._desk, params["invoice"])
            if invoice["customer"] != params["customer"]:
                raise RefusalError("The invoice belongs to another customer.", param="invoice")
            if invoice["currency"] != params["currency"].lower():
                raise RefusalError(f"The currency of the invoice is {invoice['currency']}.", param="currency")
            refuse_too_many(self._desk, invoice["id"], 1)
        return self._desk.save(objects.invoice_item(new("ii"), self._desk.now(), params), "invoiceitem.created")

    def list(self, params: Object) -> Object:
        return self._desk.page(
            "invoiceitem",
            "/v1/invoiceitems",
            params,
            wanted=lambda item: params.get("pending") != "true" or item["invoice"] is None,
        )

    def update(self, id: str, params: Object) -> Object:
        item = self._desk.get("invoiceitem", id)
        if item["invoice"]:
            draft(self._desk, item["invoice"])
        amount = integer(params, "amount", item["amount"])
        require_units(amount, item["currency"])
        item |= {"amount": amount, "net_amount": amount, "description": params.get("description", item["description"])}
        item["metadata"] |= params.get("metadata", {})
        return self._desk.save(item)

    def delete(self, id: str) -> Object:
        item = self._desk.get("invoiceitem", id)
        if item["invoice"]:
            draft(self._desk, item["invoice"])
        self._desk.store.delete(id)
        return {"id": id, "object": "invoiceitem", "deleted": True}


class Invoices:
    """Calls on invoices."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, params: Object) -> Object:
        if "customer" not in params:
            raise required("customer")
        customer = self._desk.get("customer", params["customer"])
        params = {"currency": customer["currency"] or "usd"} | params
        if params.get("collection_method") == "send_invoice" and not {"days_until_due", "due_date"} & params.keys():
            raise required("days_until_due")
        invoice = self._desk.store.save(objects.invoice(new("in"), self._desk.now(), params, customer))
        if params.get("pending_invoice_items_behavior") == "include":
            for item in list(self._desk.store.list("invoiceitem", customer=customer["id"])):
                if item["invoice"] is None and item["currency"] == invoice["currency"]:
                    self._desk.store.save(item | {"invoice": invoice["id"]})
        return self._told(invoice, "invoice.created")

    def retrieve(self, id: str) -> Object:
        return self.shown(self._desk.get("invoice", id))

    def list(self, params: Object) -> Object:
        return self._desk.page("invoice", "/v1/invoices", params, equal=("status", "collection_method"), show=self.shown)

    def list_lines(self, id: str, params: Object) -> Object:
        self._desk.get("invoice", id)
        asked = {name: value for name, value in params.items() if name != "starting_after"} | {"invoice": id}
        if "starting_after" in params:
            asked["starting_after"] = "ii_" + params["starting_after"].removeprefix("il_")
        return self._desk.page("invoiceitem", f"/v1/invoices/{id}/lines", asked, show=objects.line_item)

    def add_lines(self, id: str, params: Object) -> Object:
        """Several lines at once: all of them, or none."""
        invoice = draft(self._desk, id)
        if not params.get("lines"):
            raise required("lines")
        refuse_too_many(self._desk, id, len(params["lines"]))
        for line in params["lines"]:
            if "amount" not in line:
                raise required("lines[amount]")
            require_units(integer(line, "amount", 0), invoice["currency"])
            owner = {"customer": invoice["customer"], "invoice": id, "currency": invoice["currency"]}
            self._desk.store.save(objects.invoice_item(new("ii"), self._desk.now(), line | owner))
        return self._told(invoice, "invoice.updated")

    def update(self, id: str, params: Object) -> Object:
        invoice = self._desk.get("invoice", id)
        if invoice["status"] != "draft" and params.keys() - {"metadata"}:
            raise RefusalError("Finalized invoices can't be updated.", code="invoice_not_editable")
        invoice |= {name: params[name] for name in ("description", "footer") if name in params}
        if "default_tax_rates" in params:
            invoice["default_tax_rates"] = [self._desk.get("tax_rate", id) for id in params["default_tax_rates"] or []]
        invoice["metadata"] |= params.get("metadata", {})
        return self._told(invoice, "invoice.updated")

    def delete(self, id: str) -> Object:
        """A draft only; its items wait for another invoice then."""
        invoice = draft(self._desk, id)
        for item in list(self._desk.store.list("invoiceitem", invoice=id)):
            self._desk.store.save(item | {"invoice": None})
        self._desk.store.delete(id)
        self._desk.tell("invoice.deleted", invoice | {"lines": None})
        return {"id": id, "object": "invoice", "deleted": True}

    def finalize(self, id: str) -> Object:
        """Number it and open it; one of nothing to pay is paid at once."""
        invoice = self.shown(draft(self._desk, id))
        customer = self._desk.get("customer", invoice["customer"])
        now = self._desk.now()
        number = customer["next_invoice_sequence"]
        # What the customer has in credit pays first; what it owes from before is added.
        starting_balance, total = customer["balance"], invoice["total"]
        ending_balance = min(starting_balance + max(total, 0), 0)
        invoice |= {"starting_balance": starting_balance, "ending_balance": ending_balance}
        own = {"next_invoice_sequence": number + 1, "currency": invoice["currency"], "balance": ending_balance}
        self._desk.store.save(customer | own)
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
        return self._told(invoice, "invoice.finalized", *(["invoice.paid"] if is_free else []))

    def send(self, id: str) -> Object:
        """Mail it to the customer: every call is one more mail."""
        invoice = self._desk.get("invoice", id)
        if invoice["status"] == "draft":
            self.finalize(id)
            invoice = self._desk.get("invoice", id)
        if invoice["collection_method"] != "send_invoice":
            raise RefusalError("You can only manually send an invoice if its collection method is 'send_invoice'.")
        return self._told(invoice, "invoice.sent")

    def pay(self, id: str, params: Object) -> Object:
        invoice = self.shown(self._in_status(id, ("open", "uncollectible"), "pay"))
        amount = invoice["amount_remaining"]
        invoice |= {"status": "paid", "amount_paid": invoice["amount_paid"] + amount, "attempted": True}
        invoice["status_transitions"]["paid_at"] = self._desk.now()
        if params.get("paid_out_of_band") != "true":
            payment = objects.invoice_payment(new("inpay"), self._desk.now(), invoice, amount)
            self._desk.save(payment, "invoice_payment.paid")
        return self._told(invoice, "invoice.paid")

    def void(self, id: str) -> Object:
        """Nothing is owed on it; what the customer's balance had paid is there again."""
        invoice = self._in_status(id, ("open", "uncollectible"), "void") | {"status": "void"}
        customer = self._desk.get("customer", invoice["customer"])
        self._desk.store.save(
            customer | {"balance": customer["balance"] + invoice["starting_balance"] - invoice["ending_balance"]}
        )
        invoice["status_transitions"]["voided_at"] = self._desk.now()
        return self._told(invoice, "invoice.voided")

    def mark_uncollectible(self, id: str) -> Object:
        invoice = self._in_status(id, ("open",), "mark as uncollectible") | {"status": "uncollectible"}
        invoice["status_transitions"]["marked_uncollectible_at"] = self._desk.now()
        return self._told(invoice, "invoice.marked_uncollectible")

    def create_tax_rate(self, params: Object) -> Object:
        for name in ("display_name", "percentage", "inclusive"):
            if name not in params:
                raise required(name)
        return self._desk.store.save(objects.tax_rate(new("txr"), self._desk.now(), params))

    def list_payments(self, params: Object) -> Object:
        return self._desk.page("invoice_payment", "/v1/invoice_payments", params, equal=("status",))

    def retrieve_payment(self, id: str) -> Object:
        return self._desk.get("invoice_payment", id)

    def shown(self, invoice: Object) -> Object:
        """With its lines (the first ten, as Stripe shows them) and the sums over all of them."""
        items = list(self._desk.store.list("invoiceitem", invoice=invoice["id"]))
        subtotal = sum(item["amount"] for item in items)
        taxes = total_taxes(invoice, items)
        total = subtotal + sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
        without_tax = total - sum(tax["amount"] for tax in taxes)
        from_balance = 0 if invoice["ending_balance"] is None else invoice["ending_balance"] - invoice["starting_balance"]
        due = max(total - invoice["pre_payment_credit_notes_amount"] - from_balance, 0)
        lines = [objects.line_item(item) for item in items[:_SHOWN_LINES]]
        url = f"/v1/invoices/{invoice['id']}/lines"
        return invoice | {
            "lines": {"object": "list", "url": url, "has_more": len(items) > _SHOWN_LINES, "data": lines},
            "subtotal": subtotal,
            "subtotal_excluding_tax": without_tax,
            "total": total,
            "total_excluding_tax": without_tax,
            "total_taxes": taxes,
            "amount_due": due,
            "amount_remaining": 0 if invoice["status"] == "paid" else due - invoice["amount_paid"],
        }

    def _told(self, invoice: Object, *event_types: str) -> Object:
        """Keep it, tell of it, and show it."""
        self._desk.store.save(invoice | {"lines": None})
        shown = self.shown(invoice)
        for event_type in event_types:
            self._desk.tell(event_type, shown)
        return shown

    def _in_status(self, id: str, statuses: tuple[str, ...], verb: str) -> Object:
        invoice = self._desk.get("invoice", id)
        if invoice["status"] not in statuses:
            raise RefusalError(f"You can only {verb} an {statuses[0]} invoice; this one is {invoice['status']}.")
        return invoice


class CreditNotes:
    """Calls on credit notes."""

    def __init__(self, desk: Desk, invoices: Invoices) -> None:
        self._desk = desk
        self._invoices = invoices

    def create(self, params: Object) -> Object:
        """Lessens what is open; on a paid invoice it must say where the money goes, to the cent."""
        if "invoice" not in params:
            raise required("invoice")
        invoice = self._invoices.retrieve(params["invoice"])
        if invoice["status"] not in ("open", "paid", "uncollectible"):
            raise RefusalError("You can only create a credit note for an invoice that is open, paid or uncollectible.")
        lines = [self._line(invoice, line) for line in params.get("lines", [])]
        amount = sum(line["amount"] for line in lines) or integer(params, "amount", 0)
        if amount <= 0:
            raise required("lines")
        require_units(amount, invoice["currency"])
        if amount > self._creditable(invoice):
            raise RefusalError(f"The most that can still be credited on this invoice is {self._creditable(invoice)}.")
        settled = sum(integer(params, name, 0) for name in ("refund_amount", "credit_amount", "out_of_band_amount"))
        if settled != (amount if invoice["status"] == "paid" else 0):
            raise RefusalError(
                "The sum of refund_amount, credit_amount and out_of_band_amount must equal what is credited after payment."
            )
        number = f"{invoice['number']}-CN-{self._desk.store.next('cn-' + invoice['id']):02d}"
        note = objects.credit_note(new("cn"), self._desk.now(), params, invoice, amount, number)
        note["lines"] = {"object": "list", "data": lines, "has_more": False, "url": f"/v1/credit_notes/{note['id']}/lines"}
        if "credit_amount" in params:
            customer = self._desk.get("customer", invoice["customer"])
            self._desk.store.save(customer | {"balance": customer["balance"] - integer(params, "credit_amount", 0)})
        kind = "pre" if note["type"] == "pre_payment" else "post"
        invoice[f"{kind}_payment_credit_notes_amount"] += amount
        self._desk.store.save(invoice | {"lines": None})
        if invoice["status"] == "open" and self._invoices.shown(invoice)["amount_remaining"] == 0:
            invoice["status"] = "paid"
            self._desk.store.save(invoice | {"lines": None})
        self._desk.tell("invoice.updated", self._invoices.shown(invoice))
        return self._desk.save(note, "credit_note.created")

    def retrieve(self, id: str) -> Object:
        return self.shown(self._desk.get("credit_note", id))

    def list(self, params: Object) -> Object:
        return self._desk.page("credit_note", "/v1/credit_notes", params, show=self.shown)

    def list_lines(self, id: str, params: Object) -> Object:
        """The lines of one note, in pages."""
        lines = self._desk.get("credit_note", id)["lines"]["data"]
        limit, first = integer(params, "limit", 10), 0
        if "starting_after" in params:
            first = [line["id"] for line in lines].index(params["starting_after"]) + 1
        page, has_more = lines[first : first + limit], len(lines) > first + limit
        return {"object": "list", "url": f"/v1/credit_notes/{id}/lines", "has_more": has_more, "data": page}

    def shown(self, note: Object) -> Object:
        """With its first lines, as Stripe shows it."""
        lines = note["lines"]
        return note | {"lines": lines | {"data": lines["data"][:_SHOWN_LINES], "has_more": len(lines["data"]) > _SHOWN_LINES}}

    def _line(self, invoice: Object, params: Object) -> Object:
        if params.get("type") == "invoice_line_item":
            item = "ii_" + str(params.get("invoice_line_item")).removeprefix("il_")
            if self._desk.get("invoiceitem", item)["invoice"] != invoice["id"]:
                raise missing("line_item", str(params.get("invoice_line_item")))
            amount = integer(params, "amount", 0)
        else:
            amount = integer(params, "unit_amount", 0) * integer(params, "quantity", 1)
        return objects.credit_note_line(new("cnli"), params, amount)

    def _creditable(self, invoice: Object) -> int:
        notes: Iterable[Object] = self._desk.store.list("credit_note", invoice=invoice["id"])
        return int(invoice["total"] - sum(note["amount"] for note in notes if note["status"] == "issued"))


def require_units(amount: int, currency: str) -> None:
    """The rule of each currency: an amount of ISK ends in 00, one of KWD in 0."""
    found = stripe_currencies().get(currency.upper())
    if found is None:
        raise RefusalError(f"Invalid currency: {currency.lower()}.", param="currency")
    if amount % found.step:
        raise RefusalError(
            f"Invalid amount. Amounts in {currency.lower()} must be evenly divisible by {found.step}.",
            code="parameter_invalid_integer",
            param="amount",
        )


def total_taxes(invoice: Object, items: list[Object]) -> list[Object]:
    """The taxes of an invoice, summed by rate; each item's is rounded half up to a whole unit."""
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


def draft(desk: Desk, id: str) -> Object:
    """An invoice that may still be changed."""
    invoice = desk.get("invoice", id)
    if invoice["status"] != "draft":
        raise RefusalError(
            "This invoice is already finalized, you can't change it.", code="invoice_not_editable", param="invoice"
        )
    return invoice


def refuse_too_many(desk: Desk, invoice: str, more: int) -> None:
    """No more than MOST_LINES on an invoice."""
    if sum(1 for _ in desk.store.list("invoiceitem", invoice=invoice)) + more > MOST_LINES:
        raise RefusalError(f"An invoice can have at most {MOST_LINES} invoice items.", param="invoice")
