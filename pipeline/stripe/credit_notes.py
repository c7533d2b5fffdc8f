"""Credit notes: credit the amount that an invoice in Stripe billed in excess of the due amount.

A credit note is first written to the ledger, where its negative lines count as billed, so that the next invoice does not make the
same correction. Then it is sent to Stripe, exactly once. To forgive an amount that is due, use a goodwill credit grant: a credit
note for it would be billed again by the next invoice.
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
from pipeline.stripe.steps import StepRunner, error_message, idempotency_key, translate_stripe_errors
from pipeline.warehouse.build import build
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.connection import open_warehouse

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
    """The credit note that was issued, and the credit notes that were sent to Stripe."""

    where: str
    invoice_id: str
    credit_note_id: str = ""
    amount: Decimal = Decimal(0)
    currency: str = ""
    lines: list[Row] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    """Ids of the credit notes that this run sent to Stripe, including those that an earlier run issued but did not send."""
    issued_before: list[str] = field(default_factory=list)
    """Ids of the invoice's credit notes of earlier runs, if there is nothing more to credit."""

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
            "issued_before": self.issued_before,
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
    """Issue a credit note for the corrections to the invoice's month that the drafts contain, and send it to Stripe.

    `settlement`: where the money of a paid invoice goes: to the customer's balance in Stripe, as a refund, or outside of Stripe.
    Credit notes that an earlier run issued but could not send are sent first. A repeated call changes nothing and returns the
    earlier credit notes. Raises BillhouseError if the invoice never had anything to credit, if Stripe does not have the
    invoice, or if the credit would exceed the amount charged.
    """
    require_verified_ledger(home)
    closed = _closed_invoice(home, invoice_id)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection, translate_stripe_errors():
        result = CreditNoteResult(connection.where, invoice_id, currency=closed["currency"])
        stripe_invoice_id = _published_as(home, invoice_id, is_live=connection.is_live)
        with open_outbox(home, is_live=connection.is_live) as outbox:
            steps = StepRunner(connection, outbox)
            result.published += _publish_pending(home, steps)
            with home.writing():
                _build_if_outdated(home)
                lines = _corrections(home, closed)
                result.amount = -sum((line["amount"] for line in lines), Decimal(0))
                if result.amount <= 0:
                    result.issued_before = _issued_for(home, invoice_id, is_live=connection.is_live)
                    result.amount = Decimal(0)
                    if result.published or result.issued_before:
                        return result
                    raise BillhouseError(
                        f"Nothing to credit: {invoice_id} billed no more than is due.",
                        "Land the correction and build first. To forgive an amount that is due, land a goodwill credit grant.",
                    )
                _require_creditable(connection, stripe_invoice_id, result.amount, closed)
                common_columns = {
                    "livemode": connection.is_live,
                    "invoice_id": invoice_id,
                    "stripe_invoice_id": stripe_invoice_id,
                    "minor_unit_digits": closed["minor_unit_digits"],
                    "memo": memo,
                    "settlement": settlement,
                    "issued_by": by,
                    "issued_at": datetime.now(UTC),
                }
                result.lines = [line | common_columns for line in lines]
                result.credit_note_id = write_credit_note(home, result.lines)
            result.published += _publish_pending(home, steps)
    return result


def _issued_for(home: Home, invoice_id: str, *, is_live: bool) -> list[str]:
    notes = read_credit_notes(home).items()
    return [id for id, lines in notes if (lines[0]["invoice_id"], lines[0]["livemode"]) == (invoice_id, is_live)]


def _closed_invoice(home: Home, invoice_id: str) -> Row:
    for period in reversed(closed_periods(home)):
        for row in read_close(home, period, "invoices").to_pylist():
            if row["invoice_id"] == invoice_id:
                found: Row = row
                return found
    raise BillhouseError(f"There is no closed invoice {invoice_id}.", "List the invoices: billhouse invoices")


def _published_as(home: Home, invoice_id: str, *, is_live: bool) -> str:
    for row in PUBLICATIONS.read(home).to_pylist():
        if row["invoice_id"] == invoice_id and row["livemode"] == is_live:
            return str(row["stripe_invoice_id"])
    raise BillhouseError(
        f"Stripe does not have {invoice_id}.", "Publish it first. The next invoice corrects an invoice that is not published."
    )


