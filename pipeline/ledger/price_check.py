"""Checks the price book: is it valid, was a price edited that closed months used, and which invoices would that change."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.core.errors import Problem
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.progress import OnProgress
from pipeline.ledger.simulation import COLUMNS, compare_price_books
from pipeline.pricebook.edits import accept_price_book, edited_prices
from pipeline.pricebook.price_book import read_price_book
from pipeline.pricebook.reachability import contracts_in_another_currency
from pipeline.pricebook.schema import FILES
from pipeline.pricebook.seed_files import normalize_seed_file
from pipeline.pricebook.stripe_currencies import check_currencies
from pipeline.pricebook.validation import check_price_book
from pipeline.store.closes import PRICE_BOOK, close_folder, closed_periods


@dataclass
class PriceCheck:
    """The problems of a price book."""

    problems: list[Problem] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    """Files that were rewritten as plain CSV."""
    changed: list[tuple[str, str, str, Decimal, Decimal, Decimal]] = field(default_factory=list)
    """Closed invoices that an edit would change, by simulation.COLUMNS; empty unless a used price was edited."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "is_sound": not self.problems,
            "problems": [vars(problem) for problem in self.problems],
            "fixed": self.fixed,
            "closed_invoices_changed": [dict(zip(COLUMNS, map(str, row), strict=True)) for row in self.changed],
        }


def check_prices(
    home: Home,
    *,
    seeds: Path = PROJECT_ROOT / "seeds",
    accept_by: str | None = None,
    is_to_be_fixed: bool = False,
    on_progress: OnProgress | None = None,
) -> PriceCheck:
    """Check the price book: each problem with file and line, and the closed invoices that an edited price would change.

    `accept_by`: who accepts that edits of plans, contracts, meters and currencies adjust closed months. Edited rates and fees are
    never accepted: a row that replaces them corrects them. `is_to_be_fixed`: first rewrite files that a spreadsheet program saved
    in a form that dbt does not read; values stay the same.
    """
    fixed = []
    if is_to_be_fixed:
        fixed = [name for name in FILES if (seeds / name).is_file() and normalize_seed_file(seeds / name)]
    # A currency that Stripe does not take is a problem here, but does not stop a build: `publish` refuses each such invoice.
    unpublishable = list(check_currencies(read_price_book(seeds)[0]))
    problems = check_price_book(seeds)
    if problems := problems or contracts_in_another_currency(home, seeds):
        return PriceCheck(problems + unpublishable, fixed)
    if accept_by is not None:
        accept_price_book(home, seeds, accept_by)
    result = PriceCheck(edited_prices(home, seeds), fixed)
    if result.problems:
        closed = closed_periods(home)
        before = close_folder(home, closed[-1]) / PRICE_BOOK
        compared = compare_price_books(home, before, seeds, closed[0], closed[-1], on_progress=on_progress)
        result.changed = compared.changed
    result.problems += unpublishable
    return result
