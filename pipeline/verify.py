"""Checks that the ledger is what was written: every file's hash, every close's, the chain of closes, every sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.alerts import OperationalAlert, keep_alert
from pipeline.errors import BillhouseError, Problem
from pipeline.home import Home
from pipeline.landing.collections import landed_files
from pipeline.ledger_files import (
    PRICE_BOOK,
    SCHEMAS,
    SUMS,
    chain_entry,
    close_folder,
    closed_periods,
    content_hash,
    file_sums,
    read_chain,
    read_close,
)
from pipeline.periods import BillingPeriod
from pipeline.price_book import price_book_hash
from pipeline.stripe.credit_note_files import credit_note_id_of, read_credit_notes
from pipeline.stripe.publications import read_publications
from pipeline.verify_events import event_problems

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


def verify_ledger(home: Home, *, with_events: bool = True) -> VerifyResult:
    """Recompute every file's hash, every close's, the chain, every invoice's sums; count the raw events. Changes nothing.

    `with_events=False` leaves the raw events out, whose number grows with history.
    """
    result = VerifyResult()
    result.problems += _chain_problems(home)
    previous_hash = ""
    invoices: dict[str, Decimal] = {}
    for period in closed_periods(home):
        result.periods.append(str(period))
        result.problems += _file_problems(home, period)
        tables = _read(home, period, result.problems)
        if tables is None:
            previous_hash = "unreadable"
            continue
        manifest = tables.pop("close").to_pylist()[0]
        result.invoices += tables["invoices"].num_rows
        result.problems += _hash_problems(home, period, manifest, tables, previous_hash)
        try:
            result.problems += list(_sum_problems(home, period, tables))
        except (TypeError, ArithmeticError):  # an amount that is none; the file's hash tells that it was changed
            shown = str(close_folder(home, period).relative_to(home.path))
            result.problems.append(Problem(shown, None, "holds amounts that cannot be summed.", _RESTORE))
        result.problems += _landed_problems(home, period, tables["landed_files"])
        for row in tables["invoices"].to_pylist():
            invoices[row["invoice_id"]] = row["total_amount"]
        previous_hash = manifest["content_hash"]
    result.problems += _publication_problems(home, invoices)
    result.problems += _credit_note_problems(home)
    if with_events:
        result.problems += event_problems(home)
    return result


class LedgerChangedError(BillhouseError):
    """The ledger is not what was written: nothing may leave it or build on it."""


def require_verified_ledger(home: Home) -> None:
    """Called by all that sends the ledger's content out, or builds on it: close, publish, credit note, export.

    Raises LedgerChangedError, and keeps an alert, where the ledger is not what was written. The raw events, whose number grows
    with history, are verified by `verify` and the weekly audit.
    """
    problems = verify_ledger(home, with_events=False).problems
    if problems:
        text = f"{len(problems)} files or rows are not as they were written. First: {problems[0]}"
        keep_alert(home, OperationalAlert("check_failed", "The ledger", text))
        raise LedgerChangedError(f"The ledger is not what was written. {problems[0]}", "See all of it: billhouse verify")


def _chain_problems(home: Home) -> Iterator[Problem]:
    """Closes that are gone, that were exchanged, and what does not belong among them."""
    shown = str(home.chain.relative_to(home.path))
    entries = dict(entry.split(" ", 1) for entry in read_chain(home) if " " in entry)
    closed = {str(period) for period in closed_periods(home)}
    for line, name in enumerate(entries, 1):
        if name not in closed:
            yield Problem(shown, line, f"{name} was closed, and its folder is gone.", _RESTORE)
    for period in closed_periods(home):
        if str(period) not in entries:
            yield Problem(shown, None, f"{period} is not in the chain of closes.", _RESTORE)
        elif (close_folder(home, period) / SUMS).exists() and chain_entry(home, period) != f"{period} {entries[str(period)]}":
            yield Problem(_file(home, period, "close"), None, "is not the close that the chain knows.", _RESTORE)
    for folder in sorted(home.closes.iterdir()) if home.closes.is_dir() else ():
        if folder.name not in closed | {"_schema"}:
            yield Problem(str(folder.relative_to(home.path)), None, "is no close.", "Move it out of the ledger.")


def _file_problems(home: Home, period: BillingPeriod) -> Iterator[Problem]:
    """Files that are not, byte for byte, what was written; files that are gone, or came later."""
    folder = close_folder(home, period)
    try:
        written = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text().splitlines())
    except (OSError, ValueError):
        yield Problem(str((folder / SUMS).relative_to(home.path)), None, "is missing or unreadable.", _RESTORE)
        return
    found = dict(line.split("  ", 1)[::-1] for line in file_sums(folder).splitlines())
    for name in sorted(written.keys() | found.keys()):
        if written.get(name) != found.get(name):
            what = "is missing" if name not in found else "does not belong there" if name not in written else "was changed"
            yield Problem(str((folder / name).relative_to(home.path)), None, f"{what} since the close.", _RESTORE)


def _file(home: Home, period: BillingPeriod, table: str) -> str:
    return str((close_folder(home, period) / f"{table}.parquet").relative_to(home.path))


def _read(home: Home, period: BillingPeriod, problems: list[Problem]) -> dict[str, pa.Table] | None:
    tables: dict[str, pa.Table] = {}
    for table in SCHEMAS:
        try:
            tables[table] = read_close(home, period, table)
            tables[table].to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            problems.append(Problem(_file(home, period, table), None, f"cannot be read: {error}.", _RESTORE))
    if "close" in tables and tables["close"].num_rows != 1:
        problems.append(Problem(_file(home, period, "close"), None, "does not hold one row.", _RESTORE))
        return None
    return tables if len(tables) == len(SCHEMAS) else None


def _hash_problems(
    home: Home, period: BillingPeriod, manifest: dict[str, Any], tables: dict[str, pa.Table], previous_hash: str
) -> Iterator[Problem]:
    if manifest["period"] != str(period):
        yield Problem(_file(home, period, "close"), None, f"is the close of {manifest['period']}.", _RESTORE)
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


def _landed_problems(home: Home, period: BillingPeriod, written: pa.Table) -> Iterator[Problem]:
    """Files that the close was computed from, and that are not in raw/ any more as they were."""
    try:
        rows = [
            row for path in landed_files(home) for row in pq.read_table(path, columns=["file_id", "accepted_rows"]).to_pylist()
        ]
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Problem("raw/landed_files", None, f"cannot be read: {error}.", _RESTORE)
        return
    accepted = {row["file_id"]: row["accepted_rows"] for row in rows}
    for row in written.to_pylist():
        if accepted.get(row["file_id"]) != row["accepted_rows"]:
            reason = f"{row['file_name']}, which {period} was computed from, is not there as it was."
            yield Problem("raw/landed_files", None, reason, _RESTORE)


def _credit_note_problems(home: Home) -> Iterator[Problem]:
    """A credit note's id is a hash of what it says."""
    try:
        notes = read_credit_notes(home)
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Problem("ledger/credit_notes", None, f"cannot be read: {error}.", _RESTORE)
        return
    for credit_note_id, lines in notes.items():
        if credit_note_id_of(lines) != credit_note_id:
            yield Problem(f"ledger/credit_notes/{credit_note_id}.parquet", None, "was changed since it was issued.", _RESTORE)


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


def _publication_problems(home: Home, totals: dict[str, Decimal]) -> Iterator[Problem]:
    """What Stripe was given must be what the ledger says."""
    try:
        published = read_publications(home).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Problem("ledger/publications", None, f"cannot be read: {error}.", _RESTORE)
        return
    for publication in published:
        id, total = publication["invoice_id"], publication["total_amount"]
        if totals.get(id) != total:
            there = f"{totals[id]}" if id in totals else "nothing"
            reason = f"{id} was published over {total}, and the ledger says {there}."
            yield Problem("ledger/publications", None, reason, "Look at the invoice in Stripe.")
