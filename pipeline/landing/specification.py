"""The fields of each kind of record, and their rules. Billing rules, sections 3, 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pipeline.core.languages import LANGUAGES
from pipeline.core.settings import Settings
from pipeline.landing.record_kinds import Kind
from pipeline.pricebook.price_book import DEFAULT_CURRENCY, first_versions, known_ids, minor_unit_digits

RESOURCE_BOUND = 1_000_000
"""Maximum of a resource (vCPUs, GB): larger values are errors."""
QUANTITY_BOUND = 1_000_000_000
"""Maximum of a quantity of one event, such as tokens."""
ID_LENGTH = 200
"""Maximum characters of an id."""
DECIMALS = 6
"""Maximum decimals of a resource, quantity or amount."""
AMOUNT_BOUND = 1_000_000_000
"""Maximum of an amount of money."""
BYTES_BOUND = 2**50
"""Maximum of memory in bytes, about RESOURCE_BOUND GB."""


CLEARED_FIELDS = "cleared_fields"
"""The column with the fields that a row clears (JSON null), in the order of the specification, comma-separated."""


class Type(StrEnum):
    """The type of a field."""

    TEXT = "text"
    ID = "id"
    """Text or a whole number, stored as text."""
    INSTANT = "instant"
    RESOURCE = "resource"
    QUANTITY = "quantity"
    AMOUNT = "amount"
    INTEGER = "integer"
    PERCENT = "percent"
    """An instrument reading from 0 to 100, rounded to 6 decimals."""
    BYTES = "bytes"
    SECONDS = "seconds"
    """A measured time, rounded to 6 decimals."""
    JSON = "json"
    ID_LIST = "id_list"
    """A JSON array of ids, stored as JSON text: each id once, in order."""
    BOOLEAN = "boolean"


@dataclass(frozen=True)
class Field:
    """One field of a row."""

    name: str
    type: Type = Type.TEXT
    is_required: bool = False
    column: str = ""
    """Its column in the raw collection, if it has another name."""
    paths: tuple[str, ...] = ()
    """Alternative locations: a path in the JSON object, or a field of a struct column in Parquet."""
    choices: tuple[tuple[str, str], ...] = ()
    """Allowed values: (value in the file, stored value)."""
    choice_reason: str = "bad_value"
    default: str | None = None
    must_be_past: bool = False
    """An instant more than 24 hours after landing is rejected."""
    not_before: datetime | None = None
    """An instant before this one (the start of the first billing month) is rejected."""
    must_be_positive: bool = False
    minor_unit_digits: tuple[tuple[str, int], ...] = ()
    """For an amount that must be whole minor units: decimals by currency; the currency is the row's `currency`."""
    available_from: tuple[tuple[str, datetime], ...] = ()
    """For a plan: the instant of its first version in the price book; earlier records are rejected."""
    is_far_future_null: bool = False
    """An instant after the year 9998 means none, and is stored as null."""
    has_plan_default: bool = False
    """A start event without it gets the default of the customer's plan."""
    is_added_later: bool = False
    """A field that a later version added: it is part of a derived id only if it is present, so that older ids do not change."""

    event_types: tuple[str, ...] = ()
    """The stored event types of the rows on which it is read; on others it is null, and never an error."""

    @property
    def stored_as(self) -> str:
        """The name of its column in the raw collection."""
        return self.column or self.name


@dataclass(frozen=True)
class RowRule:
    """A rule about several fields of a row."""

    reason: str
    condition: str
    """SQL over the stored columns: true if the row breaks the rule."""
    detail: str
    """What is wrong, and what to do."""


