"""What each kind of record carries, and when a row of it is wrong. Billing rules, sections 3, 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pipeline.core.settings import Settings
from pipeline.landing.record_kinds import Kind
from pipeline.pricebook.price_book import DEFAULT_CURRENCY, first_versions, known_ids, minor_unit_digits

RESOURCE_BOUND = 1_000_000
"""The sanity bound on a resource: no sandbox holds a million vCPUs or GB."""
QUANTITY_BOUND = 1_000_000_000
"""The sanity bound on a quantity that one event carries, tokens for example."""
ID_LENGTH = 200
"""The characters that an id may have."""
DECIMALS = 6
"""The digits after the point that a resource, a quantity or an amount may have."""
AMOUNT_BOUND = 1_000_000_000
"""The sanity bound on an amount of money."""
BYTES_BOUND = 2**50
"""The sanity bound on memory: about as much as RESOURCE_BOUND, in bytes."""


CLEARED_FIELDS = "cleared_fields"
"""The column that lists the fields that a row clears (JSON null), in the order of the specification, delimited by commas."""


class Type(StrEnum):
    """How a field's text is read."""

    TEXT = "text"
    ID = "id"
    """Text or a whole number, which is kept as its digits."""
    INSTANT = "instant"
    RESOURCE = "resource"
    QUANTITY = "quantity"
    AMOUNT = "amount"
    INTEGER = "integer"
    PERCENT = "percent"
    """A reading from 0 to 100, rounded to 6 decimals: an instrument may say more than it knows."""
    BYTES = "bytes"
    JSON = "json"
    BOOLEAN = "boolean"


@dataclass(frozen=True)
class Field:
    """One field of a row."""

    name: str
    type: Type = Type.TEXT
    is_required: bool = False
    column: str = ""
    """Its column in the raw collection, where that has another name."""
    paths: tuple[str, ...] = ()
    """Other places it may be found: a path into the JSON object, or a struct column of Parquet."""
    choices: tuple[tuple[str, str], ...] = ()
    """What it may say, each with what that is stored as."""
    choice_reason: str = "bad_value"
    default: str | None = None
    must_be_past: bool = False
    """More than 24 hours after landing, it cannot be true."""
    not_before: datetime | None = None
    """The books open at this instant: what is dated before it is not billed."""
    must_be_positive: bool = False
    minor_unit_digits: tuple[tuple[str, int], ...] = ()
    """Digits by currency, for an amount that must be of whole minor units; the row's `currency` says which."""
    available_from: tuple[tuple[str, datetime], ...] = ()
    """For a plan: the instant of its first version in the price book, where a record can be effective before it."""
    late_is_never: bool = False
    """An instant after the year 9998 means that there is none: stored as null."""
    has_plan_default: bool = False
    """A start that does not name it gets the default sandbox's of its plan."""
    came_later: bool = False
    """A column that events did not always have: it is part of a derived id only where it is there, so that old ids stay."""

    @property
    def stored_as(self) -> str:
        return self.column or self.name


@dataclass(frozen=True)
class RowRule:
    """A fault of a row as a whole, which no field has alone."""

    reason: str
    condition: str
    """SQL over the row's columns as they are stored."""
    detail: str
    """What is wrong, and what would be right."""


@dataclass(frozen=True)
class Specification:
    """One kind of record."""

    kind: Kind
    collection: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    """Columns that say which rows speak of the same thing."""
    latest_stands: bool
    """Of two rows with one key and other content: whether the later corrects the earlier, or contradicts it."""
    instant: str | None
    """The column that says when."""
    partition: str | None = None
    """For what grows without end: the folders of its days, as in event_date=2026-11-01/. Files there are sorted by sandbox."""
    derived: tuple[tuple[str, str], ...] = ()
    """Columns of the raw collection that no file carries: (name, SQL over the row's other columns)."""
    one_of: tuple[str, ...] = ()
    """Fields of which a row names exactly one."""
    row_rules: tuple[RowRule, ...] = ()
    is_merged: bool = False
    """Whether a row changes only the fields that it names: a JSON null clears a field, what is absent or empty leaves it."""

    @property
    def columns(self) -> list[str]:
        cleared = [CLEARED_FIELDS] if self.is_merged else []
        return [*(field.stored_as for field in self.fields), *(name for name, _ in self.derived), *cleared]

    @property
    def groups(self) -> set[str]:
        """What fields may be inside of: an object of JSON, a struct of Parquet."""
        return {path.partition(".")[0] for field in self.fields for path in field.paths if "." in path}


EVENT_TYPES = {
    "sandbox_started": "SandboxStarted",
    "resources_updated": "ResourcesUpdated",
    "sandbox_stopped": "SandboxStopped",
    "usage_recorded": "UsageRecorded",
}
"""What an event may be, as it is kept, and as it may also be spelled."""
RESOURCES = ("vcpu_count", "memory_gb", "storage_gb", "gpu_count")
QUANTITIES = ("tokens",)
_USAGE_RECORDED = "event_type = 'usage_recorded'"
_USAGE_RULES = (
    RowRule(
        "missing_field",
        f"{_USAGE_RECORDED} and {' and '.join(f'{name} is null' for name in QUANTITIES)}",
        f"usage_recorded carries no quantity. Name one: {', '.join(QUANTITIES)}.",
    ),
    RowRule(
        "bad_value",
        f"{_USAGE_RECORDED} and ({' or '.join(f'{name} is not null' for name in RESOURCES)})",
        "usage_recorded names a resource, which only an event of a session can hold. Send a resources_updated for it.",
    ),
)
"""Billing rules, section 3: usage_recorded carries quantities alone."""


