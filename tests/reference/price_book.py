"""The price book: the seeds' CSV files, effective-dated. Billing rules, section 5.

A version holds from its `valid_from` until the next one of the same thing. What belongs to a contract beats the plan's
while the contract is in force; what the contract leaves out, or leaves empty, is the plan's.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True)
class Meter:
    meter_id: str
    event_column: str
    """The event's column that it reads."""
    is_summed: bool = False
    """Whether its quantity is the sum of the values of events, and not a resource held over time."""


@dataclass(frozen=True)
class Terms:
    """The terms of a plan, or of a contract that overrides it; None: not specified."""

    maximum_session: timedelta | None
    default_sandbox: dict[str, Decimal | None]
    """By resource column."""
    collects: bool = True
    """Of a plan: whether it collects what it bills."""


@dataclass(frozen=True)
class Contract:
    contract_id: str
    customer_id: str
    starts_at: datetime
    ends_at: datetime | None
    terms: Terms
    currency: str = "USD"
    discount_rate: Fraction = Fraction(0)
    monthly_commitment: Fraction = Fraction(0)

    def is_in_force(self, instant: datetime) -> bool:
        return self.starts_at <= instant and (self.ends_at is None or instant < self.ends_at)


@dataclass(frozen=True)
class Tier:
    """(above, up_to] of a quantity."""

    above: Fraction
    up_to: Fraction | None
    """None: without end."""
    unit_amount: Fraction
    flat_amount: Fraction


@dataclass(frozen=True)
class Rate:
    """One version of the price of a meter."""

    rate_id: str
    unit_amount: Fraction
    """Price of one unit or package; 0 if the rate has tiers."""
    allowance_level: Fraction
    """In units of the resource: free quantity = level x seconds."""
    charge_model: str = "per_unit"
    package_size: Fraction = Fraction(1)
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True)
class Fee:
    """One version of a monthly fee."""

    fee_id: str
    monthly_amount: Fraction
    is_in_advance: bool = False


