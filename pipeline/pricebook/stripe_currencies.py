"""Converts amounts of money to and from Stripe's integer units (seeds/stripe_currencies.csv).

Stripe's units are not always ISO 4217's minor units: amounts in ISK and UGX have two decimals, which must be 00; amounts in KWD
have three, the last of which must be 0. The decimals of our amounts are set in seeds/currencies.csv, and those shown to people in
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
    """How Stripe represents amounts in a currency."""

    currency: str
    digits: int
    """An amount of 1 is 10 to this power of Stripe's units."""
    step: int
    """Stripe accepts only multiples of this number of units."""

    @property
    def smallest_amount(self) -> Decimal:
        """The smallest amount that Stripe accepts: 0.01 USD, 1 JPY, 1 ISK, 0.01 KWD."""
        return Decimal(self.step).scaleb(-self.digits)

    def allows_decimals(self, digits: int) -> bool:
        """Whether Stripe accepts every amount with this number of decimals."""
        return Decimal(1).scaleb(-digits) % self.smallest_amount == 0


@cache
def stripe_currencies(seeds: Path = PROJECT_ROOT / "seeds") -> dict[str, StripeCurrency]:
    """The currencies that Stripe supports, by ISO 4217 code."""
    with (seeds / FILE).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        row["currency"]: StripeCurrency(row["currency"], int(row["stripe_unit_digits"]), int(row["stripe_step_units"]))
        for row in rows
    }


def to_stripe(amount: Decimal, currency: str) -> int:
    """27200 ISK -> 2720000; 12.34 USD -> 1234. Raises BillhouseError if Stripe cannot represent the amount exactly."""
    units = _currency(currency)
    written = amount.scaleb(units.digits)
    if written % units.step != 0:
        step = f"{units.smallest_amount.normalize():f}"
        raise BillhouseError(
            f"Stripe accepts amounts in {currency} in steps of {step} only, not {amount.normalize():f}.",
            f"Set minor_unit_digits of {currency} in seeds/currencies.csv so that lines of open months are rounded to that step."
            " Invoice closed months by hand.",
        )
    return int(written)


def from_stripe(units: int, currency: str) -> Decimal:
    """2720000 of ISK -> 27200.00; 1234 of USD -> 12.34."""
    return Decimal(units).scaleb(-_currency(currency).digits)


def _currency(currency: str) -> StripeCurrency:
    found = stripe_currencies().get(currency.upper())
    if found is None:
        raise BillhouseError(
            f"Stripe does not support {currency}.",
            f"Invoice it by hand; or, if Stripe supports it by now, add it to seeds/{FILE}.",
        )
    return found


def check_currencies(rows: Mapping[str, Sequence[tuple[int, Any]]]) -> Iterator[Problem]:
    """A problem for each currency of a collected plan or contract whose amounts Stripe does not accept.

    `rows`: the price book's rows by file, each with its line number.
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
                f"{row.currency}: {uses[row.currency]}, and Stripe does not support {row.currency}.",
                "Remove its prices from plans and contracts that are collected; or, if Stripe supports it by now, add it to"
                f" seeds/{FILE}.",
            )
        elif not found.allows_decimals(row.minor_unit_digits):
            digits = max(digits for digits in range(row.minor_unit_digits) if found.allows_decimals(digits))
            yield Problem(
                "seeds/currencies.csv",
                line,
                f"{row.currency} with {row.minor_unit_digits} decimals: {uses[row.currency]}, and Stripe accepts amounts in"
                f" {row.currency} in steps of {found.smallest_amount.normalize():f} only.",
                f"Write {digits} as its minor_unit_digits: lines are then rounded to that.",
            )
