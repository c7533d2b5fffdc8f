"""How Stripe writes an amount of money: whole units of its own for each currency (seeds/stripe_currencies.csv).

They are not always ISO 4217's minor units: an amount of ISK or UGX is written with two digits that are 00, one of KWD with three
digits of which the last is 0. How many digits our amounts have is set in seeds/currencies.csv; how people read them is in
pipeline/money.py.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import BillhouseError
from pipeline.home import PROJECT_ROOT

FILE = "stripe_currencies.csv"


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


def total_without_tax(document: Any) -> int:
    """What an invoice or credit note of Stripe's sums to without tax, in Stripe's units: what is compared with ours."""
    if document.total_excluding_tax is not None:
        return int(document.total_excluding_tax)
    return int(document.total) - sum(int(tax.amount) for tax in document.total_taxes or [])


def _currency(currency: str) -> StripeCurrency:
    found = stripe_currencies().get(currency.upper())
    if found is None:
        raise BillhouseError(
            f"Stripe does not take {currency}.", f"Invoice it by hand; or, if Stripe takes it by now, add it to seeds/{FILE}."
        )
    return found
