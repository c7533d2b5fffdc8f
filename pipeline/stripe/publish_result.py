"""The outcome of publishing: counts, sums, problems and warnings; for a dry run, the requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.closed_invoices import ClosedInvoice, Row
from pipeline.stripe.requests import customer_request, invoice_request, line_requests, refused_address
from pipeline.stripe.steps import error_message

Outcome = Literal["published", "already_published", "not_approved", "not_collected", "failed"]


@dataclass
class PublishResult:
    """The outcome of each invoice of the period."""

    period: BillingPeriod
    where: str
    is_dry_run: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(Outcome), 0))
    amounts: dict[str, Decimal] = field(default_factory=dict)
    """Sum of the totals now in Stripe, by currency, major units."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What was omitted from invoices that were published."""
    requests: list[Row] = field(default_factory=list)
    """The requests of a dry run."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        summary = {
            "period": str(self.period),
            "where": self.where,
            "dry_run": self.is_dry_run,
            **self.counts,
            "amounts": {currency: str(amount) for currency, amount in self.amounts.items()},
            "problems": [vars(problem) for problem in self.problems],
            "warnings": [vars(warning) for warning in self.warnings],
        }
        return summary | ({"requests": self.requests} if self.is_dry_run else {})

    def add_problem(self, closed: ClosedInvoice, error: Exception) -> None:
        """Report an invoice that was not published."""
        reason = f"was not published: {error_message(error)}"
        next_step = "Publish again; it continues where it stopped."
        self.problems.append(Problem(closed.invoice_id, None, reason, next_step))

    def warn_of_address(self, closed: ClosedInvoice) -> None:
        """Report an e-mail address that is omitted because Stripe would refuse it."""
        address = refused_address(closed)
        if address and not closed.invoice["stripe_customer_id"]:
            reason = f"is published without the e-mail address {address[:80]!r}, which Stripe would refuse."
            next_step = f"Land a customer record of {closed.customer_id!r} with a valid address."
            self.warnings.append(Problem(closed.invoice_id, None, reason, next_step))


def list_requests(closed: ClosedInvoice, result: PublishResult) -> Outcome:
    """Add the requests for an invoice to the result of a dry run."""
    result.warn_of_address(closed)
    customer = closed.invoice["stripe_customer_id"] or f"<customer of {closed.customer_id}>"
    try:
        lines = list(line_requests(closed).values())
    except BillhouseError as error:
        result.add_problem(closed, error)
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
