"""What the start page says of the closing checklist of a month that is over."""

from __future__ import annotations

from datetime import datetime

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.checklist_item import ChecklistItem, CheckState
from pipeline.ledger.closing_checklist import closing_checklist


def open_items(home: Home, month: BillingPeriod, now: datetime) -> tuple[list[ChecklistItem], list[ChecklistItem]]:
    """Of the closing checklist of a month that is over: what stops the close, and what a person should look at first."""
    items = closing_checklist(home, month, now=now, with_ledger=False)
    stops, look = CheckState.BLOCKS, CheckState.ATTENTION
    return [one for one in items if one.state is stops], [one for one in items if one.state is look]


def listed_items(stops: list[ChecklistItem], look: list[ChecklistItem]) -> str:
    """The first that stops the close in full, and the titles of the others."""
    parts = []
    if stops:
        others = f" Also: {', '.join(one.title for one in stops[1:])}." if stops[1:] else ""
        parts.append(f"Stops the close: {stops[0].title}. {stops[0].detail}{others}")
    if look:
        parts.append(f"To look at first: {', '.join(one.title for one in look)}.")
    return " ".join(parts)