@dataclass(frozen=True)
class Specification:
    """One kind of record."""

    kind: Kind
    collection: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    """Columns that identify the record that a row is about."""
    later_row_corrects: bool
    """Whether a later row with the same key and other content corrects the earlier one; otherwise it is rejected."""
    instant: str | None
    """The column with the instant of the record."""
    partition: str | None = None
    """For large collections: the key of the folders per day, as in event_date=2026-11-01/. Files there are sorted by sandbox."""
    derived: tuple[tuple[str, str], ...] = ()
    """Computed columns of the raw collection: (name, SQL over the row's other columns)."""
    one_of: tuple[str, ...] = ()
    """Fields of which a row has exactly one."""
    row_rules: tuple[RowRule, ...] = ()
    is_merged: bool = False
    """Whether a row changes only the fields that it has: JSON null clears a field, a missing or empty one is unchanged."""

    @property
    def columns(self) -> list[str]:
        """The columns of the raw collection, without file_id and file_row."""
        cleared = [CLEARED_FIELDS] if self.is_merged else []
        return [*(field.stored_as for field in self.fields), *(name for name, _ in self.derived), *cleared]

    @property
    def groups(self) -> set[str]:
        """Names of the JSON objects and Parquet structs that fields may be inside of."""
        return {path.partition(".")[0] for field in self.fields for path in field.paths if "." in path}


EVENT_TYPES = {
    "sandbox_started": "SandboxStarted",
    "resources_updated": "ResourcesUpdated",
    "sandbox_heartbeat": "SandboxHeartbeat",
    "sandbox_paused": "SandboxPaused",
    "sandbox_resumed": "SandboxResumed",
    "sandbox_stopped": "SandboxStopped",
    "usage_recorded": "UsageRecorded",
}
"""Event types as stored, with their alternative spelling."""
_CLOSING = ("sandbox_stopped", "sandbox_paused")
RESOURCES = ("vcpu_count", "memory_gb", "storage_gb", "gpu_count")
QUANTITIES = ("tokens",)
_USAGE_RECORDED = "event_type = 'usage_recorded'"
_USAGE_RULES = (
    RowRule(
        "missing_field",
        f"{_USAGE_RECORDED} and {' and '.join(f'{name} is null' for name in QUANTITIES)}",
        f"usage_recorded has no quantity. Add one of: {', '.join(QUANTITIES)}.",
    ),
    RowRule(
        "bad_value",
        f"{_USAGE_RECORDED} and ({' or '.join(f'{name} is not null' for name in RESOURCES)})",
        "usage_recorded has a resource, which only events of a session can have. Send a resources_updated event for it.",
    ),
)
"""Billing rules, section 3: usage_recorded has only quantities."""
_PART_RULES = (
    RowRule(
        "bad_value",
        "part < 1 or part > parts",
        "part is not from 1 to parts. Number the parts of a listing from 1, and write their number in parts of each.",
    ),
)


def _resource(name: str, type: Type = Type.RESOURCE, *, has_plan_default: bool = False, is_added_later: bool = False) -> Field:
    return Field(name, type, paths=(f"resources.{name}",), has_plan_default=has_plan_default, is_added_later=is_added_later)


def _one_of(ids: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple((known, known) for known in sorted(ids))


def specification(kind: Kind, seeds: Path) -> Specification:
    """The specification of a kind, with the plans and currencies of the price book and the first month of the settings."""
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
                _resource("gpu_count", is_added_later=True),
                _resource("tokens", Type.QUANTITY, is_added_later=True),
                Field("started_at", Type.INSTANT, is_added_later=True, event_types=_CLOSING),
                Field("duration_seconds", Type.SECONDS, is_added_later=True, event_types=_CLOSING),
            )
            return Specification(
                kind, "usage_events", fields, ("event_id",), False, "event_at", "event_date", row_rules=_USAGE_RULES
            )
        case Kind.SUBSCRIPTIONS:
            plans = _one_of(known_ids("plans.csv", "plan_id", seeds))
            # Records from before the books open count from then on, so versions up to that instant are early enough.
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
                Field("language", choices=_one_of(frozenset(LANGUAGES))),
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
                Field("expires_at", Type.INSTANT, is_far_future_null=True),
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
        case Kind.RUNNING:
            fields = (
                Field("listed_at", Type.INSTANT, is_required=True, must_be_past=True),
                Field("sandbox_ids", Type.ID_LIST, is_required=True),
                Field("scope", Type.ID),
                Field("part", Type.INTEGER, default="1"),
                Field("parts", Type.INTEGER, default="1"),
            )
            instant = "strftime(timezone('UTC', listed_at), '%Y-%m-%dT%H:%M:%S.%fZ')"
            key = (("listing_part", f"concat_ws(' ', {instant}, part, scope)"),)
            return Specification(
                kind, "running_listings", fields, ("listing_part",), False, "listed_at", derived=key, row_rules=_PART_RULES
            )
