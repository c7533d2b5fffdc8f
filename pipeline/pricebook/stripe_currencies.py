"""How Stripe writes an amount of money: whole units of its own for each currency (seeds/stripe_currencies.csv).

They are not always ISO 4217's minor units: an amount of ISK or UGX is written with two digits that are 00, one of KWD with three
digits of which the last is 0. How many digits our amounts have is set in seeds/currencies.csv; how people read them is in
pipeline/core/money.py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.home import PROJECT_ROOT

FILE = "stripe_currencies.csv"
_PRICES = ("plan_fees.csv", "rates.csv")


@dataclass(frozen=True)
class StripeCurrency:
    """A currency as Stripe writes it."""

    currency: str
    digits: int
    """Of Stripe's unit: an amount of 1 is 10 to this power of its units."""
    step: int
    """Stripe takes multiples of so many units alone."""

    @property
    def smallest_amount(self) -> Decimal:
        """The smallest amount that can be written: 0.01 USD, 1 JPY, 1 ISK, 0.01 KWD."""
        return Decimal(self.step).scaleb(-self.digits)

    def takes_digits(self, digits: int) -> bool:
        """Whether every amount with so many digits behind the point can be written."""
        return Decimal(1).scaleb(-digits) % self.smallest_amount == 0


@cache
def stripe_currencies(seeds: Path = PROJECT_ROOT / "seeds") -> dict[str, StripeCurrency]:
    """Every currency that Stripe takes, by its ISO 4217 code."""
    with (seeds / FILE).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        row["currency"]: StripeCurrency(row["currency"], int(row["stripe_unit_digits"]), int(row["stripe_step_units"]))
        for row in rows
    }


def to_stripe(amount: Decimal, currency: str) -> int:
    """27200 ISK -> 2720000; 12.34 USD -> 1234. Raises BillhouseError for an amount that Stripe cannot be given exactly."""
    units = _currency(currency)
    written = amount.scaleb(units.digits)
    if written % units.step != 0:
        step = f"{units.smallest_amount.normalize():f}"
        raise BillhouseError(
            f"Stripe takes amounts of {currency} in steps of {step} and cannot be given {amount.normalize():f}.",
            f"Set minor_unit_digits of {currency} in seeds/currencies.csv so that lines are rounded to that, for months that are"
            " not closed. Invoice what is closed by hand.",
        )
    return int(written)


def from_stripe(units: int, currency: str) -> Decimal:
    """2720000 of ISK -> 27200.00; 1234 of USD -> 12.34."""
    return Decimal(units).scaleb(-_currency(currency).digits)


def _currency(currency: str) -> StripeCurrency:
    found = stripe_currencies().get(currency.upper())
    if found is None:
        raise BillhouseError(
            f"Stripe does not take {currency}.", f"Invoice it by hand; or, if Stripe takes it by now, add it to seeds/{FILE}."
        )
    return found


def check_currencies(rows: Mapping[str, Sequence[tuple[int, Any]]]) -> Iterator[Problem]:
    """A problem for each currency of currencies.csv in which a plan or contract is collected and that cannot be published.

    `rows`: the price book's rows by file, each with its line.
    """
    collecting = {plan.plan_id for _, plan in rows["plans.csv"] if plan.collection != "none"}
    uses: dict[str, str] = {}
    for name in _PRICES:
        for line, row in rows[name]:
            if row.contract_id is not None or row.plan_id in collecting:
                owner = row.contract_id or row.plan_id
                uses.setdefault(row.currency, f"{owner} (seeds/{name}, line {line}) is collected in it")
    for line, contract in rows["contracts.csv"]:
        uses.setdefault(contract.currency, f"{contract.contract_id} (seeds/contracts.csv, line {line}) is collected in it")
    for line, row in rows["currencies.csv"]:
        if row.currency not in uses:
            continue
        found = stripe_currencies().get(row.currency)
        if found is None:
            yield Problem(
                "seeds/currencies.csv",
                line,
                f"{row.currency}: {uses[row.currency]}, and Stripe does not take {row.currency}.",
                "Take its prices out of plans and contracts that are collected; or, if Stripe takes it by now, add it to"
                f" seeds/{FILE}.",
            )
        elif not found.takes_digits(row.minor_unit_digits):
            digits = max(digits for digits in range(row.minor_unit_digits) if found.takes_digits(digits))
            yield Problem(
                "seeds/currencies.csv",
                line,
                f"{row.currency} with {row.minor_unit_digits} digits: {uses[row.currency]}, and Stripe takes amounts of"
                f" {row.currency} in steps of {found.smallest_amount.normalize():f} alone.",
                f"Write {digits} as its minor_unit_digits: lines are then rounded to that.",
            )
