"""Price book check: a currency in which invoices are collected must be one that Stripe can be given exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import Problem
from pipeline.stripe.amounts import FILE, stripe_currencies

_PRICES = ("plan_fees.csv", "rates.csv")


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
