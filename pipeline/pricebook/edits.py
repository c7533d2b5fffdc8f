"""Finds prices that were edited in place after a close used them. Such an edit would rewrite the past without a trace.

A past price is corrected by a row of its own, which names the one it replaces: both stay to be read, and what it changes of
closed months is an adjustment on the next invoice.
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
# What else decides about amounts of the past: file -> its key, from when a row holds, and the columns that matter.
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
    """Each price and term that held in a closed month and has since been edited or removed, with file and line.

    Rates and fees are corrected by a row that replaces them. Plans, contracts, meters and currencies have no such row: an edit
    of theirs that is to change the past must be accepted (`accept_price_book`).
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
    """Contracts that were removed and whose customers no close has billed: without them the past is as it was."""
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
    """Accept the price book as it is, its edited plans, contracts, meters and currencies included. Who and when is kept."""
    with home.writing():
        finish_interrupted(home)
        if is_accepted(home, seeds):
            return
        with append_files(home, "check-prices --accept") as files:
            written = files.file(home.accepted_terms / f"{price_book_hash(seeds)}.json")
            written.write_text(json.dumps({"accepted_by": by, "accepted_at": datetime.now(UTC).isoformat()}) + "\n")


def is_accepted(home: Home, seeds: Path) -> bool:
    """Whether somebody accepted this price book, to the byte, as one that changes the past."""
    return (home.accepted_terms / f"{price_book_hash(seeds)}.json").exists()


def _changed_terms(before: Path, after: Path, end: datetime, unused: frozenset[str]) -> Iterator[Problem]:
    """Plans, contracts, meters and currencies that held in a closed month and are not as they were."""
    for file, (key, since, columns) in _TERMS.items():
        was = {tuple(row[column] for column in key): row for _, row in _rows(before / file)}
        now = {tuple(row[column] for column in key): (line, row) for line, row in _rows(after / file)}
        for id, row in was.items():
            if (since is not None and _instant(row[since]) >= end) or row.get("contract_id") in unused:
                continue
            line, current = now.get(id, (None, None))
            if current is None:
                told = "was removed"
            else:
                # A price book of an earlier release does not have every column.
                differing = [
                    name
                    for name in columns
                    if name in row
                    and (row[name] or "") != (current.get(name) or "")
                    and not _is_later_end(name, row, current, end)
                ]
                if not differing:
                    continue
                told = "was edited (" + ", ".join(f"{name} was '{row[name]}', is '{current[name]}'" for name in differing) + ")"
            yield Problem(
                f"seeds/{file}",
                line,
                f"{' '.join(id)} {told}, and it held in closed months.",
                "Put it back, and let a row of its own hold from the day of the change; or, to correct the past by it, see what"
                " changes and accept it: billhouse check-prices --accept",
            )


def _is_later_end(column: str, before: Cells, after: Cells, end: datetime) -> bool:
    """A contract whose end is moved, and not into a closed month, leaves the past alone."""
    return column == "ends_at" and all(not row[column] or _instant(row[column]) >= end for row in (before, after))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _reason(price_id: str, what: str, use: _Use | None) -> str:
    if use is None:
        return f"{price_id} {what}, and it held in closed months."
    periods = use.periods[0] if len(use.periods) == 1 else f"{use.periods[0]} to {use.periods[-1]}"
    return f"{price_id} {what}, and {use.invoices} closed invoices of {periods} billed {use.amount.normalize():f} by it."


def _next_step(identifier: str) -> str:
    return (
        f"Put it back as it was, and add a row with an id of its own and replaces_{identifier} naming it: the difference comes on"
        " the next invoices. billhouse check-prices shows what would change."
    )


def _changed(before: Path, after: Path, end: datetime, unused: frozenset[str]) -> Iterator[tuple[str, int | None, str, str]]:
    """(file, line, id, what happened to it) of every rate and fee that held before `end` and is not as it was; with its tiers."""
    for file, identifier in _IDENTIFIERS.items():
        was = {row[identifier]: row for _, row in _rows(before / file)}
        now = {row[identifier]: (line, row) for line, row in _rows(after / file)}
        for price_id, row in was.items():
            if _instant(row["valid_from"]) >= end or row["contract_id"] in unused:
                continue
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
    return read_seed(path).rows


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
