"""Publishes closed invoices to Stripe: customer, draft, lines, a look at every line, finalize, send. Each exactly once.

Before anything is created, Stripe is asked what is there: customers and invoices carry our ids in their metadata, so a run
that was cut off is continued and never doubled, however old. Idempotency keys make each single request safe besides; where
Stripe remembers a failure under one, what is there is looked at again and the step is taken under a new key.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Lock
from typing import Any, Literal, get_args

import stripe

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.ledger.approvals import approve_automatically
from pipeline.ledger.closed_invoices import ClosedInvoice, Row, closed_invoices
from pipeline.ledger.verify import require_verified_ledger
from pipeline.pricebook.stripe_currencies import from_stripe
from pipeline.store.append import finish_interrupted
from pipeline.store.approvals import approved_invoices
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.publications import published_invoices
from pipeline.stripe.client import StripeConnection, connect, is_replayed
from pipeline.stripe.existing import PAGE, ExistingCustomers, ExistingInvoices, metadata_of
from pipeline.stripe.outbox import Outbox, open_outbox
from pipeline.stripe.requests import (
    content_hash,
    customer_request,
    invoice_request,
    line_requests,
    refused_address,
    total_request,
    total_without_tax,
)
from pipeline.stripe.steps import HopelessError, LookAgainError, Steps, StripeFailedError, idempotency_key, told, told_plainly

MOST_FAILURES_IN_A_ROW = 16
"""After so many invoices that Stripe itself failed for, each asked for minutes, the run ends; another one goes on from there."""
_WORKERS = 8
_LINES_AT_ONCE = 100
_LOOK_AT = "Look in Stripe at its lines, at taxes that are included in its prices, and at discounts."
_EVENT_DAYS = timedelta(days=30)
"""How long Stripe tells of a mail that was sent."""


Outcome = Literal["published", "already_published", "not_approved", "not_collected", "failed"]


@dataclass
class PublishResult:
    """What became of each invoice of the period."""

    period: BillingPeriod
    where: str
    is_dry_run: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(Outcome), 0))
    amounts: dict[str, Decimal] = field(default_factory=dict)
    """Sum of the totals now in Stripe, by currency."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What was left out of invoices that were published."""
    requests: list[Row] = field(default_factory=list)
    """What a dry run would send."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {
            "period": str(self.period),
            "where": self.where,
            "dry_run": self.is_dry_run,
            **self.counts,
            "amounts": {currency: str(amount) for currency, amount in self.amounts.items()},
            "problems": [vars(problem) for problem in self.problems],
            "warnings": [vars(warning) for warning in self.warnings],
        }
        return told | ({"requests": self.requests} if self.is_dry_run else {})


def publish_period(
    home: Home,
    period: BillingPeriod,
    *,
    dry_run: bool = False,
    client: StripeConnection | None = None,
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the period's approved invoices; one that fails is reported, and the others go on.

    Not published: what nobody approved, and invoices of plans that collect nothing. `dry_run` lists the requests and sends
    none. Raises BillhouseError where the period is not closed, for a key that may not be used, and where Stripe refuses the
    key or cannot be reached.
    """
    finish_interrupted(home)
    if period not in closed_periods(home):
        raise BillhouseError(f"{period} is not closed, and only closed invoices are published.", f"billhouse close {period}")
    require_verified_ledger(home)
    if not dry_run:
        approve_automatically(home, period)
    approved = approved_invoices(home)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection:
        result = PublishResult(period, connection.where, dry_run)
        if dry_run:
            published = published_invoices(home, is_live=connection.is_live)
            _take(home, result, approved, published, lambda closed, _: _list_requests(result, closed), on_progress)
            return result
        with open_outbox(home, is_live=connection.is_live) as outbox:
            published = published_invoices(home, is_live=connection.is_live)
            publisher = _Publisher(home, connection, outbox, period)
            _take(home, result, approved, published, publisher.publish, on_progress)
    return result