class Versions(Generic[V]):
    """Values of things over time."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, ...], list[tuple[datetime, V]]] = defaultdict(list)

    def add(self, key: tuple[str, ...], valid_from: datetime, value: V) -> None:
        versions = self._of[key]
        versions.append((valid_from, value))
        versions.sort(key=lambda version: version[0])

    def at(self, key: tuple[str, ...], instant: datetime) -> V | None:
        """The version in force at an instant; None before the first."""
        found = None
        for valid_from, value in self._of.get(key, ()):
            if valid_from <= instant:
                found = value
        return found

    def instants(self) -> set[datetime]:
        """The instants at which versions come into force."""
        return {valid_from for versions in self._of.values() for valid_from, _ in versions}


@dataclass(frozen=True)
class PriceBook:
    meters: tuple[Meter, ...]
    minor_unit_digits: dict[str, int]
    plans: Versions[Terms]
    contracts: dict[str, list[Contract]]
    """By customer."""
    rates: Versions[Rate]
    fees: Versions[Fee]
    signup_credits: Versions[Decimal]
    default_plan: str
    """The plan of a customer before its first plan record."""
    version_instants: frozenset[datetime]
    """The instants at which any price or term of a plan or contract changes."""
    contract_price_ids: frozenset[str]
    """The ids of the contracts, and of their rates and fees."""

    @classmethod
    def read(cls, folder: Path) -> PriceBook:
        """Read the CSV files of a seeds folder."""
        meters = tuple(
            Meter(row["meter_id"], row["event_column"], row["meter_kind"] == "summed") for row in _rows(folder, "meters")
        )
        columns = [meter.event_column for meter in meters if not meter.is_summed]
        tiers: dict[str, list[Tier]] = defaultdict(list)
        for row in _rows(folder, "rate_tiers"):
            up_to = Fraction(row["up_to_quantity"]) if row["up_to_quantity"] else None
            tiers[row["rate_id"]].append(
                Tier(Fraction(row["above_quantity"]), up_to, Fraction(row["unit_amount"]), Fraction(row["flat_amount"]))
            )
        (default_plan,) = {row["plan_id"] for row in _rows(folder, "plans") if row.get("is_default")}
        plans: Versions[Terms] = Versions()
        for row in _rows(folder, "plans"):
            plans.add((row["plan_id"],), _instant(row["valid_from"]), _terms(row, columns))
        contracts: dict[str, list[Contract]] = defaultdict(list)
        for row in _rows(folder, "contracts"):
            ends_at = _instant(row["ends_at"]) if row["ends_at"] else None
            contract = Contract(
                row["contract_id"],
                row["customer_id"],
                _instant(row["starts_at"]),
                ends_at,
                _terms(row, columns),
                row["currency"],
                Fraction(row["discount_rate"] or 0),
                Fraction(row["monthly_commitment_amount"] or 0),
            )
            contracts[contract.customer_id].append(contract)
        rates = _versions(folder, "rates", lambda row: _rate(row, tiers), "meter_id", "currency")
        fees = _versions(folder, "plan_fees", _fee, "currency")
        credits = _versions(folder, "signup_credits", lambda row: Decimal(row["credit_amount"]), "currency")
        return cls(
            meters=meters,
            minor_unit_digits={row["currency"]: int(row["minor_unit_digits"]) for row in _rows(folder, "currencies")},
            plans=plans,
            contracts=dict(contracts),
            rates=rates,
            fees=fees,
            signup_credits=credits,
            default_plan=default_plan,
            version_instants=frozenset(rates.instants() | fees.instants() | plans.instants()),
            contract_price_ids=frozenset(
                [row["contract_id"] for row in _rows(folder, "contracts")]
                + [row["rate_id"] for row in _rows(folder, "rates") if row["contract_id"]]
                + [row["fee_id"] for row in _rows(folder, "plan_fees") if row["contract_id"]]
            ),
        )

    def contract(self, customer_id: str, instant: datetime) -> Contract | None:
        """The customer's contract in force."""
        for contract in self.contracts.get(customer_id, ()):
            if contract.is_in_force(instant):
                return contract
        return None

    def maximum_session(self, customer_id: str, plan_id: str, instant: datetime) -> timedelta | None:
        """The maximum duration of a session that starts at an instant; None without a maximum."""
        contract = self.contract(customer_id, instant)
        if contract is not None and contract.terms.maximum_session is not None:
            return contract.terms.maximum_session
        plan = self.plans.at((plan_id,), instant)
        return plan.maximum_session if plan is not None else None

    def default_resource(self, customer_id: str, plan_id: str, column: str, instant: datetime) -> Decimal:
        """The resource of a start that does not name it. Raises LookupError if the price book has no default."""
        contract = self.contract(customer_id, instant)
        if contract is not None and (value := contract.terms.default_sandbox[column]) is not None:
            return value
        plan = self.plans.at((plan_id,), instant)
        if plan is None or (value := plan.default_sandbox[column]) is None:
            raise LookupError(f"The price book has no default {column} for plan {plan_id} at {instant}.")
        return value

    def collects(self, customer_id: str, plan_id: str, instant: datetime) -> bool:
        """Whether what is billed then is collected: by a contract always, else as the plan says."""
        plan = self.plans.at((plan_id,), instant)
        return self.contract(customer_id, instant) is not None or (plan is not None and plan.collects)

    def is_of_contract(self, price_id: str) -> bool:
        """Whether a rate or a fee belongs to a contract, or the id is a contract's own."""
        return price_id in self.contract_price_ids

    def rate(self, customer_id: str, plan_id: str, meter_id: str, currency: str, instant: datetime) -> Rate | None:
        return self._contract_then_plan(self.rates, customer_id, plan_id, instant, meter_id, currency)

    def fee(self, customer_id: str, plan_id: str, currency: str, instant: datetime) -> Fee | None:
        return self._contract_then_plan(self.fees, customer_id, plan_id, instant, currency)

    def signup_credit(self, customer_id: str, plan_id: str, currency: str, instant: datetime) -> Decimal | None:
        return self._contract_then_plan(self.signup_credits, customer_id, plan_id, instant, currency)

    def change_instants(self, customer_id: str) -> set[datetime]:
        """The instants at which this customer's prices can change without a record of the customer."""
        changes = set(self.version_instants)
        for contract in self.contracts.get(customer_id, ()):
            changes.add(contract.starts_at)
            if contract.ends_at is not None:
                changes.add(contract.ends_at)
        return changes

    def _contract_then_plan(
        self, versions: Versions[V], customer_id: str, plan_id: str, instant: datetime, *key: str
    ) -> V | None:
        contract = self.contract(customer_id, instant)
        if contract is not None:
            value = versions.at(("contract", contract.contract_id, *key), instant)
            if value is not None:
                return value
        return versions.at(("plan", plan_id, *key), instant)


def _rows(folder: Path, table: str) -> list[dict[str, str]]:
    # Spreadsheet programs can add a byte order mark and omit empty cells at the end of a row.
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines, restval=""))


def _versions(folder: Path, table: str, value: Callable[[dict[str, str]], V], *key_columns: str) -> Versions[V]:
    versions: Versions[V] = Versions()
    corrected = {text for row in _rows(folder, table) for column, text in row.items() if column.startswith("replaces_")}
    for row in _rows(folder, table):
        if corrected & {row.get("rate_id", ""), row.get("fee_id", "")} - {""}:
            continue
        owner = ("plan", row["plan_id"]) if row["plan_id"] else ("contract", row["contract_id"])
        versions.add((*owner, *(row[column] for column in key_columns)), _instant(row["valid_from"]), value(row))
    return versions


def _terms(row: dict[str, str], columns: list[str]) -> Terms:
    maximum = row["max_session_seconds"]
    # The default sandbox has none of a resource that it does not list.
    defaults = {column: row.get(f"default_{column}", "0") for column in columns}
    return Terms(
        maximum_session=timedelta(seconds=int(maximum)) if maximum else None,
        default_sandbox={column: Decimal(text) if text else None for column, text in defaults.items()},
        collects=row.get("collection") != "none",
    )


def _rate(row: dict[str, str], tiers: dict[str, list[Tier]]) -> Rate:
    return Rate(
        row["rate_id"],
        Fraction(row["unit_amount"] or "0"),
        Fraction(row["allowance_level"] or "0"),
        row["charge_model"],
        Fraction(row["package_size"] or "1"),
        tuple(sorted(tiers[row["rate_id"]], key=lambda tier: tier.above)),
    )


def _fee(row: dict[str, str]) -> Fee:
    return Fee(row["fee_id"], Fraction(row["monthly_fee_amount"]), row["fee_timing"] == "advance")


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
