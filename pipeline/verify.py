"""Checks that the ledger is what was written: every close's hash, the chain of closes, and every sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import Problem
from pipeline.home import Home
from pipeline.ledger import content_hash
from pipeline.ledger_files import PRICE_BOOK, SCHEMAS, close_folder, closed_periods, read_close
from pipeline.periods import BillingPeriod
from pipeline.price_book import price_book_hash
from pipeline.stripe.publications import read_publications

_RESTORE = "Restore it from a back-up; the ledger is never edited."


@dataclass
class VerifyResult:
    """What was looked at, and what is not as it was written."""

    periods: list[str] = field(default_factory=list)
    invoices: int = 0
    problems: list[Problem] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "periods": self.periods,
            "invoices": self.invoices,
            "is_sound": not self.problems,
            "problems": [vars(problem) for problem in self.problems],
        }


def verify_ledger(home: Home) -> VerifyResult:
    """Recompute every close's hash, the chain, and every invoice's sums. Changes nothing."""
    result = VerifyResult()
    previous_hash = ""
    published = read_publications(home).to_pylist()
    for period in closed_periods(home):
        result.periods.append(str(period))
        tables = _read(home, period, result.problems)
        if tables is None:
            previous_hash = "unreadable"
            continue
        manifest = tables.pop("close").to_pylist()[0]
        result.invoices += tables["invoices"].num_rows
        result.problems += _hash_problems(home, period, manifest, tables, previous_hash)
        result.problems += _sum_problems(home, period, tables)
        result.problems += _publication_problems(period, tables["invoices"], published)
        previous_hash = manifest["content_hash"]
    return result


def _file(home: Home, period: BillingPeriod, table: str) -> str:
    return str((close_folder(home, period) / f"{table}.parquet").relative_to(home.path))


def _read(home: Home, period: BillingPeriod, problems: list[Problem]) -> dict[str, pa.Table] | None:
    tables: dict[str, pa.Table] = {}
    for table in SCHEMAS:
        try:
            tables[table] = read_close(home, period, table)
        except (OSError, pa.ArrowException) as error:
            problems.append(Problem(_file(home, period, table), None, f"cannot be read: {error}.", _RESTORE))
    if "close" in tables and tables["close"].num_rows != 1:
        problems.append(Problem(_file(home, period, "close"), None, "does not hold one row.", _RESTORE))
        return None
    return tables if len(tables) == len(SCHEMAS) else None


def _hash_problems(
    home: Home, period: BillingPeriod, manifest: dict[str, Any], tables: dict[str, pa.Table], previous_hash: str
) -> Iterator[Problem]:
    for table, rows in tables.items():
        if manifest[table] != rows.num_rows:
            reason = f"has {rows.num_rows} rows, and {manifest[table]} were written."
            yield Problem(_file(home, period, table), None, reason, _RESTORE)
    if manifest["content_hash"] != content_hash(manifest, tables):
        folder = Path(_file(home, period, "close")).parent
        yield Problem(str(folder), None, "was changed after the close: its hash is not that of its rows.", _RESTORE)
    if manifest["previous_hash"] != previous_hash:
        reason = "does not follow the close before it: that one was replaced, changed or removed."
        yield Problem(_file(home, period, "close"), None, reason, _RESTORE)
    prices = close_folder(home, period) / PRICE_BOOK
    try:
        is_same = price_book_hash(prices) == manifest["price_book_hash"]
    except OSError:
        is_same = False
    if not is_same:
        shown = str(prices.relative_to(home.path))
        yield Problem(shown, None, "is not the price book that the close was computed with.", _RESTORE)


def _sum_problems(home: Home, period: BillingPeriod, tables: dict[str, pa.Table]) -> Iterator[Problem]:
    lines: Counter[str] = Counter()
    credits: Counter[str] = Counter()
    for line in tables["invoice_lines"].to_pylist():
        lines[line["invoice_id"]] += line["amount"]
    for application in tables["credit_applications"].to_pylist():
        credits[application["invoice_id"]] += application["amount"]
    seen: set[str] = set()
    for row, invoice in enumerate(tables["invoices"].to_pylist(), 1):
        id, subtotal = invoice["invoice_id"], invoice["subtotal_amount"]
        credit, carried = invoice["credits_applied_amount"], invoice["carried_forward_amount"]
        faults = (
            (id in seen, "is there twice"),
            (lines.pop(id, Decimal(0)) != subtotal, "is not the sum of its lines"),
            (credits.pop(id, Decimal(0)) != credit, "has other credit than its applications sum to"),
            (subtotal - credit - carried != invoice["total_amount"], "has a total that its parts do not sum to"),
        )
        seen.add(id)
        for is_so, what in faults:
            if is_so:
                yield Problem(_file(home, period, "invoices"), row, f"{id} {what}.", _RESTORE)
    for id in sorted({*lines, *credits}):
        yield Problem(_file(home, period, "invoice_lines"), None, f"{id} has lines or credit, and is no invoice.", _RESTORE)


def _publication_problems(period: BillingPeriod, invoices: pa.Table, published: list[dict[str, Any]]) -> Iterator[Problem]:
    totals = dict(zip(invoices["invoice_id"].to_pylist(), invoices["total_amount"].to_pylist(), strict=True))
    for publication in published:
        if publication["period"] != str(period):
            continue
        id, total = publication["invoice_id"], publication["total_amount"]
        if totals.get(id) != total:
            there = f"{totals[id]}" if id in totals else "nothing"
            reason = f"{id} was published over {total}, and the ledger says {there}."
            yield Problem("ledger/publications", None, reason, "Look at the invoice in Stripe.")