def _resource(name: str, type: Type = Type.RESOURCE, *, has_plan_default: bool = False, came_later: bool = False) -> Field:
    return Field(name, type, paths=(f"resources.{name}",), has_plan_default=has_plan_default, came_later=came_later)


def _one_of(ids: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple((known, known) for known in sorted(ids))


def specification(kind: Kind, seeds: Path) -> Specification:
    """The specification of a kind; the plans and currencies are those of the price book, the first month is the settings'."""
    opening = Settings.load().books_open_at
    currency = Field(
        "currency",
        choices=_one_of(known_ids("currencies.csv", "currency", seeds)),
        choice_reason="unknown_currency",
    )
    fields: tuple[Field, ...]
    match kind:
        case Kind.USAGE:
            types = [(spelling, snake) for snake, camel in EVENT_TYPES.items() for spelling in (snake, camel)]
            fields = (
                Field("event_id", Type.ID),
                Field("sandbox_id", Type.ID, is_required=True),
                Field("user_id", Type.ID, is_required=True),
                Field("timestamp", Type.INSTANT, is_required=True, column="event_at", must_be_past=True, not_before=opening),
                Field("event_type", is_required=True, choices=tuple(types), choice_reason="bad_event_type"),
                _resource("vcpu_count", has_plan_default=True),
                _resource("memory_gb", has_plan_default=True),
                _resource("storage_gb", has_plan_default=True),
                Field("execution_id", Type.ID),
                Field("metadata", Type.JSON),
                _resource("gpu_count", came_later=True),
                _resource("tokens", Type.QUANTITY, came_later=True),
            )
            return Specification(
                kind, "usage_events", fields, ("event_id",), False, "event_at", "event_date", row_rules=_USAGE_RULES
            )
        case Kind.SUBSCRIPTIONS:
            plans = _one_of(known_ids("plans.csv", "plan_id", seeds))
            # A record from before the books open counts from their opening: what the price book has by then is early enough.
            available_from = tuple(
                (plan_id, instant) for plan_id, instant in sorted(first_versions(seeds).items()) if instant > opening
            )
            fields = (
                Field("customer_id", Type.ID, is_required=True),
                Field("plan_id", is_required=True, choices=plans, choice_reason="unknown_plan", available_from=available_from),
                Field("effective_at", Type.INSTANT, is_required=True),
                Field("is_trial", Type.BOOLEAN),
            )
            return Specification(kind, "subscriptions", fields, ("customer_id", "effective_at"), True, "effective_at")
        case Kind.CUSTOMERS:
            fields = (
                Field("customer_id", Type.ID, is_required=True),
                Field("name"),
                Field("email"),
                currency,
                Field("stripe_customer_id", Type.ID),
                Field("monthly_spend_limit", Type.AMOUNT),
                Field("created_at", Type.INSTANT),
                Field("effective_at", Type.INSTANT),
            )
            return Specification(kind, "customers", fields, ("customer_id",), True, "created_at", is_merged=True)
        case Kind.CREDIT_GRANTS:
            fields = (
                Field("grant_id", Type.ID, is_required=True, paths=("id",)),
                Field("customer_id", Type.ID, is_required=True, paths=("customer",)),
                Field("amount", Type.AMOUNT, is_required=True, must_be_positive=True, minor_unit_digits=minor_unit_digits(seeds)),
                Field("currency", choices=currency.choices, choice_reason="unknown_currency", default=DEFAULT_CURRENCY),
                Field("priority", Type.INTEGER, default="100"),
                Field("granted_at", Type.INSTANT, is_required=True),
                Field("expires_at", Type.INSTANT, late_is_never=True),
                Field("scope", choices=_one_of(frozenset({"usage", "all"})), default="all"),
                Field(
                    "source",
                    choices=_one_of(frozenset({"promotional", "purchased", "goodwill"})),
                    default="promotional",
                ),
            )
            return Specification(kind, "credit_grants", fields, ("grant_id",), False, "granted_at")
        case Kind.VOIDS:
            fields = (
                Field("event_id", Type.ID),
                Field("grant_id", Type.ID),
                Field("voided_at", Type.INSTANT, is_required=True, must_be_past=True),
                Field("reason", is_required=True, column="void_reason"),
            )
            voided_id = "coalesce('event ' || event_id, 'grant ' || grant_id)"
            return Specification(
                kind,
                "voids",
                fields,
                ("voided_id",),
                False,
                "voided_at",
                derived=(("voided_id", voided_id),),
                one_of=("event_id", "grant_id"),
            )
        case Kind.METRICS:
            fields = (
                Field("sandbox_id", Type.ID, is_required=True, paths=("sandboxID",)),
                Field("timestamp", Type.INSTANT, is_required=True, column="sampled_at", must_be_past=True, not_before=opening),
                Field("cpu_used_pct", Type.PERCENT, is_required=True, paths=("cpuUsedPct",)),
                Field("mem_bytes", Type.BYTES, is_required=True, paths=("memUsed",)),
            )
            return Specification(kind, "sandbox_metrics", fields, ("sandbox_id", "sampled_at"), True, "sampled_at", "sample_date")
