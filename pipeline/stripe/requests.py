"""The requests to Stripe for one invoice, as data; a dry run lists the same requests that publishing sends."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.closed_invoices import ClosedInvoice, Row
from pipeline.pricebook.stripe_currencies import to_stripe

DAYS_UNTIL_DUE = 30
MAX_LINES = 250
"""Stripe's limit on the lines of one invoice."""
_MAX_DESCRIPTION = 500
_MAX_NAME = 256
_MAX_METADATA_VALUE = 500
_MAX_ADDRESS = 512
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
"""A valid e-mail address as the HTML standard defines it, with a dot in the host."""
_CREDIT_NAMES = {
    "signup": "Sign-up credit",
    "promotional": "Promotional credit",
    "purchased": "Prepaid credit",
    "goodwill": "Goodwill credit",
}


@dataclass(frozen=True)
class _Part:
    """One amount on the invoice: a line, an applied credit, or the amount carried forward."""

    part_id: str
    amount: Decimal
    """In the invoice's currency, major units."""
    description: str
    service_period: str
    line_type: str
    meter_id: str | None = None
    plan_id: str | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    unit_amount: Decimal | None = None
    parts: int = 1
    """Number of lines that this line summarizes."""


def metadata_text(text: str) -> str:
    """A text as a Stripe metadata value (at most 500 characters): a longer text is replaced by its hash."""
    return text if len(text) <= _MAX_METADATA_VALUE else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def customer_request(closed: ClosedInvoice) -> Row:
    """POST /v1/customers"""
    invoice = closed.invoice
    params: Row = {"metadata": {"billhouse_customer_id": metadata_text(closed.customer_id)}}
    if invoice["customer_name"]:
        params["name"] = invoice["customer_name"][:_MAX_NAME]
    if invoice["customer_email"] and not refused_address(closed):
        params["email"] = invoice["customer_email"]
    return params


def refused_address(closed: ClosedInvoice) -> str | None:
    """The customer's e-mail address if Stripe would refuse it; it is then omitted, so that the invoice can be published."""
    address = closed.invoice["customer_email"]
    is_accepted = not address or (len(address) <= _MAX_ADDRESS and _ADDRESS.fullmatch(address))
    return None if is_accepted else address


def invoice_request(closed: ClosedInvoice, stripe_customer_id: str) -> Row:
    """POST /v1/invoices: a draft that contains only our lines and that Stripe does not finalize by itself.

    The defaults of the account and the customer are overridden: no tax, no discounts, no pending items.
    """
    if closed.total < 0:
        raise BillhouseError(f"{closed.invoice_id} has a negative total, which Stripe would pay out.", "Report this as a bug.")
    metadata = {
        "billhouse_invoice_id": closed.invoice_id,
        "billhouse_period": closed.invoice["period"],
        "billhouse_content_hash": content_hash(closed),
    }
    if closed.manifest_head:
        metadata["billhouse_manifest_head"] = closed.manifest_head
    return {
        "customer": stripe_customer_id,
        "currency": closed.invoice["currency"].lower(),
        "auto_advance": False,
        "automatic_tax": {"enabled": False},
        "collection_method": "send_invoice",
        "days_until_due": DAYS_UNTIL_DUE,
        "discounts": "",  # an empty text; without it, Stripe applies the customer's discounts
        "pending_invoice_items_behavior": "exclude",
        "description": f"Usage in {closed.invoice['period']}",
        "metadata": metadata,
    }


def line_requests(closed: ClosedInvoice) -> dict[str, Row]:
    """The lines of POST /v1/invoices/ID/add_lines by our line id: lines, applied credits, and the amount carried forward.

    They sum to the invoice's total: an applied credit is negative, a restored credit positive. Lines have amounts only; quantity
    and unit price are in the description and the metadata, because Stripe would multiply and round them itself. If there are
    more lines than Stripe accepts, they are grouped; the customer's statement lists each. Raises BillhouseError for an amount
    that Stripe cannot represent.
    """
    return {part.part_id: _line(part, closed.invoice["currency"]) for part in _grouped(_parts(closed))}


def total_request(closed: ClosedInvoice) -> int:
    """The invoice's total in Stripe's units; Stripe's total without tax must equal it."""
    return to_stripe(closed.invoice["total_amount"], closed.invoice["currency"])


