"""An explained invoice as data: lines, days, sessions and landed events, each summing to the level above."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class LandedEvent:
    """A landed event that contributed to a session or a quantity, with its file and row."""

    event_id: str
    event_type: str
    event_at: datetime
    named: str
    """The resources and quantities that it named, as text: 'vcpu_count 4, memory_gb 4'."""
    file_name: str
    file_row: int


@dataclass
class SessionShare:
    """One session's share of a day of a line; or a sandbox's quantities at instants when no session ran."""

    session_id: str
    """'' where no session ran: `started_at` and `ended_at` are then the first and last quantity's, `end_reason` 'no_session'."""
    sandbox_id: str
    started_at: datetime
    ended_at: datetime
    end_reason: str
    quantity: Decimal
    amount: Decimal
    events: list[LandedEvent] = field(default_factory=list)


@dataclass
class DayShare:
    """One day's share of a line. Its sessions' amounts sum to its amount."""

    usage_date: date
    quantity: Decimal
    amount: Decimal
    sessions: list[SessionShare] = field(default_factory=list)


@dataclass
class LineExplanation:
    """A line: the amount due for its key, less the amounts billed before."""

    line_id: str
    description: str
    amount: Decimal
    due_amount: Decimal
    billed_before: dict[str, Decimal] = field(default_factory=dict)
    """Amounts by invoice id: amount = due_amount - their sum."""
    arithmetic: list[str] = field(default_factory=list)
    days: list[DayShare] = field(default_factory=list)
    """Only of usage lines: their amounts sum to due_amount."""


@dataclass
class InvoiceExplanation:
    """An invoice: its lines sum to the subtotal; total = subtotal - credits applied - amount carried forward."""

    invoice_id: str
    customer_id: str
    period: str
    currency: str
    status: str
    subtotal_amount: Decimal
    credits_applied_amount: Decimal
    carried_forward_amount: Decimal
    total_amount: Decimal
    approved_by: str | None = None
    """The person or rule that approved it for publishing; None: not approved."""
    approved_at: datetime | None = None
    approval_reason: str | None = None
    """Why; None where no reason was given, or a rule approved it."""
    lines: list[LineExplanation] = field(default_factory=list)
    credits: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
