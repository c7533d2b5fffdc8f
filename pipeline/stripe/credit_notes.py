"""Credit notes: gives back now, on an invoice that Stripe has, what was billed on it and is no longer due.

A credit note is a document of the ledger first: from then on its lines count as billed (negative), so that the next invoice
does not correct the same again. Then it goes to Stripe, exactly once. What is due and shall be forgiven all the same is no
credit note but a goodwill grant: the difference of due and billed would only bring it back.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.money import format_amount, format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import rows_as_dictionaries
from pipeline.ledger.verify import require_verified_ledger
from pipeline.pricebook.stripe_currencies import from_stripe, to_stripe
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.credit_notes import read_credit_notes, write_credit_note
from pipeline.store.publications import PUBLICATIONS
from pipeline.stripe.client import StripeConnection, connect
from pipeline.stripe.existing import PAGE, metadata_of
from pipeline.stripe.outbox import open_outbox
from pipeline.stripe.requests import total_without_tax
from pipeline.stripe.steps import Steps, idempotency_key, told, told_plainly
from pipeline.warehouse.build import build, is_current, last_build, open_warehouse

Row = dict[str, Any]
Settlement = Literal["balance", "refund", "outside"]
_SETTLED_BY: dict[Settlement, str] = {
    "balance": "credit_amount",
    "refund": "refund_amount",
    "outside": "out_of_band_amount",
}
_CREDITABLE = ("open", "paid", "uncollectible")


@dataclass
class CreditNoteResult:
    """The credit note that was issued, and those that Stripe was given."""

    where: str
    invoice_id: str
    credit_note_id: str = ""
    amount: Decimal = Decimal(0)
    currency: str = ""
    lines: list[Row] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    """Ids of the credit notes that Stripe has now, those that an earlier run left over included."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = ("service_period", "line_type", "plan_id", "meter_id", "quantity", "unit", "amount", "description")
        return {
            "where": self.where,
            "invoice_id": self.invoice_id,
            "credit_note_id": self.credit_note_id,
            "amount": str(self.amount),
            "currency": self.currency,
            "lines": [{name: line[name] for name in shown} for line in self.lines],
            "published": self.published,
        }


def issue_credit_note(
    home: Home,
    invoice_id: str,
    *,
    by: str,
    memo: str = "",
    settlement: Settlement = "balance",
    client: StripeConnection | None = None,
    allow_live: bool = False,
) -> CreditNoteResult:
    """Credit on an invoice what the drafts would correct of its month, and give the note to Stripe.

    `settlement`: where the money of a paid invoice goes: the customer's balance in Stripe, a refund, or outside of Stripe.
    Credit notes that an earlier run could not deliver are delivered first. Raises BillhouseError where there is nothing to
    credit, where Stripe does not have the invoice, and where more would be credited than was charged on it.
    """
    require_verified_ledger(home)
    closed = _closed_invoice(home, invoice_id)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection, told_plainly():
        result = CreditNoteResult(connection.where, invoice_id, currency=closed["currency"])
        stripe_invoice_id = _published_as(home, invoice_id, is_live=connection.is_live)
        with open_outbox(home, is_live=connection.is_live) as outbox:
            steps = Steps(connection, outbox)
            result.published += _publish_pending(home, steps)
            with home.writing():
                _build_where_needed(home)
                lines = _corrections(home, closed)
                result.amount = -sum((line["amount"] for line in lines), Decimal(0))
                if result.amount <= 0:
                    if result.published:
                        return result
                    raise BillhouseError(
                        f"{invoice_id} bills no more than what is due: there is nothing to credit.",
                        "Land the correction and build first. To forgive what is due, land a goodwill credit grant.",
                    )
                _refuse_too_much(connection, stripe_invoice_id, result.amount, closed)
                own = {
                    "livemode": connection.is_live,
                    "invoice_id": invoice_id,
                    "stripe_invoice_id": stripe_invoice_id,
                    "minor_unit_digits": closed["minor_unit_digits"],
                    "memo": memo,
                    "settlement": settlement,
                    "issued_by": by,
                    "issued_at": datetime.now(UTC),
                }
                result.lines = [line | own for line in lines]
                result.credit_note_id = write_credit_note(home, result.lines)
            result.published += _publish_pending(home, steps)
    return result


def _closed_invoice(home: Home, invoice_id: str) -> Row:
    for period in reversed(closed_periods(home)):
        for row in read_close(home, period, "invoices").to_pylist():
            if row["invoice_id"] == invoice_id:
                found: Row = row
                return found
    raise BillhouseError(f"There is no closed invoice {invoice_id}.", "billhouse invoices lists what there is.")


def _published_as(home: Home, invoice_id: str, *, is_live: bool) -> str:
    for row in PUBLICATIONS.read(home).to_pylist():
        if row["invoice_id"] == invoice_id and row["livemode"] == is_live:
            return str(row["stripe_invoice_id"])
    raise BillhouseError(
        f"Stripe does not have {invoice_id}.", "Publish it first; what is not published is corrected by the next invoice."
    )