def content_hash(closed: ClosedInvoice) -> str:
    """SHA-256 of the content that the customer sees; distinguishes invoices with the same id and different content."""
    parts = [[part.part_id, closed.minor_units(part.amount), part.description, part.service_period] for part in _parts(closed)]
    invoice = closed.invoice
    content = [closed.invoice_id, closed.customer_id, invoice["period"], invoice["currency"], closed.total, parts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _parts(closed: ClosedInvoice) -> list[_Part]:
    parts = [
        _Part(
            line["line_id"],
            line["amount"],
            line["description"],
            line["service_period"],
            line["line_type"],
            line["meter_id"],
            line["plan_id"],
            line["quantity"],
            line["unit"],
            line["unit_amount"],
        )
        for line in closed.lines
    ]
    for credit in closed.credits:
        name = _CREDIT_NAMES.get(credit["source"], "Credit")
        description = f"{name}, given back" if credit["amount"] < 0 else name
        part_id = metadata_text(f"CRD-{credit['grant_id']}-{credit['application_period']}")
        parts.append(_Part(part_id, -credit["amount"], description, credit["application_period"], "credit"))
    carried = closed.invoice["carried_forward_amount"]
    if carried:
        description = "Carried forward to the next invoice"
        parts.append(_Part(f"CFW-{closed.invoice_id}", -carried, description, closed.invoice["period"], "carry_forward"))
    return parts


_GROUPINGS: tuple[Callable[[_Part], tuple[Any, ...]], ...] = (
    lambda part: (part.line_type, part.service_period, part.meter_id, part.plan_id),
    lambda part: (part.line_type, part.meter_id, part.plan_id),
    lambda part: (part.line_type, part.meter_id),
    lambda part: (part.line_type,),
)
"""From fine to coarse; the last gives one group per line type."""


def _grouped(parts: list[_Part]) -> list[_Part]:
    if len(parts) <= MAX_LINES:
        return parts
    for grouping in _GROUPINGS:
        groups: dict[tuple[Any, ...], list[_Part]] = {}
        for part in parts:
            groups.setdefault(grouping(part), []).append(part)
        if len(groups) <= MAX_LINES:
            break
    return [members[0] if len(members) == 1 else _summary(key, members) for key, members in groups.items()]


def _summary(key: tuple[Any, ...], members: list[_Part]) -> _Part:
    first, last = (choose(part.service_period for part in members) for choose in (min, max))
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16].upper()
    group = " ".join(str(part) for part in key if part)
    return _Part(
        f"FLD-{digest}",
        sum((part.amount for part in members), Decimal(0)),
        f"{group}: {len(members)} lines, each on the statement",
        first if first == last else f"{first}..{last}",
        members[0].line_type,
        parts=len(members),
    )


def _line(part: _Part, currency: str) -> Row:
    first, _, last = part.service_period.partition("..")
    start, end = BillingPeriod.parse(first).start, BillingPeriod.parse(last or first).end
    metadata = {"billhouse_line_id": part.part_id, "billhouse_service_period": part.service_period}
    if part.quantity is not None and part.unit:
        metadata |= {"billhouse_quantity": _plain(part.quantity), "billhouse_unit": part.unit}
    if part.unit_amount is not None:
        metadata["billhouse_unit_amount"] = _plain(part.unit_amount)
    if part.parts > 1:
        metadata["billhouse_lines"] = str(part.parts)
    return {
        "amount": to_stripe(part.amount, currency),
        "description": part.description[:_MAX_DESCRIPTION],
        "discountable": False,
        "period": {"start": int(start.timestamp()), "end": int(end.timestamp())},
        "metadata": metadata,
    }


def _plain(number: Decimal) -> str:
    """1.5000 -> '1.5', 2E+3 -> '2000'."""
    return f"{number.normalize():f}"


def total_without_tax(document: Any) -> int:
    """The total without tax of a Stripe invoice or credit note, in Stripe's units; it is compared with ours."""
    if document.total_excluding_tax is not None:
        return int(document.total_excluding_tax)
    return int(document.total) - sum(int(tax.amount) for tax in document.total_taxes or [])
