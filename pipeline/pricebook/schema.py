"""The columns of each seed file, their types, and their unique keys. docs/reference/price-book.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})")


_WITHOUT_ZONE = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?")
_DATE_IN_SOME_ORDER = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}.*")


def _hint(text: str) -> str:
    """How to correct a cell that a spreadsheet program reformatted."""
    if found := _WITHOUT_ZONE.fullmatch(text):
        return f", in UTC {found[1]}T{found[2]}{found[3] or ':00'}Z"
    if _DATE_IN_SOME_ORDER.fullmatch(text):
        return "; day and month are ambiguous"
    return "; use a point as decimal separator" if re.fullmatch(r"-?\d+,\d+", text) else ""


def _matching(pattern: re.Pattern[str], expected: str) -> BeforeValidator:
    """Accept only the common notation of a type: others that Python parses (1_50, or 0 for 1970) are probably mistakes."""

    def check(value: object) -> object:
        if isinstance(value, str) and not pattern.fullmatch(value.strip()):
            raise ValueError(f"write {expected}{_hint(value.strip())}")
        return value

    return BeforeValidator(check)


_AS_NUMBER = _matching(_NUMBER, "a number, like 0.000014")
_AS_INSTANT = _matching(_INSTANT, "an instant in ISO 8601, like 2026-11-01T00:00:00Z")
Instant = Annotated[AwareDatetime, _AS_INSTANT]
Name = Annotated[str, Field(min_length=1, max_length=200)]
OptionalName = Annotated[Name | None, BeforeValidator(_empty_is_none)]
OptionalInstant = Annotated[Instant | None, BeforeValidator(_empty_is_none)]
Rate = Annotated[Decimal, Field(ge=0, max_digits=26, decimal_places=12), _AS_NUMBER]
"""At most 12 decimals: Stripe's own limit. Billing rules, section 2."""
Amount = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6), _AS_NUMBER]
OptionalRate = Annotated[Rate | None, BeforeValidator(_empty_is_none)]
OptionalAmount = Annotated[Amount | None, BeforeValidator(_empty_is_none)]
Share = Annotated[Decimal, Field(ge=0, le=1, max_digits=7, decimal_places=6), _AS_NUMBER]
OptionalShare = Annotated[Share | None, BeforeValidator(_empty_is_none)]
Quantity = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=6), _AS_NUMBER]
OptionalQuantity = Annotated[Annotated[Quantity, Field(gt=0)] | None, BeforeValidator(_empty_is_none)]
Resource = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6), _AS_NUMBER]
OptionalResource = Annotated[Resource | None, BeforeValidator(_empty_is_none)]
IsTrue = Annotated[Literal["true"] | None, BeforeValidator(_empty_is_none)]
OptionalLimit = Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(_empty_is_none)]


class SeedRow(BaseModel):
    """A row of a seed file."""

    model_config = ConfigDict(extra="forbid")


class Plan(SeedRow):
    """A row of plans.csv: one version of a plan."""

    plan_id: Name
    valid_from: Instant
    plan_name: Name
    collection: Literal["none", "send_invoice"]
    max_session_seconds: OptionalLimit
    max_concurrent_sandboxes: OptionalLimit
    default_vcpu_count: Resource
    default_memory_gb: Resource
    default_storage_gb: Resource
    is_default: IsTrue = None
    """'true' in every row of the default plan, which customers without a plan record are on."""


class PlanFee(SeedRow):
    """A row of plan_fees.csv: one version of a monthly fee."""

    fee_id: Name
    plan_id: OptionalName
    contract_id: OptionalName
    currency: Name
    valid_from: Instant
    fee_timing: Literal["arrears", "advance"]
    monthly_fee_amount: Amount
    replaces_fee_id: OptionalName


class SignupCredit(SeedRow):
    """A row of signup_credits.csv: one version of a sign-up credit."""

    plan_id: OptionalName
    contract_id: OptionalName
    currency: Name
    valid_from: Instant
    credit_amount: Amount


class Meter(SeedRow):
    """A row of meters.csv."""

    meter_id: Name
    meter_name: Name
    meter_kind: Literal["held", "summed"]
    event_column: Literal["vcpu_count", "memory_gb", "storage_gb", "gpu_count", "tokens"]
    unit: Name
    display_order: int


class MeterRate(SeedRow):
    """A row of rates.csv: one version of a rate."""

    rate_id: Name
    plan_id: OptionalName
    contract_id: OptionalName
    meter_id: Name
    currency: Name
    valid_from: Instant
    charge_model: Literal["per_unit", "graduated", "volume", "package"]
    unit_amount: OptionalRate
    package_size: OptionalQuantity
    allowance_level: Resource
    replaces_rate_id: OptionalName


class RateTier(SeedRow):
    """A row of rate_tiers.csv: a tier (above_quantity, up_to_quantity] of a graduated or volume rate."""

    rate_id: Name
    above_quantity: Quantity
    up_to_quantity: OptionalQuantity
    unit_amount: Rate
    flat_amount: Amount


class Contract(SeedRow):
    """A row of contracts.csv: the terms of one customer, which replace those of its plan."""

    contract_id: Name
    customer_id: Name
    contract_name: Name
    starts_at: Instant
    ends_at: OptionalInstant
    currency: Name
    discount_rate: OptionalShare
    monthly_commitment_amount: OptionalAmount
    max_session_seconds: OptionalLimit
    max_concurrent_sandboxes: OptionalLimit
    default_vcpu_count: OptionalResource
    default_memory_gb: OptionalResource
    default_storage_gb: OptionalResource


class Currency(SeedRow):
    """A row of currencies.csv."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    minor_unit_digits: Annotated[int, Field(ge=0, le=3)]


class StripePrice(SeedRow):
    """A row of stripe_prices.csv: the plan of customers with a Stripe subscription to this price; no plan: an add-on."""

    stripe_price_id: Annotated[str, Field(pattern="^price_")]
    plan_id: OptionalName


@dataclass(frozen=True)
class SeedSchema:
    """The schema of one seed file."""

    row: type[SeedRow]
    key: tuple[str, ...]
    """Columns whose values are unique together."""
    identifier: str | None = None
    """A column whose values are unique."""
    replaces: str | None = None
    """The column that names the row that this one corrects, which is then no longer in force."""


FILES: dict[str, SeedSchema] = {
    "currencies.csv": SeedSchema(Currency, ("currency",)),
    "meters.csv": SeedSchema(Meter, ("meter_id",)),
    "plans.csv": SeedSchema(Plan, ("plan_id", "valid_from")),
    "contracts.csv": SeedSchema(Contract, ("contract_id",)),
    "plan_fees.csv": SeedSchema(PlanFee, ("plan_id", "contract_id", "currency", "valid_from"), "fee_id", "replaces_fee_id"),
    "signup_credits.csv": SeedSchema(SignupCredit, ("plan_id", "contract_id", "currency", "valid_from")),
    "rates.csv": SeedSchema(
        MeterRate, ("plan_id", "contract_id", "meter_id", "currency", "valid_from"), "rate_id", "replaces_rate_id"
    ),
    "rate_tiers.csv": SeedSchema(RateTier, ("rate_id", "above_quantity")),
    "stripe_prices.csv": SeedSchema(StripePrice, ("stripe_price_id",)),
}

PriceBookRows = dict[str, list[tuple[int, SeedRow]]]
"""By file name, the valid rows, each with its line number."""