def _build_if_outdated(home: Home) -> None:
    record = last_build(home)
    if record is None:
        raise BillhouseError("Nothing has been built yet.", "Build first: billhouse build")
    if not is_current(home, record.as_of):
        build(home, record.as_of)


def _corrections(home: Home, closed: Row) -> list[Row]:
    """The adjustment lines of the drafts for the invoice's month and currency, negative and positive."""
    with open_warehouse(home) as warehouse:
        result = warehouse.execute(
            "select customer_id, service_period, line_type, plan_id, meter_id, rate_id, quantity, billable_quantity, unit,"
            " unit_amount, amount, currency, description from invoicing.draft_invoice_lines"
            " where customer_id = $customer and currency = $currency and service_period = $period and is_adjustment"
            " order by period, line_number",
            {"customer": closed["customer_id"], "currency": closed["currency"], "period": closed["period"]},
        )
        return rows_as_dictionaries(result)


def _require_creditable(connection: StripeConnection, stripe_invoice_id: str, amount: Decimal, closed: Row) -> None:
    invoice = connection.call(connection.client.v1.invoices.retrieve, stripe_invoice_id)
    if invoice.status not in _CREDITABLE:
        raise BillhouseError(
            f"The invoice is {invoice.status} in Stripe, which accepts no credit note for it.", "The next invoice corrects it."
        )
    notes = connection.call(
        lambda: list(connection.client.v1.credit_notes.list({"invoice": stripe_invoice_id, "limit": PAGE}).auto_paging_iter())
    )
    # Without tax: our credit notes credit no tax.
    left = total_without_tax(invoice) - sum(total_without_tax(note) for note in notes if note.status == "issued")
    currency = closed["currency"]
    if to_stripe(amount, currency) > left:
        charged = format_amount(from_stripe(left, currency), currency)
        raise BillhouseError(
            f"The credit note would be {format_money(amount, currency)}, but only {charged} was charged: the rest was paid with"
            " credits.",
            f"The next invoice restores the credits: close {BillingPeriod.parse(closed['period']).next()} when it is over.",
        )


def _publish_pending(home: Home, steps: StepRunner) -> list[str]:
    """Send the credit notes that the outbox does not record as sent; return their ids."""
    delivered = steps.outbox.delivered("credit_note")
    published = []
    for credit_note_id, lines in sorted(read_credit_notes(home).items()):
        if lines[0]["livemode"] != steps.connection.is_live or credit_note_id in delivered:
            continue
        try:
            steps.run_until_done(lambda attempt, id=credit_note_id, lines=lines: _deliver(steps, id, lines, attempt))  # type: ignore[misc]
        except stripe.StripeError as error:
            raise BillhouseError(
                f"{credit_note_id} is issued, but Stripe refused it: {error_message(error)}",
                "Correct the cause, then run this again.",
            ) from error
        except BillhouseError as error:
            error.message = f"{credit_note_id} is issued, but not yet in Stripe: {error.message}"
            raise
        published.append(credit_note_id)
    return published


def _deliver(steps: StepRunner, credit_note_id: str, lines: list[Row], attempt: int) -> None:
    first = lines[0]
    service = steps.connection.client.v1.credit_notes
    existing = steps.connection.call(
        lambda: list(service.list({"invoice": first["stripe_invoice_id"], "limit": PAGE}).auto_paging_iter())
    )
    for note in existing:
        if metadata_of(note).get("billhouse_credit_note_id") == credit_note_id:
            steps.outbox.record(credit_note_id, "credit_note", "found", stripe_id=str(note.id))
            return
    invoice = steps.connection.call(steps.connection.client.v1.invoices.retrieve, first["stripe_invoice_id"])
    key = idempotency_key(steps.connection, "credit_note", credit_note_id, attempt)
    params = credit_note_request(credit_note_id, lines, is_paid=invoice.status == "paid")
    steps.run(credit_note_id, "credit_note", key, service.create, params)


def credit_note_request(credit_note_id: str, lines: list[Row], *, is_paid: bool) -> Row:
    """POST /v1/credit_notes. One line: Stripe accepts no positive and negative lines in one credit note."""
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
