"""Credit notes."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import CallContext, integer, new_id
from pipeline.stripe_emulator.errors import RefusalError, missing, required
from pipeline.stripe_emulator.invoice_items import require_units
from pipeline.stripe_emulator.invoices import LINES_IN_OBJECT, Invoices
from pipeline.stripe_emulator.store import Object


class CreditNotes:
    """Calls on credit notes."""

    def __init__(self, context: CallContext, invoices: Invoices) -> None:
        self._context = context
        self._invoices = invoices

    def create(self, params: Object) -> Object:
        """Reduce the open amount; for a paid invoice the settlement parameters must sum to the amount."""
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
        number = f"{invoice['number']}-CN-{self._context.store.next('cn-' + invoice['id']):02d}"
        note = objects.credit_note(new_id("cn"), self._context.now(), params, invoice, amount, number)
        note["lines"] = {"object": "list", "data": lines, "has_more": False, "url": f"/v1/credit_notes/{note['id']}/lines"}
        if "credit_amount" in params:
            customer = self._context.get("customer", invoice["customer"])
            self._context.store.save(customer | {"balance": customer["balance"] - integer(params, "credit_amount", 0)})
        kind = "pre" if note["type"] == "pre_payment" else "post"
        invoice[f"{kind}_payment_credit_notes_amount"] += amount
        self._context.store.save(invoice | {"lines": None})
        if invoice["status"] == "open" and self._invoices.view(invoice)["amount_remaining"] == 0:
            invoice["status"] = "paid"
            self._context.store.save(invoice | {"lines": None})
        self._context.emit("invoice.updated", self._invoices.view(invoice))
        return self._context.save(note, "credit_note.created")

    def retrieve(self, id: str) -> Object:
        return self.view(self._context.get("credit_note", id))

    def list(self, params: Object) -> Object:
        return self._context.page("credit_note", "/v1/credit_notes", params, view=self.view)

    def list_lines(self, id: str, params: Object) -> Object:
        """One page of the lines of a credit note."""
        lines = self._context.get("credit_note", id)["lines"]["data"]
        limit, first = integer(params, "limit", 10), 0
        if "starting_after" in params:
            first = [line["id"] for line in lines].index(params["starting_after"]) + 1
        page, has_more = lines[first : first + limit], len(lines) > first + limit
        return {"object": "list", "url": f"/v1/credit_notes/{id}/lines", "has_more": has_more, "data": page}

    def view(self, note: Object) -> Object:
        """The credit note as Stripe returns it: with its first ten lines."""
        lines = note["lines"]
        return note | {
            "lines": lines | {"data": lines["data"][:LINES_IN_OBJECT], "has_more": len(lines["data"]) > LINES_IN_OBJECT}
        }

    def _line(self, invoice: Object, params: Object) -> Object:
        if params.get("type") == "invoice_line_item":
            item = "ii_" + str(params.get("invoice_line_item")).removeprefix("il_")
            if self._context.get("invoiceitem", item)["invoice"] != invoice["id"]:
                raise missing("line_item", str(params.get("invoice_line_item")))
            amount = integer(params, "amount", 0)
        else:
            amount = integer(params, "unit_amount", 0) * integer(params, "quantity", 1)
        return objects.credit_note_line(new_id("cnli"), params, amount)

    def _creditable(self, invoice: Object) -> int:
        notes: Iterable[Object] = self._context.store.list("credit_note", invoice=invoice["id"])
        return int(invoice["total"] - sum(note["amount"] for note in notes if note["status"] == "issued"))