def _take(
    home: Home,
    result: PublishResult,
    approved: frozenset[str],
    published: frozenset[str],
    publish: Callable[[ClosedInvoice, PublishResult], Outcome],
    on_progress: OnProgress | None,
) -> None:
    """Every invoice of the month, several at once; those of one customer one after the other."""
    lock = Lock()
    done, total = 0, read_close(home, result.period, "invoices").num_rows

    def take(invoices: list[ClosedInvoice]) -> None:
        nonlocal done
        for closed in invoices:
            if not closed.is_collected:
                outcome: Outcome = "not_collected"
            elif closed.invoice_id in published:
                outcome = "already_published"
            elif closed.invoice_id not in approved:
                outcome = "not_approved"
            else:
                outcome = publish(closed, result)
            with lock:
                done += 1
                result.counts[outcome] += 1
                if outcome in ("published", "already_published"):
                    currency = closed.invoice["currency"]
                    result.amounts[currency] = result.amounts.get(currency, Decimal(0)) + closed.invoice["total_amount"]
                if on_progress is not None:
                    on_progress(closed.invoice_id, done, total)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for batch in closed_invoices(home, result.period):
            by_customer: dict[str, list[ClosedInvoice]] = {}
            for closed in batch:
                by_customer.setdefault(closed.customer_id, []).append(closed)
            try:
                for _ in pool.map(take, by_customer.values()):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    result.problems.sort(key=lambda problem: problem.file)
    result.warnings.sort(key=lambda warning: warning.file)


class _Publisher:
    """One run over a period's invoices."""

    def __init__(self, home: Home, connection: StripeConnection, outbox: Outbox, period: BillingPeriod) -> None:
        self._connection = connection
        self._stripe = connection.client.v1
        self._outbox = outbox
        self._steps = Steps(connection, outbox)
        closed_at = read_close(home, period, "close")["closed_at"][0].as_py()
        with told_plainly():
            self._invoices = ExistingInvoices(connection, min(closed_at, datetime.now(UTC)))
        self._customers = ExistingCustomers(home, self._steps)
        self._sent = outbox.delivered("send")
        self._failures_in_a_row = 0

    def publish(self, closed: ClosedInvoice, result: PublishResult) -> Outcome:
        """Publish one invoice, or say why not. Raises HopelessError for what would fail for every invoice."""
        try:
            line_requests(closed)  # what cannot be published creates no draft
            self._steps.until_done(lambda attempt: self._advance(closed, attempt))
        except HopelessError:
            raise
        except StripeFailedError as error:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
                raise HopelessError(
                    f"Stripe has failed for {MOST_FAILURES_IN_A_ROW} invoices in a row: {error.message}", error.next_step
                ) from error
            result.problems.append(_problem(closed, error))
            return "failed"
        except OSError:  # the disk of the outbox, and no invoice's own
            raise
        except Exception as error:
            # What one invoice's data make fail must not keep the others from being published.
            result.problems.append(_problem(closed, error))
            return "failed"
        self._failures_in_a_row = 0
        _warn(closed, result)
        return "published"

    def _advance(self, closed: ClosedInvoice, attempt: int) -> None:
        """From whatever is there to the end."""
        customer = self._customers.id_of(closed, attempt)
        invoice = self._invoices.find(closed, customer, look_again=attempt > 1)
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
        """A draft, and whether it is new: Stripe may only remember having created it, and it was finished since, or deleted."""
        key = self._key(closed, "draft", attempt)
        draft = self._steps.take(closed.invoice_id, "draft", key, self._stripe.invoices.create, invoice_request(closed, customer))
        if not is_replayed(draft):
            return draft, True
        try:
            return self._connection.call(self._stripe.invoices.retrieve, str(draft.id)), False
        except stripe.InvalidRequestError as error:
            raise LookAgainError from error

    def _put_lines(self, closed: ClosedInvoice, draft: stripe.Invoice, attempt: int) -> None:
        """Adds the lines that are not there yet, then holds every line and the total against ours."""
        there = self._lines_there(closed, draft)
        missing = [line for part_id, line in line_requests(closed).items() if part_id not in there]
        for first in range(0, len(missing), _LINES_AT_ONCE):
            lines = {"lines": missing[first : first + _LINES_AT_ONCE]}
            key = self._key(closed, f"lines/{draft.id}/{len(there) + first}", attempt)
            draft = self._steps.take(closed.invoice_id, "lines", key, self._stripe.invoices.add_lines, str(draft.id), lines)
        if is_replayed(draft):
            draft = self._connection.call(self._stripe.invoices.retrieve, str(draft.id))
        self._compare(closed, draft)

    def _lines_there(self, closed: ClosedInvoice, found: stripe.Invoice) -> set[str]:
        """Our ids of the lines that Stripe has. Raises BillhouseError for one that is not as ours, or there twice."""
        lines = found.lines.data
        if found.lines.has_more:
            lines = self._connection.call(
                lambda: list(self._stripe.invoices.line_items.list(str(found.id), {"limit": PAGE}).auto_paging_iter())
            )
        ours = {part_id: line["amount"] for part_id, line in line_requests(closed).items()}
        there: set[str] = set()
        for line in lines:
            part_id = metadata_of(line).get("billhouse_line_id", "")
            if ours.get(part_id) != line.amount or part_id in there:
                raise BillhouseError(
                    f"{found.id} holds a line of {line.amount} that is not ours ({line.description}): it stays a {found.status}.",
                    "Remove the line in Stripe, or delete the draft.",
                )
            there.add(part_id)
        return there

    def _compare(self, closed: ClosedInvoice, found: stripe.Invoice) -> None:
        """Raises BillhouseError where a line or the total without tax is not ours."""
        if self._lines_there(closed, found) != line_requests(closed).keys() or total_without_tax(found) != total_request(closed):
            raise BillhouseError(f"{_totals(closed, found)}: {found.id} stays a {found.status}.", _LOOK_AT)

    def _finalize(self, closed: ClosedInvoice, draft: stripe.Invoice, attempt: int) -> stripe.Invoice:
        key, params = self._key(closed, f"finalize/{draft.id}", attempt), {"auto_advance": False}
        finalized: stripe.Invoice = self._steps.take(
            closed.invoice_id, "finalize", key, self._stripe.invoices.finalize_invoice, str(draft.id), params
        )
        if total_without_tax(finalized) != total_request(closed):
            raise BillhouseError(
                f"{finalized.id} was changed as it was finalized. {_totals(closed, finalized)}.", "Void it in Stripe."
            )
        return finalized

    def _send(self, closed: ClosedInvoice, invoice: stripe.Invoice, attempt: int, *, is_new: bool) -> None:
        """Mail it, once: where an earlier run may have done so, Stripe's events tell."""
        if not is_new and self._was_sent(invoice):
            self._outbox.record(closed.invoice_id, "send", "found", stripe_id=str(invoice.id))
            return
        key = self._key(closed, f"send/{invoice.id}", attempt)
        self._steps.take(closed.invoice_id, "send", key, self._stripe.invoices.send_invoice, str(invoice.id), {})

    def _was_sent(self, invoice: stripe.Invoice) -> bool:
        finalized_at = invoice.status_transitions.finalized_at or invoice.created
        if datetime.now(UTC) - datetime.fromtimestamp(finalized_at, UTC) > _EVENT_DAYS:
            return True  # Stripe tells no more; whoever still needs the mail sends it from the dashboard
        asked: Any = {"type": "invoice.sent", "created": {"gte": finalized_at}, "limit": PAGE}
        events = self._connection.call(lambda: list(self._stripe.events.list(asked).auto_paging_iter()))
        return any(event.data.object["id"] == invoice.id for event in events)

    def _key(self, closed: ClosedInvoice, step: str, attempt: int) -> str:
        """The same step of the same content has the same key, in whatever run; test and live never share one."""
        return idempotency_key(self._connection, closed.invoice_id, content_hash(closed), step, attempt)


