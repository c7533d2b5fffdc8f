"""Reads the price book (seeds/*.csv) as a careful colleague would, and says what in it cannot be meant.

dbt loads the same files; this check runs first, so that a mistake is named by file and line and nothing is built from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.core.errors import PriceBookError, Problem
from pipeline.core.home import SEEDS
from pipeline.core.settings import Settings
from pipeline.pricebook.seed_files import read_seed

DEFAULT_CURRENCY = "USD"
"""What a customer is billed in, and a credit grant is of, where no record names a currency. Billing rules, section 5."""


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})")


_WITHOUT_ZONE = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?")
_DATE_IN_SOME_ORDER = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}.*")


def _hint(text: str) -> str:
    """What a cell that a spreadsheet program reformatted should say."""
    if found := _WITHOUT_ZONE.fullmatch(text):
        return f", in UTC {found[1]}T{found[2]}{found[3] or ':00'}Z"
    if _DATE_IN_SOME_ORDER.fullmatch(text):
        return "; day and month could be either way round"
    return "; the decimal point is a point" if re.fullmatch(r"-?\d+,\d+", text) else ""


def _written_plainly(pattern: re.Pattern[str], wanted: str) -> BeforeValidator:
    """What else a number or an instant may look like to a program (1_50, 0 for 1970) is more likely a slip."""

    def check(value: object) -> object:
        if isinstance(value, str) and not pattern.fullmatch(value.strip()):
            raise ValueError(f"write {wanted}{_hint(value.strip())}")
        return value

    return BeforeValidator(check)


_AS_NUMBER = _written_plainly(_NUMBER, "a number, like 0.000014")
_AS_INSTANT = _written_plainly(_INSTANT, "an instant in ISO 8601, like 2026-11-01T00:00:00Z")
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


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Plan(_Row):
    """A row of plans.csv: a version of a plan."""

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
    """'true' in every row of the plan that customers without a plan record are on."""


class PlanFee(_Row):
    """A row of plan_fees.csv: a version of a monthly fee."""

    fee_id: Name
    plan_id: OptionalName
    contract_id: OptionalName
    currency: Name
    valid_from: Instant
    fee_timing: Literal["arrears", "advance"]
    monthly_fee_amount: Amount
    replaces_fee_id: OptionalName


class SignupCredit(_Row):
    """A row of signup_credits.csv: a version of the one-time credit."""

    plan_id: OptionalName
    contract_id: OptionalName
    currency: Name
    valid_from: Instant
    credit_amount: Amount


class Meter(_Row):
    """A row of meters.csv."""

    meter_id: Name
    meter_name: Name
    meter_kind: Literal["held", "summed"]
    event_column: Literal["vcpu_count", "memory_gb", "storage_gb", "gpu_count", "tokens"]
    unit: Name
    display_order: int


class MeterRate(_Row):
    """A row of rates.csv: a version of a rate."""

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


class RateTier(_Row):
    """A row of rate_tiers.csv: a tier (above_quantity, up_to_quantity] of a graduated or volume rate."""

    rate_id: Name
    above_quantity: Quantity
    up_to_quantity: OptionalQuantity
    unit_amount: Rate
    flat_amount: Amount


class Contract(_Row):
    """A row of contracts.csv: what a customer agreed on instead of its plan's terms."""

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


class Currency(_Row):
    """A row of currencies.csv."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    minor_unit_digits: Annotated[int, Field(ge=0, le=3)]


class StripePrice(_Row):
    """A row of stripe_prices.csv: a Stripe subscription to this price puts its customer on this plan; none: an add-on."""

    stripe_price_id: Annotated[str, Field(pattern="^price_")]
    plan_id: OptionalName


@dataclass(frozen=True)
class _File:
    """One seed file: its rows' shape, and what no two of its rows may share."""

    row: type[_Row]
    key: tuple[str, ...]
    identifier: str | None = None
    replaces: str | None = None
    """The column that names the row which this one corrects: that row no longer holds."""


FILES: dict[str, _File] = {
    "currencies.csv": _File(Currency, ("currency",)),
    "meters.csv": _File(Meter, ("meter_id",)),
    "plans.csv": _File(Plan, ("plan_id", "valid_from")),
    "contracts.csv": _File(Contract, ("contract_id",)),
    "plan_fees.csv": _File(PlanFee, ("plan_id", "contract_id", "currency", "valid_from"), "fee_id", "replaces_fee_id"),
    "signup_credits.csv": _File(SignupCredit, ("plan_id", "contract_id", "currency", "valid_from")),
    "rates.csv": _File(
        MeterRate, ("plan_id", "contract_id", "meter_id", "currency", "valid_from"), "rate_id", "replaces_rate_id"
    ),
    "rate_tiers.csv": _File(RateTier, ("rate_id", "above_quantity")),
    "stripe_prices.csv": _File(StripePrice, ("stripe_price_id",)),
}

