"""Events and records as landing's input: JSON lines, in all equivalent spellings. Billing rules, section 3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from random import Random

from .records import CreditGrant, CustomerRecord, Event, EventType, ListingPart, SubscriptionRecord, Void

CAMEL_CASE = {
    EventType.START: "SandboxStarted",
    EventType.UPDATE: "ResourcesUpdated",
    EventType.HEARTBEAT: "SandboxHeartbeat",
    EventType.PAUSE: "SandboxPaused",
    EventType.RESUME: "SandboxResumed",
    EventType.STOP: "SandboxStopped",
    EventType.USAGE: "UsageRecorded",
}
INDIA = timezone(timedelta(hours=5, minutes=30))


def event_row(event: Event, random: Random) -> str:
    """One line of JSON: nested or flat resources, either spelling of the type, missing values absent or null."""
    fields = [_field("sandbox_id", event.sandbox_id), _field("user_id", event.user_id)]
    fields.append(_field("timestamp", _timestamp(event.event_at, random)))
    kind = event.event_type
    fields.append(_field("event_type", random.choice((kind.value, CAMEL_CASE[kind]))))
    for name, text in (("event_id", event.event_id), ("execution_id", event.execution_id)):
        if text is not None or random.random() < 0.2:
            fields.append(_field(name, text))
    resources = [
        f'"{name}":{_number(value, random)}'
        for name, value in (
            ("vcpu_count", event.vcpu_count),
            ("memory_gb", event.memory_gb),
            ("storage_gb", event.storage_gb),
            ("gpu_count", event.gpu_count),
            ("tokens", event.tokens),
        )
        if value is not None or random.random() < 0.2
    ]
    if random.random() < 0.5:
        fields += resources
    elif resources or random.random() < 0.5:
        fields.append(f'"resources":{{{",".join(resources)}}}')
    if event.started_at is not None:
        fields.append(_field("started_at", _timestamp(event.started_at, random)))
    if event.duration_seconds is not None:
        fields.append(f'"duration_seconds":{_number(event.duration_seconds, random)}')
    random.shuffle(fields)
    return f"{{{','.join(fields)}}}"


def subscription_row(record: SubscriptionRecord) -> str:
    """One line of JSON."""
    effective_at = record.effective_at.isoformat().replace("+00:00", "Z")
    row = {"customer_id": record.customer_id, "plan_id": record.plan_id, "effective_at": effective_at}
    return json.dumps(row | ({"is_trial": True} if record.is_trial else {}), separators=(",", ":"))


def customer_row(record: CustomerRecord) -> str:
    """One line of JSON, with the fields that the record names."""
    named = {
        "customer_id": record.customer_id,
        "currency": record.currency,
        "effective_at": record.effective_at and record.effective_at.isoformat(),
        "monthly_spend_limit": record.monthly_spend_limit and str(record.monthly_spend_limit),
    }
    return json.dumps({name: value for name, value in named.items() if value is not None}, separators=(",", ":"))


def void_row(void: Void) -> str:
    """One line of JSON."""
    named = {
        "event_id": void.event_id,
        "grant_id": void.grant_id,
        "voided_at": void.voided_at.isoformat(),
        "reason": void.reason,
    }
    return json.dumps({name: value for name, value in named.items() if value is not None}, separators=(",", ":"))


def listing_row(part: ListingPart) -> str:
    """One line of JSON."""
    row: dict[str, object] = {"listed_at": part.listed_at.isoformat(), "sandbox_ids": part.sandbox_ids}
    row |= {} if part.scope is None else {"scope": part.scope}
    row |= {} if part.parts == 1 else {"part": part.part, "parts": part.parts}
    return json.dumps(row, separators=(",", ":"))


def grant_row(grant: CreditGrant) -> str:
    """One line of JSON."""
    return json.dumps(
        {
            "grant_id": grant.grant_id,
            "customer_id": grant.customer_id,
            "amount": str(grant.amount),
            "currency": grant.currency,
            "priority": grant.priority,
            "granted_at": grant.granted_at.isoformat(),
            "expires_at": grant.expires_at.isoformat() if grant.expires_at else None,
            "scope": grant.scope,
            "source": grant.source,
        },
        separators=(",", ":"),
    )


def _field(name: str, text: str | None) -> str:
    return f'"{name}":{json.dumps(text)}'


def _number(value: Decimal | None, random: Random) -> str:
    """The number, sometimes with trailing zeros."""
    if value is None:
        return "null"
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    decimals = -exponent
    return f"{value:.{min(6, decimals + random.choice((0, 0, 1, 3)))}f}"


def _timestamp(instant: datetime, random: Random) -> str:
    dice = random.random()
    if dice < 0.04:
        return instant.astimezone(INDIA).isoformat()
    text = instant.astimezone(UTC).isoformat(timespec="microseconds" if dice < 0.3 else "auto")
    return text if dice < 0.1 else text.replace("+00:00", "Z")
