"""Finds prices that were edited in place after a close used them. Such an edit would rewrite the past without a trace.

A past price is corrected by a row of its own, which names the one it replaces: both stay to be read, and what it changes of
closed months is an adjustment on the next invoice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.errors import PriceBookError, Problem
from pipeline.home import Home
from pipeline.ledger_files import PRICE_BOOK, SCHEMAS, close_folder, closed_periods
from pipeline.price_book import price_book_hash

_IDENTIFIERS = {"rates.csv": "rate_id", "plan_fees.csv": "fee_id"}
Cells = dict[str, str]


@dataclass(frozen=True)
class _Use:
    """What closed invoices billed at a price."""

    invoices: int
    amount: Decimal
    periods: tuple[str, ...]


def require_unedited_prices(home: Home, seeds: Path) -> None:
    """Raises PriceBookError for every price that is not as it was when a close used it."""
    problems = edited_prices(home, seeds)
    if problems:
        raise PriceBookError(problems)


def edited_prices(home: Home, seeds: Path) -> list[Problem]:
    """Each rate and fee that a close used and that has since been edited or removed, with file and line."""
    closed = closed_periods(home)
    if not closed:
        return []
    before = close_folder(home, closed[-1]) / PRICE_BOOK
    if price_book_hash(before) == price_book_hash(seeds):
        return []
    changed = list(_changed(before, seeds))
    uses = _uses(home, {price_id for _, _, price_id, _ in changed}) if changed else {}
    return [
        Problem(f"seeds/{file}", line, _reason(price_id, what, uses[price_id]), _next_step(_IDENTIFIERS[file]))
        for file, line, price_id, what in changed
        if price_id in uses
    ]


def _reason(price_id: str, what: str, use: _Use) -> str:
    periods = use.periods[0] if len(use.periods) == 1 else f"{use.periods[0]} to {use.periods[-1]}"
    return f"{price_id} {what}, and {use.invoices} closed invoices of {periods} billed {use.amount.normalize():f} by it."


def _next_step(identifier: str) -> str:
    return (
        f"Put it back as it was, and add a row with an id of its own and replaces_{identifier} naming it: the difference comes on"
        " the next invoices. billhouse check-prices shows what would change."
    )


def _changed(before: Path, after: Path) -> Iterator[tuple[str, int | None, str, str]]:
    """(file, line, id, what happened to it) of every rate and fee that is not as it was; a rate with its tiers."""
    for file, identifier in _IDENTIFIERS.items():
        was = {row[identifier]: row for _, row in _rows(before / file)}
        now = {row[identifier]: (line, row) for line, row in _rows(after / file)}
        for price_id, row in was.items():
            if price_id not in now:
                yield file, None, price_id, "was removed"
                continue
            line, current = now[price_id]
            differing = [column for column in row if row[column] != current.get(column)]
            if differing:
                told = ", ".join(f"{column} was '{row[column]}', is '{current.get(column)}'" for column in differing)
                yield file, line, price_id, f"was edited ({told})"
            elif identifier == "rate_id" and _tiers(before, price_id) != _tiers(after, price_id):
                yield file, line, price_id, "was edited (its tiers in rate_tiers.csv differ)"


def _rows(path: Path) -> list[tuple[int, Cells]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        return [(reader.line_num, row) for row in reader]


def _tiers(seeds: Path, rate_id: str) -> list[tuple[str, ...]]:
    return sorted(tuple(row.values()) for _, row in _rows(seeds / "rate_tiers.csv") if row["rate_id"] == rate_id)


def _uses(home: Home, price_ids: set[str]) -> dict[str, _Use]:
    """What the ledger billed at each of these prices."""
    columns = ["invoice_id", "period", "rate_id", "amount"]
    files = [close_folder(home, period) / "invoice_lines.parquet" for period in closed_periods(home)]
    invoices: dict[str, set[str]] = {}
    periods: dict[str, set[str]] = {}
    amounts: dict[str, Decimal] = {}
    for file in files:
        lines = pq.read_table(file, columns=columns, schema=SCHEMAS["invoice_lines"], filters=[("rate_id", "in", price_ids)])
        for line in lines.to_pylist():
            invoices.setdefault(line["rate_id"], set()).add(line["invoice_id"])
            periods.setdefault(line["rate_id"], set()).add(line["period"])
            amounts[line["rate_id"]] = amounts.get(line["rate_id"], Decimal(0)) + line["amount"]
    return {price_id: _Use(len(invoices[price_id]), amounts[price_id], tuple(sorted(periods[price_id]))) for price_id in invoices}