Rows = dict[str, list[tuple[int, _Row]]]
"""The rows of each file that could be read, each with its line."""


def check_price_book(seeds: Path = SEEDS, *, with_reachability: bool = True) -> list[Problem]:
    """Everything wrong with the price book, each with file and line; an empty list where nothing is.

    `with_reachability`: also terms that can never apply.
    """
    problems: list[Problem] = []
    rows: Rows = {name: list(_read(seeds / name, file, problems)) for name, file in FILES.items()}
    for check in (
        _check_keys,
        _check_references,
        _check_replacements,
        _check_minor_units,
        _check_owners,
        _check_contracts,
        _check_default_plan,
        _check_charge_models,
        _check_tiers,
        _check_coverage,
        _check_beginnings,
    ):
        problems += check(rows)
    if with_reachability:
        from pipeline.pricebook.reachability import check_reachability  # it reads the rows that are defined here

        problems += check_reachability(rows, Settings.load().books_open_at)
    return problems


def read_rows(seeds: Path = SEEDS) -> Rows:
    """The rows of each file that can be read; check_price_book says what is wrong with the others."""
    problems: list[Problem] = []
    return {name: list(_read(seeds / name, file, problems)) for name, file in FILES.items()}


def require_sound_price_book(seeds: Path = SEEDS, *, with_reachability: bool = True) -> None:
    """Raises PriceBookError with every problem where the price book has one."""
    problems = check_price_book(seeds, with_reachability=with_reachability)
    if problems:
        raise PriceBookError(problems)


def price_book_hash(seeds: Path = SEEDS) -> str:
    """SHA-256 over the seed files: which prices a close was computed with."""
    digest = hashlib.sha256()
    for name in sorted(FILES):
        digest.update(name.encode() + b"\0" + (seeds / name).read_bytes() + b"\0")
    return digest.hexdigest()


def known_ids(file: str, column: str, seeds: Path = SEEDS) -> frozenset[str]:
    """The values of one column of one seed file, for example all plans. Raises PriceBookError where it cannot be read."""
    return frozenset(row[column] for row in _cells(seeds / file, column))


def first_versions(seeds: Path = SEEDS) -> dict[str, datetime]:
    """From when the price book has each plan: the instant of its first row. Unreadable rows are left to check_price_book."""
    first: dict[str, datetime] = {}
    for _, plan in _read(seeds / "plans.csv", FILES["plans.csv"], []):
        if isinstance(plan, Plan):
            first[plan.plan_id] = min(plan.valid_from, first.get(plan.plan_id, plan.valid_from))
    return first


def default_plan(seeds: Path = SEEDS) -> str:
    """The plan of a customer without a plan record. Raises PriceBookError where the price book does not say."""
    problems: list[Problem] = []
    rows: Rows = {"plans.csv": list(_read(seeds / "plans.csv", FILES["plans.csv"], problems))}
    problems += _check_default_plan(rows)
    if problems:
        raise PriceBookError(problems)
    (plan_id,) = {plan.plan_id for _, plan in rows["plans.csv"] if isinstance(plan, Plan) and plan.is_default}
    return plan_id


def minor_unit_digits(seeds: Path = SEEDS) -> tuple[tuple[str, int], ...]:
    """(currency, digits of its minor unit) of every currency there is: USD 2, JPY 0."""
    rows = _cells(seeds / "currencies.csv", "currency", "minor_unit_digits")
    return tuple((row["currency"], int(row["minor_unit_digits"])) for row in rows)


