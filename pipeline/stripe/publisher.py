"""Publishes one closed invoice: customer, draft, lines, comparison, finalize, send. Each step exactly once.

Before an object is created, Stripe is asked for it: customers and invoices carry our ids in their metadata, so an interrupted run
is continued, however old it is. Idempotency keys make single requests safe to repeat. If Stripe has stored a failure under a key,
the state in Stripe is read again and the step is repeated under a new key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.closed_invoices import ClosedInvoice
from pipeline.pricebook.stripe_currencies import from_stripe
from pipeline.store.closes import read_close
from pipeline.stripe.client import StripeConnection, is_replayed
from pipeline.stripe.existing import PAGE, ExistingCustomers, ExistingInvoices, metadata_of
from pipeline.stripe.outbox import Outbox
from pipeline.stripe.publish_result import Outcome, PublishResult
from pipeline.stripe.requests import content_hash, invoice_request, line_requests, total_request, total_without_tax
from pipeline.stripe.steps import (
    AmbiguousOutcomeError,
    FatalStripeError,
    StepRunner,
    StripeFailedError,
    idempotency_key,
    translate_stripe_errors,
)

MAX_CONSECUTIVE_FAILURES = 16
"""The run ends after Stripe itself failed for so many invoices in a row, each retried for minutes; the next run continues it."""
_LINES_PER_REQUEST = 100
_EVENT_DAYS = timedelta(days=30)
"""How long Stripe lists the event of a sent invoice."""


class InvoicePublisher:
    """Publishes the invoices of one run. Thread-safe for invoices of different customers."""

    def __init__(self, home: Home, connection: StripeConnection, outbox: Outbox, period: BillingPeriod) -> None:
        self._connection = connection
        self._stripe = connection.client.v1
        self._outbox = outbox
        self._steps = StepRunner(connection, outbox)
        closed_at = read_close(home, period, "close")["closed_at"][0].as_py()
        with translate_stripe_errors():
            self._invoices = ExistingInvoices(connection, min(closed_at, datetime.now(UTC)))
        self._customers = ExistingCustomers(home, self._steps)
        self._sent = outbox.delivered("send")
        self._consecutive_failures = 0

    def publish(self, closed: ClosedInvoice, result: PublishResult) -> Outcome:
        """Publish one invoice, or report why not. Raises FatalStripeError for an error that every invoice would meet."""
        try:
            line_requests(closed)  # before a draft is created: an invoice that Stripe cannot represent gets none
            self._steps.run_until_done(lambda attempt: self._advance(closed, attempt))
        except FatalStripeError:
            raise
        except StripeFailedError as error:
            self._consecutive_failures += 1
            if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
                raise FatalStripeError(
                    f"Stripe has failed for {MAX_CONSECUTIVE_FAILURES} invoices in a row: {error.message}", error.next_step
                ) from error
            result.add_problem(closed, error)
            return "failed"
        except OSError:  # the disk of the outbox: every invoice would meet it
            raise
        except Exception as error:
            # An error caused by one invoice's data must not keep the others from being published.
            result.add_problem(closed, error)
            return "failed"
        self._consecutive_failures = 0
        result.warn_of_address(closed)
        return "published"

    def _advance(self, closed: ClosedInvoice, attempt: int) -> None:
        """Take the invoice from its current state in Stripe to the last step."""
        customer = self._customers.id_of(closed, attempt)
        invoice = self._invoices.find(closed, customer, refresh=attempt > 1)
        is_new = False
        if invoice is None:
            invoice, is_new = self._create_draft(closed, customer, attempt)
        else:
            self._outbox.record(closed.invoice_id, "draft", "found", stripe_id=str(invoice.id))
        if invoice.status == "draft":
            self._put_lines(closed, invoice, attempt)
            invoice = self._finalize(closed, invoice, attempt)
        else:
            self._compare(closed, invoice)
        if invoice.status == "open" and closed.invoice_id not in self._sent:
            self._send(closed, invoice, attempt, is_new=is_new)
        self._outbox.published(
            {
                "invoice_id": closed.invoice_id,
                "period": closed.invoice["period"],
                "customer_id": closed.customer_id,
                "livemode": self._connection.is_live,
                "stripe_customer_id": customer,
                "stripe_invoice_id": invoice.id,
                "stripe_invoice_number": invoice.number,
                "status": invoice.status,
                "total_amount": closed.invoice["total_amount"],
                "currency": closed.invoice["currency"],
                "hosted_invoice_url": invoice.hosted_invoice_url,
                "content_hash": content_hash(closed),
                "published_at": datetime.now(UTC),
            }
        )

    def _create_draft(self, closed: ClosedInvoice, customer: str, attempt: int) -> tuple[stripe.Invoice, bool]:
        """A draft, and whether it is new: a replayed response can be of a draft that was finalized or deleted since."""
        key = self._key(closed, "draft", attempt)
        draft = self._steps.run(closed.invoice_id, "draft", key, self._stripe.invoices.create, invoice_request(closed, customer))
        if not is_replayed(draft):
            return draft, True
        try:
            return self._connection.call(self._stripe.invoices.retrieve, str(draft.id)), False
        except stripe.InvalidRequestError as error:
            raise AmbiguousOutcomeError from error

    def _put_lines(self, closed: ClosedInvoice, draft: stripe.Invoice, attempt: int) -> None:
        """Add the missing lines, then compare all lines and the total with ours."""
        existing = self._existing_lines(closed, draft)
        missing = [line for part_id, line in line_requests(closed).items() if part_id not in existing]
        for first in range(0, len(missing), _LINES_PER_REQUEST):
            lines = {"lines": missing[first : first + _LINES_PER_REQUEST]}
            key = self._key(closed, f"lines/{draft.id}/{len(existing) + first}", attempt)
            draft = self._steps.run(closed.invoice_id, "lines", key, self._stripe.invoices.add_lines, str(draft.id), lines)
        if is_replayed(draft):
            draft = self._connection.call(self._stripe.invoices.retrieve, str(draft.id))
        self._compare(closed, draft)

    def _existing_lines(self, closed: ClosedInvoice, invoice: stripe.Invoice) -> set[str]:
        """Our ids of the lines in Stripe. Raises BillhouseError for a line that is not ours, differs, or is repeated."""
        lines = invoice.lines.data
        if invoice.lines.has_more:
            lines = self._connection.call(
                lambda: list(self._stripe.invoices.line_items.list(str(invoice.id), {"limit": PAGE}).auto_paging_iter())
            )
        amounts = {part_id: line["amount"] for part_id, line in line_requests(closed).items()}
        existing: set[str] = set()
        for line in lines:
            part_id = metadata_of(line).get("billhouse_line_id", "")
            if amounts.get(part_id) != line.amount or part_id in existing:
                raise BillhouseError(
                    f"{invoice.id} holds a line of {line.amount} that is not ours ({line.description}):"
                    f" it stays a {invoice.status}.",
                    "Remove the line in Stripe, or delete the draft.",
                )
            existing.add(part_id)
        return existing

    def _compare(self, closed: ClosedInvoice, invoice: stripe.Invoice) -> None:
        """Raises BillhouseError if a line or the total without tax differs from ours."""
        has_our_lines = self._existing_lines(closed, invoice) == line_requests(closed).keys()
        if not has_our_lines or total_without_tax(invoice) != total_request(closed):
            raise BillhouseError(
                f"{_totals(closed, invoice)}: {invoice.id} stays a {invoice.status}.",
                "Check in Stripe its lines, taxes that are included in prices, and discounts.",
            )

    def _finalize(self, closed: ClosedInvoice, draft: stripe.Invoice, attempt: int) -> stripe.Invoice:
        key, params = self._key(closed, f"finalize/{draft.id}", attempt), {"auto_advance": False}
        finalized: stripe.Invoice = self._steps.run(
            closed.invoice_id, "finalize", key, self._stripe.invoices.finalize_invoice, str(draft.id), params
        )
        if total_without_tax(finalized) != total_request(closed):
            raise BillhouseError(
                f"{finalized.id} was changed while it was finalized. {_totals(closed, finalized)}.", "Void it in Stripe."
            )
        return finalized

    def _send(self, closed: ClosedInvoice, invoice: stripe.Invoice, attempt: int, *, is_new: bool) -> None:
        """E-mail it once: if an earlier run may have done so, Stripe's events are checked first."""
        if not is_new and self._was_sent(invoice):
            self._outbox.record(closed.invoice_id, "send", "found", stripe_id=str(invoice.id))
            return
        key = self._key(closed, f"send/{invoice.id}", attempt)
        self._steps.run(closed.invoice_id, "send", key, self._stripe.invoices.send_invoice, str(invoice.id), {})

    def _was_sent(self, invoice: stripe.Invoice) -> bool:
        finalized_at = invoice.status_transitions.finalized_at or invoice.created
        if datetime.now(UTC) - datetime.fromtimestamp(finalized_at, UTC) > _EVENT_DAYS:
            return True  # the event is no longer listed; a missing e-mail can be sent from Stripe's dashboard
        params: Any = {"type": "invoice.sent", "created": {"gte": finalized_at}, "limit": PAGE}
        events = self._connection.call(lambda: list(self._stripe.events.list(params).auto_paging_iter()))
        return any(event.data.object["id"] == invoice.id for event in events)

    def _key(self, closed: ClosedInvoice, step: str, attempt: int) -> str:
        """The same step of the same content has the same key in any run."""
        return idempotency_key(self._connection, closed.invoice_id, content_hash(closed), step, attempt)


def _totals(closed: ClosedInvoice, invoice: stripe.Invoice) -> str:
    currency = closed.invoice["currency"]
    theirs, ours = from_stripe(total_without_tax(invoice), currency), closed.invoice["total_amount"]
    return f"Stripe's total without tax is {format_money(theirs, currency)}, ours is {format_money(ours, currency)}"
