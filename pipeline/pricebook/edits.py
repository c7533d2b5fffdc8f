"""Finds prices that were edited in place after a close used them. Such an edit would change closed months without a record.

To correct a past price, add a row that names the row it replaces: both remain in the price book, and the difference for closed
months is an adjustment on the next invoice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.core.errors import PriceBookError, Problem
from pipeline.core.home import Home
from pipeline.pricebook.price_book import price_book_hash
from pipeline.pricebook.seed_files import read_seed
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.closes import PRICE_BOOK, SCHEMAS, close_folder, closed_periods

_IDENTIFIERS = {"rates.csv": "rate_id", "plan_fees.csv": "fee_id"}
# Other files that affect closed months: file -> (key, column of the instant from which a row is in force, relevant columns).
_TERMS: dict[str, tuple[tuple[str, ...], str | None, tuple[str, ...]]] = {
    "plans.csv": (
        ("plan_id", "valid_from"),
        "valid_from",
        ("default_vcpu_count", "default_memory_gb", "default_storage_gb", "is_default"),
    ),
    "contracts.csv": (
        ("contract_id",),
        "starts_at",
        (
            *("customer_id", "starts_at", "ends_at", "currency", "discount_rate", "monthly_commitment_amount"),
            *("default_vcpu_count", "default_memory_gb", "default_storage_gb"),
        ),
    ),
    "meters.csv": (("meter_id",), None, ("meter_kind", "event_column")),
    "currencies.csv": (("currency",), None, ("minor_unit_digits",)),
}
Cells = dict[str, str]


@dataclass(frozen=True)
class _Use:
    """The use of a price by closed invoices."""

    invoices: int
    amount: Decimal
    periods: tuple[str, ...]


def require_unedited_prices(home: Home, seeds: Path) -> None:
    """Raise PriceBookError if a price that a close used was edited or removed since."""
    problems = edited_prices(home, seeds)
    if problems:
        raise PriceBookError(problems)


def edited_prices(home: Home, seeds: Path) -> list[Problem]:
    """A problem for each price and term that was in force in a closed month and was edited or removed since.

    Rates and fees are corrected by a row that replaces them. Plans, contracts, meters and currencies have no such rows: to change
    the past by editing them, accept the price book (`accept_price_book`).
    """
    closed = closed_periods(home)
    if not closed:
        return []
    before = close_folder(home, closed[-1]) / PRICE_BOOK
    if price_book_hash(before) == price_book_hash(seeds):
        return []
    end = closed[-1].end
    unused = _removed_unused_contracts(home, before, seeds)
    changed = list(_changed(before, seeds, end, unused))
    uses = _uses(home, {price_id for _, _, price_id, _ in changed}) if changed else {}
    problems = [
        Problem(f"seeds/{file}", line, _reason(price_id, what, uses.get(price_id)), _next_step(_IDENTIFIERS[file]))
        for file, line, price_id, what in changed
    ]
    if not is_accepted(home, seeds):
        problems += _changed_terms(before, seeds, end, unused)
    return problems


def _removed_unused_contracts(home: Home, before: Path, after: Path) -> frozenset[str]:
    """Removed contracts of customers that no close has billed; their removal changes no closed month."""
    remaining = {row["contract_id"] for _, row in _rows(after / "contracts.csv")}
    removed = [row for _, row in _rows(before / "contracts.csv") if row["contract_id"] not in remaining]
    if not removed:
        return frozenset()
    billed: set[str] = set()
    for period in closed_periods(home):
        invoices = pq.read_table(close_folder(home, period) / "invoices.parquet", columns=["customer_id"])
        billed |= set(invoices["customer_id"].to_pylist())
    return frozenset(row["contract_id"] for row in removed if row["customer_id"] not in billed)


def accept_price_book(home: Home, seeds: Path, by: str) -> None:
    """Record that a person accepted this price book, including edited plans, contracts, meters and currencies."""
    with home.writing():
        finish_interrupted(home)
        if is_accepted(home, seeds):
            return
        with append_files(home, "check-prices --accept") as files:
            written = files.file(home.accepted_terms / f"{price_book_hash(seeds)}.json")
            written.write_text(json.dumps({"accepted_by": by, "accepted_at": datetime.now(UTC).isoformat()}) + "\n")


def is_accepted(home: Home, seeds: Path) -> bool:
    """Whether a person accepted this price book, byte for byte."""
    return (home.accepted_terms / f"{price_book_hash(seeds)}.json").exists()


def _changed_terms(before: Path, after: Path, end: datetime, unused: frozenset[str]) -> Iterator[Problem]:
    """Plans, contracts, meters and currencies that were in force in a closed month and were edited or removed."""
    for file, (key, since, columns) in _TERMS.items():
        old = {tuple(row[column] for column in key): row for _, row in _rows(before / file)}
        new = {tuple(row[column] for column in key): (line, row) for line, row in _rows(after / file)}
        for id, row in old.items():
            if (since is not None and _instant(row[since]) >= end) or row.get("contract_id") in unused:
                continue
            line, current = new.get(id, (None, None))
            if current is None:
                change = "was removed"
            else:
                # A price book of an older version lacks newer columns.
                differing = [
                    name
                    for name in columns
                    if name in row
                    and (row[name] or "") != (current.get(name) or "")
                    and not _is_later_end(name, row, current, end)
                ]
                if not differing:
                    continue
                shown = ", ".join(f"{name} was '{row[name]}', is '{current[name]}'" for name in differing)
                change = f"was edited ({shown})"
            yield Problem(
                f"seeds/{file}",
                line,
                f"{' '.join(id)} {change}, and it was in force in closed months.",
                "Restore it, and add a row that is in force from the day of the change. To change closed months, review the"
                " effect and accept it: billhouse check-prices --accept",
            )


def _is_later_end(column: str, before: Cells, after: Cells, end: datetime) -> bool:
    """Whether only the end of a contract moved, and not into a closed month; this changes no closed month."""
    return column == "ends_at" and all(not row[column] or _instant(row[column]) >= end for row in (before, after))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _reason(price_id: str, what: str, use: _Use | None) -> str:
    if use is None:
        return f"{price_id} {what}, and it was in force in closed months."
    periods = use.periods[0] if len(use.periods) == 1 else f"{use.periods[0]} to {use.periods[-1]}"
    return f"{price_id} {what}, and {use.invoices} closed invoices of {periods} billed {use.amount.normalize():f} at this price."


def _next_step(identifier: str) -> str:
    return (
        f"Restore it, and add a row with a new id whose replaces_{identifier} names it: the difference is billed on the next"
        " invoices. To see it: billhouse check-prices"
    )


def _changed(before: Path, after: Path, end: datetime, unused: frozenset[str]) -> Iterator[tuple[str, int | None, str, str]]:
    """(file, line, id, change) of each rate (with its tiers) and fee that was in force before `end` and was edited or removed."""
    for file, identifier in _IDENTIFIERS.items():
        old = {row[identifier]: row for _, row in _rows(before / file)}
        new = {row[identifier]: (line, row) for line, row in _rows(after / file)}
        for price_id, row in old.items():
            if _instant(row["valid_from"]) >= end or row["contract_id"] in unused:
                continue
            if price_id not in new:
                yield file, None, price_id, "was removed"
                continue
            line, current = new[price_id]
            differing = [column for column in row if row[column] != current.get(column)]
            if differing:
                shown = ", ".join(f"{column} was '{row[column]}', is '{current.get(column)}'" for column in differing)
                yield file, line, price_id, f"was edited ({shown})"
            elif identifier == "rate_id" and _tiers(before, price_id) != _tiers(after, price_id):
                yield file, line, price_id, "was edited (its tiers in rate_tiers.csv differ)"


def _rows(path: Path) -> list[tuple[int, Cells]]:
    return read_seed(path).rows


def _tiers(seeds: Path, rate_id: str) -> list[tuple[str, ...]]:
    return sorted(tuple(row.values()) for _, row in _rows(seeds / "rate_tiers.csv") if row["rate_id"] == rate_id)


def _uses(home: Home, price_ids: set[str]) -> dict[str, _Use]:
    """The use of each of these prices by closed invoices."""
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