def _cells(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of one file with these columns, for landing, which needs no more of the price book to be sound."""
    seed = read_seed(path)
    missing = [column for column in columns if column not in seed.header]
    if not seed.is_readable or missing:
        problems = seed.problems or [Problem(_shown(path), 1, f"has no column {', '.join(missing)}.", "Add it to the header.")]
        raise PriceBookError(problems)
    return [row for _, row in seed.rows]


def _shown(path: Path | str) -> str:
    return f"seeds/{Path(path).name}"


def _read(path: Path, file: _File, problems: list[Problem]) -> Iterator[tuple[int, _Row]]:
    shown = _shown(path)
    if not path.is_file():
        problems.append(Problem(shown, None, "is missing.", "Restore it; a price book has all of: " + ", ".join(FILES) + "."))
        return
    seed = read_seed(path)
    problems += seed.problems
    if not seed.is_readable:
        return
    required = {name for name, field in file.row.model_fields.items() if field.is_required()}
    missing = required - set(seed.header)
    if missing:
        problems.append(Problem(shown, 1, f"has no column {', '.join(sorted(missing))}.", "Add it to the header."))
        return
    for line, cells in seed.rows:
        try:
            yield line, file.row.model_validate(cells)
        except ValidationError as error:
            for found in error.errors():
                column = str(found["loc"][0])
                value = cells.get(column)
                problems.append(Problem(shown, line, f"{column} is '{value}': {found['msg']}.", "Correct the cell."))


def _check_keys(rows: Rows) -> Iterator[Problem]:
    """No two rows may hold for the same thing from the same instant: which of them would be the price?"""
    for name, file in FILES.items():
        for key in filter(None, (file.key, (file.identifier,) if file.identifier else None)):
            first_line: dict[tuple[object, ...], int] = {}
            replaced = replaced_ids(rows, name) if key == file.key else frozenset()
            for line, row in rows[name]:
                if file.identifier and getattr(row, file.identifier) in replaced:
                    continue
                value = tuple(getattr(row, column) for column in key)
                earlier = first_line.setdefault(value, line)
                if earlier != line:
                    told = ", ".join(f"{c}={v}" for c, v in zip(key, value, strict=True) if v is not None)
                    yield Problem(
                        _shown(name),
                        line,
                        f"overlaps line {earlier}: both hold for {told}.",
                        "Keep one, or give the later one another valid_from."
                        if "valid_from" in key
                        else "Keep one, or give this one another id.",
                    )


def _check_references(rows: Rows) -> Iterator[Problem]:
    targets: dict[str, str] = {
        "plan_id": "plans.csv",
        "contract_id": "contracts.csv",
        "meter_id": "meters.csv",
        "currency": "currencies.csv",
        "rate_id": "rates.csv",
    }
    known = {column: {getattr(row, column) for _, row in rows[name]} for column, name in targets.items()}
    for name, file in FILES.items():
        for column in targets.keys() & file.row.model_fields.keys():
            for line, row in rows[name]:
                value = getattr(row, column)
                if value is not None and value not in known[column]:
                    yield Problem(
                        _shown(name),
                        line,
                        f"{column} '{value}' is not in seeds/{targets[column]}.",
                        f"Add it there, or use one of: {', '.join(sorted(known[column])) or 'none yet'}.",
                    )


def replaced_ids(rows: Rows, name: str) -> frozenset[object]:
    """The ids of the rows of a file that other rows of it correct."""
    column = FILES[name].replaces
    return frozenset(getattr(row, column) for _, row in rows[name]) - {None} if column else frozenset()


def _check_replacements(rows: Rows) -> Iterator[Problem]:
    """A correction names a row of the same thing, once."""
    for name, file in FILES.items():
        if file.replaces is None or file.identifier is None:
            continue
        by_id = {getattr(row, file.identifier): row for _, row in rows[name]}
        same = [column for column in file.key if column != "valid_from"]
        taken: dict[str, int] = {}
        for line, row in rows[name]:
            target = getattr(row, file.replaces)
            if target is None:
                continue
            replaced = by_id.get(target)
            if replaced is None or replaced is row:
                yield Problem(_shown(name), line, f"{file.replaces} '{target}' is no other row.", "Name the row it corrects.")
            elif any(getattr(row, column) != getattr(replaced, column) for column in same):
                reason = f"corrects '{target}', which differs in {', '.join(same)}."
                yield Problem(_shown(name), line, reason, "Correct a row of its own kind.")
            elif target in taken:
                reason = f"corrects '{target}', and so does line {taken[target]}."
                yield Problem(_shown(name), line, reason, "Correct the correction instead.")
            else:
                taken[target] = line
        for line, row in rows[name]:
            chain, step = [getattr(row, file.identifier)], getattr(row, file.replaces)
            while step is not None and step in by_id and step not in chain:
                chain.append(step)
                step = getattr(by_id[step], file.replaces)
            if step == chain[0] and len(chain) > 1:
                reason = f"corrects {' which corrects '.join(map(repr, chain[1:]))} which corrects it: none of them would hold."
                yield Problem(_shown(name), line, reason, "Let the one that is right correct the other.")


def _check_minor_units(rows: Rows) -> Iterator[Problem]:
    """A credit is given as it is: it must be of whole minor units, or no invoice it pays would be."""
    digits = {row.currency: row.minor_unit_digits for _, row in rows["currencies.csv"] if isinstance(row, Currency)}
    for line, row in rows["signup_credits.csv"]:
        if isinstance(row, SignupCredit) and row.credit_amount != round(row.credit_amount, digits.get(row.currency, 6)):
            reason = f"credit_amount {row.credit_amount} is finer than {row.currency} is."
            yield Problem(_shown("signup_credits.csv"), line, reason, "Round it.")


def _check_charge_models(rows: Rows) -> Iterator[Problem]:
    """Each charge model has what it needs, and nothing that it would not look at."""
    kinds = {meter.meter_id: meter.meter_kind for _, meter in rows["meters.csv"] if isinstance(meter, Meter)}
    with_tiers = {tier.rate_id for _, tier in rows["rate_tiers.csv"] if isinstance(tier, RateTier)}
    for line, rate in rows["rates.csv"]:
        if not isinstance(rate, MeterRate):
            continue
        is_tiered = rate.charge_model in ("graduated", "volume")
        faults = (
            (is_tiered and rate.rate_id not in with_tiers, "has no tiers.", "Add its tiers to seeds/rate_tiers.csv."),
            (not is_tiered and rate.rate_id in with_tiers, "has tiers, and no tiered model.", "Make it graduated or volume."),
            (is_tiered and rate.unit_amount is not None, "has a unit_amount beside its tiers.", "Leave unit_amount empty."),
            (not is_tiered and rate.unit_amount is None, "has no unit_amount.", "Give its price."),
            (
                (rate.charge_model == "package") != (rate.package_size is not None),
                "must have a package_size if, and only if, its model is package.",
                "Fill it in, or leave it empty.",
            ),
            (
                kinds.get(rate.meter_id) == "summed" and rate.allowance_level > 0,
                "has an allowance, which is a level held over time; this meter sums quantities.",
                "Set allowance_level to 0; what is free can be a first tier at 0.",
            ),
        )
        for is_so, what, help in faults:
            if is_so:
                yield Problem(_shown("rates.csv"), line, f"{rate.rate_id} {what}", help)


def _check_tiers(rows: Rows) -> Iterator[Problem]:
    """Tiers follow each other from 0 without gap or overlap, and the last has no end."""
    tiers = [(line, tier) for line, tier in rows["rate_tiers.csv"] if isinstance(tier, RateTier)]
    tiers.sort(key=lambda item: (item[1].rate_id, item[1].above_quantity))
    shown = _shown("rate_tiers.csv")
    for rate_id, group in groupby(tiers, key=lambda item: item[1].rate_id):
        reached: Decimal | None = Decimal(0)
        for line, tier in group:
            if reached is None or tier.above_quantity != reached:
                there = "has no end" if reached is None else f"ends at {reached}"
                yield Problem(
                    shown,
                    line,
                    f"starts above {tier.above_quantity}, but the tier of {rate_id} before it {there}.",
                    "Let each tier begin where the one before ends; the first begins at 0.",
                )
            if tier.up_to_quantity is not None and tier.up_to_quantity <= tier.above_quantity:
                yield Problem(shown, line, "ends before it begins.", "Correct up_to_quantity.")
            reached = tier.up_to_quantity
        if reached is not None:
            yield Problem(shown, line, f"is the last tier of {rate_id}, and has an end.", "Leave its up_to_quantity empty.")


def _check_coverage(rows: Rows) -> Iterator[Problem]:
    """Every plan has a rate for every meter in every currency: what has none could not be billed."""
    rates = {(rate.plan_id, rate.meter_id, rate.currency) for _, rate in rows["rates.csv"] if isinstance(rate, MeterRate)}
    plans = dict.fromkeys(plan.plan_id for _, plan in rows["plans.csv"] if isinstance(plan, Plan))
    for line, meter in rows["meters.csv"]:
        for _, currency in rows["currencies.csv"]:
            if not isinstance(meter, Meter) or not isinstance(currency, Currency):
                continue
            without = [plan for plan in plans if (plan, meter.meter_id, currency.currency) not in rates]
            if without:
                yield Problem(
                    _shown("meters.csv"),
                    line,
                    f"{meter.meter_id} has no rate in {currency.currency} on {', '.join(without)}.",
                    "Add one for each to seeds/rates.csv, of 0 if it is to be free; or take the currency out of currencies.csv.",
                )


def _check_beginnings(rows: Rows) -> Iterator[Problem]:
    """A plan's rate for a meter begins no later than the plan: what was used before could not be billed."""
    begun: dict[str, AwareDatetime] = {}
    for _, plan in rows["plans.csv"]:
        if isinstance(plan, Plan):
            begun[plan.plan_id] = min(plan.valid_from, begun.get(plan.plan_id, plan.valid_from))
    replaced = replaced_ids(rows, "rates.csv")
    first: dict[tuple[str, str, str], tuple[AwareDatetime, int]] = {}
    for line, rate in rows["rates.csv"]:
        if isinstance(rate, MeterRate) and rate.plan_id is not None and rate.rate_id not in replaced:
            key = (rate.plan_id, rate.meter_id, rate.currency)
            first[key] = min((rate.valid_from, line), first.get(key, (rate.valid_from, line)))
    for (plan_id, meter_id, currency), (valid_from, line) in first.items():
        if plan_id in begun and valid_from > begun[plan_id]:
            yield Problem(
                _shown("rates.csv"),
                line,
                f"is the first rate of {meter_id} on {plan_id} in {currency}, and begins after the plan does.",
                "Let it begin with the plan, or add one for the time before, of 0 if that is to be free.",
            )


def _check_owners(rows: Rows) -> Iterator[Problem]:
    """A price belongs to a plan or to a contract, to exactly one of the two."""
    for name in ("plan_fees.csv", "signup_credits.csv", "rates.csv"):
        for line, row in rows[name]:
            owners = [getattr(row, "plan_id"), getattr(row, "contract_id")]  # noqa: B009 - rows of three kinds
            if owners.count(None) != 1:
                yield Problem(_shown(name), line, "must name a plan_id or a contract_id, and not both.", "Fill in exactly one.")


def _check_default_plan(rows: Rows) -> Iterator[Problem]:
    """One plan is the default, in all of its rows: a customer without a plan record is on it."""
    shown = _shown("plans.csv")
    plans = [(line, plan) for line, plan in rows["plans.csv"] if isinstance(plan, Plan)]
    defaults = sorted({plan.plan_id for _, plan in plans if plan.is_default})
    if not plans:
        return
    if not defaults:
        yield Problem(
            shown,
            None,
            "has no default plan: a customer without a plan record would be on none.",
            "Add is_default as the last column, and write true in every row of the plan that such customers are on.",
        )
    for line, plan in plans:
        if plan.is_default and plan.plan_id != defaults[0]:
            reason = f"makes {plan.plan_id} a default plan, beside {defaults[0]}."
            yield Problem(shown, line, reason, "Write true in is_default for the rows of one plan alone.")
        if not plan.is_default and plan.plan_id in defaults:
            reason = f"does not say that {plan.plan_id} is the default plan, and another row of it does."
            yield Problem(shown, line, reason, "Write true in is_default in every row of the default plan.")
    books_open_at = Settings.load().books_open_at
    for plan_id in defaults:
        first, line = min((plan.valid_from, line) for line, plan in plans if plan.plan_id == plan_id)
        if first > books_open_at:
            yield Problem(
                shown,
                line,
                f"is the first row of the default plan {plan_id}, and begins after the books open with {books_open_at:%Y-%m}.",
                "Let it begin by then, or let the books open later: BILLHOUSE_FIRST_BILLING_MONTH.",
            )


def _check_contracts(rows: Rows) -> Iterator[Problem]:
    """A customer has one contract at a time."""
    contracts = [(line, row) for line, row in rows["contracts.csv"] if isinstance(row, Contract)]
    by_customer: Callable[[tuple[int, Contract]], tuple[str, AwareDatetime]] = lambda item: (  # noqa: E731
        item[1].customer_id,
        item[1].starts_at,
    )
    ordered = sorted(contracts, key=by_customer)
    for line, contract in ordered:
        if contract.ends_at is not None and contract.ends_at <= contract.starts_at:
            yield Problem(_shown("contracts.csv"), line, "ends before it starts.", "Correct starts_at or ends_at.")
    for (earlier_line, earlier), (line, later) in pairwise(ordered):
        if earlier.customer_id == later.customer_id and (earlier.ends_at is None or later.starts_at < earlier.ends_at):
            yield Problem(
                _shown("contracts.csv"),
                line,
                f"overlaps line {earlier_line}: both are in force for {later.customer_id} from {later.starts_at:%Y-%m-%d}.",
                "End the earlier one when the later one starts.",
            )
