"""Which currency a customer is billed in, month by month. Billing rules, section 5."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from .records import CustomerRecord, Line, LineType

DEFAULT_CURRENCY = "USD"
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)

Currencies = Sequence[tuple[datetime, str]]
"""Currencies with the instant from which they are in force, in order."""


def currencies_of(records: Sequence[CustomerRecord], billed: Sequence[Line]) -> Currencies:
    """From one customer's records in the order they landed, and its lines of closed invoices."""
    beginning = DEFAULT_CURRENCY
    dated: dict[datetime, str] = {}
    for record in records:
        if record.currency is not None and record.effective_at is not None:
            dated[record.effective_at] = record.currency
        elif record.currency is not None and not dated:
            beginning = record.currency
    # The currency of a closed month cannot change.
    facts = {
        datetime.fromisoformat(f"{line.period}-01T00:00:00+00:00"): line.currency
        for line in billed
        if line.service_period == line.period and not line.is_adjustment and line.line_type is not LineType.CARRY_FORWARD
    }
    if facts:
        first = min(facts)
        if not any(effective_at <= first for effective_at in dated):
            beginning = facts[first]
    return sorted({ALWAYS: beginning, **dated, **facts}.items())