def _problem(closed: ClosedInvoice, error: Exception) -> Problem:
    return Problem(closed.invoice_id, None, f"was not published: {told(error)}", "Publish again: what is there is continued.")


def _warn(closed: ClosedInvoice, result: PublishResult) -> None:
    address = refused_address(closed)
    if address and not closed.invoice["stripe_customer_id"]:
        reason = f"is published without the e-mail address {address[:80]!r}, which Stripe would refuse."
        result.warnings.append(
            Problem(closed.invoice_id, None, reason, f"Land a customer record of {closed.customer_id!r} with a valid address.")
        )


def _totals(closed: ClosedInvoice, found: stripe.Invoice) -> str:
    currency = closed.invoice["currency"]
    theirs, ours = from_stripe(total_without_tax(found), currency), closed.invoice["total_amount"]
    return f"Stripe's total without tax is {format_money(theirs, currency)}, ours is {format_money(ours, currency)}"


def _list_requests(result: PublishResult, closed: ClosedInvoice) -> Outcome:
    _warn(closed, result)
    customer = closed.invoice["stripe_customer_id"] or f"<customer of {closed.customer_id}>"
    try:
        lines = list(line_requests(closed).values())
    except BillhouseError as error:
        result.problems.append(_problem(closed, error))
        return "failed"
    requests = [("/v1/customers", customer_request(closed))] if customer.startswith("<") else []
    requests += [
        ("/v1/invoices", invoice_request(closed, customer)),
        ("/v1/invoices/<the draft>/add_lines", {"lines": lines}),
        ("/v1/invoices/<the draft>/finalize", {"auto_advance": False}),
    ]
    if closed.total:
        requests.append(("/v1/invoices/<the draft>/send", {}))
    result.requests += [
        {"invoice_id": closed.invoice_id, "method": "POST", "path": path, "params": params} for path, params in requests
    ]
    return "published"
