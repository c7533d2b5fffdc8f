"""The questions: one SQL file each in questions/, whose first comment is the question and whose further comments explain it.

A query names tables as `billing.invoices`, so that it runs as it is wherever billhouse.duckdb is open. `{{ var('name') }}` is a
parameter, which becomes a literal; `{{ price_book.minor_unit_digits('column') }}` becomes an expression for the decimals of the
currency in a column. What a page shows is exactly what runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.core.sql import quoted
from pipeline.pricebook.price_book import minor_unit_digits

FOLDER = Path(__file__).parent / "questions"
_PARAMETER = re.compile(r"\{\{ var\('(\w+)'\) \}\}")
_DIGITS = re.compile(r"\{\{ price_book\.minor_unit_digits\('(\w+)'\) \}\}")
_USUAL_DIGITS = 2

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Revenue": (
        "revenue_by_month",
        "revenue_by_plan",
        "revenue_change_by_plan",
        "revenue_by_meter",
        "usage_by_day",
        "receivables",
        "corrections",
    ),
    "Customers": (
        "largest_customers",
        "customer_invoices",
        "invoice_change",
        "invoice_days",
        "invoice_vcpu_days",
        "invoice_sandboxes",
        "invoice_lines",
    ),
    "Cohorts": ("cohorts",),
    "Credits": ("credit_by_month", "credit_left"),
    "Concurrency": ("concurrency_by_day", "concurrency_limits", "reached_limits"),
    "Utilisation": ("utilisation_by_day", "savings_by_customer", "oversized_sandboxes"),
    "Unit economics": ("revenue_per_vcpu_hour", "revenue_per_customer", "sandbox_costs", "session_ends"),
    "Data": ("quarantine",),
}
"""The questions by subject, in the order of the pages."""


@dataclass(frozen=True)
class Question:
    """A question and the query that answers it."""

    name: str
    title: str
    note: str
    """What the figures mean, and how the answer is to be read; '' where the question says it all."""
    template: str
    """The query, with its parameters."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the parameters."""
        return frozenset(_PARAMETER.findall(self.template))

    def sql(self, **parameters: str) -> str:
        """The query with a literal for each parameter. Raises KeyError for a missing one."""
        return _PARAMETER.sub(lambda found: quoted(parameters[found[1]]), self.template)


@cache
def questions() -> Mapping[str, Question]:
    """All questions by name, in the order of SECTIONS. Raises ValueError for a file without a comment that asks."""
    return {name: _read(FOLDER / f"{name}.sql") for names in SECTIONS.values() for name in names}


def _read(file: Path) -> Question:
    lines = file.read_text(encoding="utf-8").splitlines()
    header = 0
    while header < len(lines) and lines[header].startswith("-- "):
        header += 1
    comments = [line.removeprefix("-- ") for line in lines[:header]]
    if not comments or not comments[0].endswith("?"):
        raise ValueError(f"{file} does not begin with a comment that asks a question.")
    query = _DIGITS.sub(lambda found: _digits_of(found[1]), "\n".join(lines[header:]).strip())
    return Question(file.stem, comments[0], " ".join(comments[1:]), query)


def _digits_of(column: str) -> str:
    """An expression for the decimals of the minor unit of the currency in a column."""
    others = [(currency, digits) for currency, digits in minor_unit_digits() if digits != _USUAL_DIGITS]
    if not others:
        return str(_USUAL_DIGITS)
    cases = " ".join(f"when {quoted(currency)} then {digits}" for currency, digits in others)
    return f"case {column} {cases} else {_USUAL_DIGITS} end"
