"""Publishes the approved invoices of a closed period to Stripe, or lists the requests. One invoice: pipeline.stripe.publisher."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from decimal import Decimal
from threading import Lock

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.ledger.approvals import approve_automatically
from pipeline.ledger.closed_invoices import ClosedInvoice, closed_invoices
from pipeline.ledger.verify import require_verified_ledger
from pipeline.store.append import finish_interrupted
from pipeline.store.approvals import approved_invoices
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.publications import published_invoices
from pipeline.stripe.client import StripeConnection, connect
from pipeline.stripe.outbox import open_outbox
from pipeline.stripe.publish_result import Outcome, PublishResult, list_requests
from pipeline.stripe.publisher import InvoicePublisher

_WORKERS = 8


def publish_period(
    home: Home,
    period: BillingPeriod,
    *,
    dry_run: bool = False,
    client: StripeConnection | None = None,
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the period's approved invoices; an invoice that fails is reported, and the others are still published.

    Invoices that are not approved, and those of plans that collect nothing, are not published. `dry_run` lists the requests and
    sends none. Raises BillhouseError if the period is not closed, for a key that may not be used, and if Stripe refuses the key
    or cannot be reached.
    """
    finish_interrupted(home)
    if period not in closed_periods(home):
        raise BillhouseError(
            f"{period} is not closed; only closed invoices can be published.", f"Close it first: billhouse close {period}"
        )
    require_verified_ledger(home)
    if not dry_run:
        approve_automatically(home, period)
    approved = approved_invoices(home)
    with nullcontext(client) if client else connect(home, allow_live=allow_live) as connection:
        result = PublishResult(period, connection.where, dry_run)
        if dry_run:
            published = published_invoices(home, is_live=connection.is_live)
            _process_invoices(home, result, approved, published, list_requests, on_progress)
            return result
        with open_outbox(home, is_live=connection.is_live) as outbox:
            published = published_invoices(home, is_live=connection.is_live)
            publisher = InvoicePublisher(home, connection, outbox, period)
            _process_invoices(home, result, approved, published, publisher.publish, on_progress)
    return result


def _process_invoices(
    home: Home,
    result: PublishResult,
    approved: frozenset[str],
    published: frozenset[str],
    publish: Callable[[ClosedInvoice, PublishResult], Outcome],
    on_progress: OnProgress | None,
) -> None:
    """Process every invoice of the month: several customers in parallel, the invoices of one customer in sequence."""
    lock = Lock()
    done, total = 0, read_close(home, result.period, "invoices").num_rows

    def process(invoices: list[ClosedInvoice]) -> None:
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
                for _ in pool.map(process, by_customer.values()):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    result.problems.sort(key=lambda problem: problem.file)
    result.warnings.sort(key=lambda warning: warning.file)
