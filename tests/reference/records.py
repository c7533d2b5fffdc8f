"""The input and output records of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum


class EventType(StrEnum):
    START = "sandbox_started"
    UPDATE = "resources_updated"
    HEARTBEAT = "sandbox_heartbeat"
    PAUSE = "sandbox_paused"
    RESUME = "sandbox_resumed"
    STOP = "sandbox_stopped"
    USAGE = "usage_recorded"


class IgnoredBecause(StrEnum):
    """Why an accepted event has no effect on a session. Billing rules, section 4."""

    STOP_WITHOUT_START = "stop_without_start"
    PAUSE_WITHOUT_START = "pause_without_start"
    UPDATE_AFTER_STOP = "update_after_stop"
    SUPERSEDED = "superseded"
    NO_EXECUTION = "no_execution"
    VOIDED = "voided"


class EndReason(StrEnum):
    STOPPED = "stopped"
    STOP_MISSING = "stop_missing"
    END_INFERRED = "end_inferred"
    HEARTBEAT_LOST = "heartbeat_lost"
    GONE_FROM_LISTING = "gone_from_listing"
    OPEN = "open"


class LineType(StrEnum):
    USAGE = "usage"
    FEE = "fee"
    DISCOUNT = "discount"
    COMMITMENT = "commitment"
    CARRY_FORWARD = "carry_forward"


@dataclass(frozen=True)
class Event:
    """One usage event. Billing rules, section 3. A resource that is None is absent, which is valid."""

    event_id: str | None
    """None where the row had none: `accept` derives it."""
    sandbox_id: str
    user_id: str
    event_at: datetime
    event_type: EventType
    vcpu_count: Decimal | None = None
    memory_gb: Decimal | None = None
    storage_gb: Decimal | None = None
    gpu_count: Decimal | None = None
    tokens: Decimal | None = None
    """A quantity that the event adds; any event type can have it."""
    execution_id: str | None = None
    metadata: str | None = None
    started_at: datetime | None = None
    """When the session started, as a stop or a pause reports it."""
    duration_seconds: Decimal | None = None
    """How long ago the session started, as a stop or a pause reports it."""

    @property
    def reported_start(self) -> datetime | None:
        """When the session started, if this is a stop or a pause that says so."""
        if self.event_type not in (EventType.STOP, EventType.PAUSE):
            return None
        started_at = self.started_at
        if started_at is None and self.duration_seconds is not None:
            started_at = self.event_at - timedelta(microseconds=int(self.duration_seconds * 1_000_000))
        is_possible = started_at is not None and timedelta(0) < self.event_at - started_at <= timedelta(days=400)
        return started_at if is_possible else None


@dataclass(frozen=True)
class SubscriptionRecord:
    """From `effective_at` on, the customer is on the plan. Billing rules, section 5."""

    customer_id: str
    plan_id: str
    effective_at: datetime
    is_trial: bool = False
    """Whether the time is a trial, which is free."""


@dataclass(frozen=True)
class CustomerRecord:
    """A landed customer record. It changes only the fields that it names. Billing rules, section 5."""

    customer_id: str
    currency: str | None = None
    """None: not named."""
    effective_at: datetime | None = None
    """The instant from which the currency is in force, the start of a month. None: from the beginning."""
    monthly_spend_limit: Decimal | None = None


@dataclass(frozen=True)
class IgnoredEvent:
    """An accepted event without effect on a session."""

    event: Event
    reason: IgnoredBecause


@dataclass(frozen=True)
class Session:
    """One run of a sandbox, billed in [started_at, ended_at). Billing rules, section 4."""

    sandbox_id: str
    execution_id: str
    """'' if the events name no execution."""
    customer_id: str
    plan_id: str
    """The plan in force at its start."""
    started_at: datetime
    ended_at: datetime
    """For an open session: as_of."""
    end_reason: EndReason
    is_start_missing: bool
    quantities: dict[str, Decimal]
    """Per meter: resource x seconds."""
    paused_time: timedelta = timedelta(0)
    """How long it was paused."""


@dataclass(frozen=True)
class Line:
    """One due line, or one invoice line. Billing rules, section 5."""

    customer_id: str
    period: str
    """The month whose invoice it is on, '2024-02'."""
    service_period: str
    """The month it is for."""
    line_type: LineType
    plan_id: str
    meter_id: str | None
    """None for anything but usage."""
    rate_id: str
    """The rate's or the fee's version."""
    quantity: Decimal
    """Usage: resource x seconds. Fee: seconds of the month on the plan and fee version."""
    billable_quantity: Decimal
    """After the allowance."""
    amount: Decimal
    currency: str = "USD"
    is_adjustment: bool = False


@dataclass(frozen=True)
class Invoice:
    customer_id: str
    period: str
    subtotal: Decimal
    credits_applied: Decimal
    """Negative: restored credits."""
    total: Decimal
    currency: str = "USD"
    carried_forward: Decimal = Decimal(0)
    """Negative remainder carried to the next invoice (<= 0)."""
    is_collected: bool = True
    """Whether any of its lines collects. Billing rules, section 7."""


@dataclass(frozen=True)
class DailyUsage:
    """A usage line by UTC day; the amounts of a line's days sum to the line's."""

    customer_id: str
    usage_date: date
    period: str
    plan_id: str
    meter_id: str
    rate_id: str
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class CreditGrant:
    """Billing rules, section 6."""

    grant_id: str
    customer_id: str
    amount: Decimal
    currency: str
    granted_at: datetime
    expires_at: datetime | None = None
    priority: int = 0
    scope: str = "usage"
    """'usage' or 'all': the lines it may pay for."""
    source: str = "signup"


@dataclass(frozen=True)
class Void:
    """Voids a usage event or a credit grant from its own instant on. Billing rules, sections 3 and 6."""

    voided_at: datetime
    event_id: str | None = None
    grant_id: str | None = None
    reason: str = "sent by mistake"


@dataclass(frozen=True)
class ListingPart:
    """A part of a listing of the sandboxes that ran at an instant. Billing rules, section 4."""

    listed_at: datetime
    sandbox_ids: tuple[str, ...]
    scope: str | None = None
    """None: the listing is of all sandboxes."""
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class CreditApplication:
    grant_id: str
    customer_id: str
    period: str
    """The month whose invoice it is on."""
    amount: Decimal
    """Negative: restored credits."""
    application_period: str = ""
    """The month in which the credit was used."""


@dataclass
class Ledger:
    """The closed months; they never change."""

    periods: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    credit_applications: list[CreditApplication] = field(default_factory=list)
    grants: list[CreditGrant] = field(default_factory=list)
    """Sign-up grants as of their first close: later records do not change them."""

    def close(self, result: Result, period: str) -> None:
        """Freeze a month's drafts."""
        self.periods.append(period)
        self.lines += [line for line in result.lines if line.period == period]
        self.invoices += [invoice for invoice in result.invoices if invoice.period == period]
        self.credit_applications += [one for one in result.credit_applications if one.period == period]
        known = {grant.grant_id for grant in self.grants}
        given = [grant for grant in result.grants if f"{grant.granted_at:%Y-%m}" <= period]
        self.grants += [grant for grant in given if grant.grant_id not in known]


@dataclass
class Result:
    """Everything due as of an instant; each month's invoice as if the earlier months had been closed in order."""

    sessions: list[Session] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    usage_daily: list[DailyUsage] = field(default_factory=list)
    grants: list[CreditGrant] = field(default_factory=list)
    credit_applications: list[CreditApplication] = field(default_factory=list)
    ignored: list[IgnoredEvent] = field(default_factory=list)
