"""Why an invoice differs from the one before, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.notebook.answers import Answer
from pipeline.notebook.formats import shown

_MOST_REASONS = 3
_NAMES = {"vcpu": "vCPU", "memory": "memory", "storage": "storage", "gpu": "GPU", "fee": "the plan's fee", "credit": "credit"}


def sentence(change: Answer, currency: str) -> str:
    """The difference of the totals, and the largest reasons in the same direction. `change`: the answer of `invoice_change`."""
    difference = sum((row["change_amount"] for row in change.rows), Decimal(0))
    if all(row["earlier_period"] is None for row in change.rows):
        return f"There is no earlier invoice: all of its {format_money(difference, currency)} is new."
    if difference == 0:
        return "The invoice has the same total as the one before."
    direction = "higher" if difference > 0 else "lower"
    reasons = [row for row in change.rows if row["change_amount"] * difference > 0][:_MOST_REASONS]
    opposed = [row for row in change.rows if row["change_amount"] * difference < 0][:1]
    text = f"The invoice is {format_money(abs(difference), currency)} {direction} than the one before: "
    text += "; ".join(_reason(row, currency) for row in reasons)
    if opposed:
        text += f"; against it {_reason(opposed[0], currency)}"
    return text + "."


def draft_note(period: str, as_of: datetime, days: Answer, currency: str) -> str:
    """How much of its month a draft has, and its usage beside that of the same days of the month before.

    `days`: the answer of `invoice_days`.
    """
    month = BillingPeriod.parse(period)
    length = (month.end - month.start).days
    elapsed = min((as_of - month.start).days, length)
    if elapsed <= 0 or elapsed == length:
        return f"Draft of {period}."
    text = f"Draft of {period}, {elapsed} of {length} days."
    earlier = next((row["period"] for row in days.rows if row["period"] != period), None)
    if earlier is None:
        return text
    same_days = [row for row in days.rows if row["day_of_month"] <= elapsed]
    change = sum((row["amount"] if row["period"] == period else -row["amount"] for row in same_days), Decimal(0))
    if change == 0:
        return f"{text} Usage on these days is the same as in {earlier}."
    direction = "higher" if change > 0 else "lower"
    return f"{text} Usage on these days is {format_money(abs(change), currency)} {direction} than in {earlier}."


def _reason(row: Mapping[str, Any], currency: str) -> str:
    change = row["change_amount"]
    item = _NAMES.get(row["item"], row["item"])
    amount = format_money(abs(change), currency)
    if row["item"] == "credit":
        return f"credit pays {amount} {'less' if change > 0 else 'more'}"
    text = f"{item} {amount} {'more' if change > 0 else 'less'}"
    if row["unit"] is None:
        return text
    before, now = (shown("hours", row[name]) for name in ("quantity_before", "quantity_now"))
    return f"{text}, for {now} instead of {before} {row['unit']}s"