def _build_where_needed(home: Home) -> None:
    record = last_build(home)
    if record is None:
        raise BillhouseError("Nothing has been built yet.", "Build first: billhouse build")
    if not is_current(home, record.as_of):
        build(home, record.as_of)


def _corrections(home: Home, closed: Row) -> list[Row]:
    """What the drafts would correct of the invoice's month, in its currency: both the less and the more."""
    with open_warehouse(home) as warehouse:
        result = warehouse.execute(
            "select customer_id, service_period, line_type, plan_id, meter_id, rate_id, quantity, billable_quantity, unit,"
            " unit_amount, amount, currency, description from invoicing.draft_invoice_lines"
            " where customer_id = $customer and currency = $currency and service_period = $period and is_adjustment"
            " order by period, line_number",
            {"customer": closed["customer_id"], "currency": closed["currency"], "period": closed["period"]},
        )
        return rows_as_dictionaries(result)


def _refuse_too_much(connection: StripeConnection, stripe_invoice_id: str, amount: Decimal, closed: Row) -> None:
    there = connection.call(connection.client.v1.invoices.retrieve, stripe_invoice_id)
    if there.status not in _CREDITABLE:
        raise BillhouseError(
            f"The invoice is {there.status} in Stripe, and takes no credit note.", "The next invoice corrects it."
        )
    notes = connection.call(
        lambda: list(connection.client.v1.credit_notes.list({"invoice": stripe_invoice_id, "limit": PAGE}).auto_paging_iter())
    )
    # Without tax: a credit note of ours gives back none.
    left = total_without_tax(there) - sum(total_without_tax(note) for note in notes if note.status == "issued")
    currency = closed["currency"]
    if to_stripe(amount, currency) > left:
        charged = format_amount(from_stripe(left, currency), currency)
        raise BillhouseError(
            f"{format_money(amount, currency)} would be credited, and only {charged} of it was charged: the rest was paid with"
            " credit.",
            f"The next invoice gives the credit back: close {BillingPeriod.parse(closed['period']).next()} in its time.",
        )


def _publish_pending(home: Home, steps: Steps) -> list[str]:
    """Give Stripe the credit notes that it does not have yet, as far as the outbox knows."""
    delivered = steps.outbox.delivered("credit_note")
    published = []
    for credit_note_id, lines in sorted(read_credit_notes(home).items()):
        if lines[0]["livemode"] != steps.connection.is_live or credit_note_id in delivered:
            continue
        try:
            steps.until_done(lambda attempt, id=credit_note_id, lines=lines: _deliver(steps, id, lines, attempt))  # type: ignore[misc]
        except stripe.StripeError as error:
            raise BillhouseError(
                f"{credit_note_id} is issued, and Stripe refused it: {told(error)}", "Put that right, and call this again."
            ) from error
        except BillhouseError as error:
            error.message = f"{credit_note_id} is issued, and Stripe does not have it yet: {error.message}"
            raise
        published.append(credit_note_id)
    return published


def _deliver(steps: Steps, credit_note_id: str, lines: list[Row], attempt: int) -> None:
    first = lines[0]
    service = steps.connection.client.v1.credit_notes
    there = steps.connection.call(
        lambda: list(service.list({"invoice": first["stripe_invoice_id"], "limit": PAGE}).auto_paging_iter())
    )
    for note in there:
        if metadata_of(note).get("billhouse_credit_note_id") == credit_note_id:
            steps.outbox.record(credit_note_id, "credit_note", "found", stripe_id=str(note.id))
            return
    invoice = steps.connection.call(steps.connection.client.v1.invoices.retrieve, first["stripe_invoice_id"])
    key = idempotency_key(steps.connection, "credit_note", credit_note_id, attempt)
    params = credit_note_request(credit_note_id, lines, is_paid=invoice.status == "paid")
    steps.take(credit_note_id, "credit_note", key, service.create, params)


def credit_note_request(credit_note_id: str, lines: list[Row], *, is_paid: bool) -> Row:
    """POST /v1/credit_notes. One line: a credit note takes no line that adds, and a correction may both lessen and add."""
    first = lines[0]
    amount = to_stripe(-sum((line["amount"] for line in lines), Decimal(0)), first["currency"])
    params: Row = {
        "invoice": first["stripe_invoice_id"],
        "lines": [
            {
                "type": "custom_line_item",
                "description": f"Correction of {first['service_period']}",
                "quantity": 1,
                "unit_amount": amount,
            }
        ],
        "reason": "order_change",
        "metadata": {"billhouse_credit_note_id": credit_note_id, "billhouse_invoice_id": first["invoice_id"]},
    }
    if first["memo"]:
        params["memo"] = first["memo"]
    if is_paid:
        params[_SETTLED_BY[first["settlement"]]] = amount
    return params
