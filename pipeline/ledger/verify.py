"""Verifies raw/ and ledger/: each file against the manifest, each close's hash, each invoice's sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.verify_events import event_problems
from pipeline.ledger.verify_landed_files import landed_file_problems
from pipeline.pricebook.price_book import price_book_hash
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.append import finish_interrupted
from pipeline.store.closes import PRICE_BOOK, SCHEMAS, SUMS, close_folder, closed_periods, content_hash, read_close
from pipeline.store.credit_notes import credit_note_id_of, read_credit_notes
from pipeline.store.integrity import RESTORE, head_problem, integrity_problems, read_store_state
from pipeline.store.manifest import Manifest
from pipeline.store.publications import PUBLICATIONS


@dataclass
class VerifyResult:
    """What was verified, and the problems found."""

    periods: list[str] = field(default_factory=list)
    invoices: int = 0
    head: str = ""
    """The manifest's head. Empty where nothing was ever written."""
    problems: list[Problem] = field(default_factory=list)
    head_problem: Problem | None = None
    """The one of `problems` that the manifest does not contain the given head."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "periods": self.periods,
            "invoices": self.invoices,
            "head": self.head,
            "is_sound": not self.problems,
            "problems": [vars(problem) for problem in self.problems],
        }


def verify_ledger(home: Home, *, head: str | None = None, with_raw_content: bool = True) -> VerifyResult:
    """Compare every file with the manifest, recompute every close's hash and every invoice's sums, count the raw events.

    Changes nothing. `head`: a head recorded earlier; everything that was written before it must be unchanged.
    `with_raw_content=False` skips the content of raw files, whose time grows with all that has landed.
    """
    picture = read_store_state(home)
    written = picture.manifest
    result = VerifyResult(head=written.head)
    result.head_problem = head_problem(home, written, head) if head is not None else None
    result.problems += integrity_problems(home, picture, head=head, with_raw_content=with_raw_content)
    by_close = _files_by_close(written)
    published = _publications(home, result.problems)  # first, so that a publication during this call is of a close read below
    result.problems += _folder_problems(home)
    previous_hash = ""
    invoices: dict[str, Decimal] = {}
    for period in closed_periods(home):
        result.periods.append(str(period))
        result.problems += _file_problems(home, period, by_close.get(str(period), {}))
        tables = _read(home, period, result.problems)
        if tables is None:
            previous_hash = "unreadable"
            continue
        manifest = tables.pop("close").to_pylist()[0]
        result.invoices += tables["invoices"].num_rows
        result.problems += _hash_problems(home, period, manifest, tables, previous_hash)
        if manifest["manifest_head"] and manifest["manifest_head"] not in written.heads:
            reason = f"{period} was closed after the head {manifest['manifest_head']}, which is not in the manifest."
            result.problems.append(Problem("ledger/manifest.jsonl", None, reason, RESTORE))
        try:
            result.problems += list(_sum_problems(home, period, tables))
        except (TypeError, ArithmeticError):  # a null or invalid amount; the file's hash differs too
            shown = str(close_folder(home, period).relative_to(home.path))
            result.problems.append(Problem(shown, None, "holds amounts that cannot be summed.", RESTORE))
        for row in tables["invoices"].to_pylist():
            invoices[row["invoice_id"]] = row["total_amount"]
        previous_hash = manifest["content_hash"]
    result.problems += _publication_problems(published, invoices)
    result.problems += _credit_note_problems(home)
    result.problems += landed_file_problems(home)
    if with_raw_content:
        result.problems += event_problems(home)
    return result


class LedgerChangedError(BillhouseError):
    """The ledger's files were changed after they were written; nothing may be closed, published or exported from it."""


def require_verified_ledger(home: Home) -> None:
    """Verify the ledger before using it: close, publish, credit note and export call this.

    Raises LedgerChangedError, and an alert, where a file of the ledger was changed. Of raw files it checks only names and sizes:
    their content grows with history, and is verified by `billhouse verify` and the weekly audit.
    """
    finish_interrupted(home)
    problems = verify_ledger(home, with_raw_content=False).problems
    if problems:
        text = f"{len(problems)} files or rows were changed after they were written. First: {problems[0]}"
        failure = LedgerChangedError(
            f"The ledger was changed after it was written. {problems[0]}", "List all problems: billhouse verify"
        )
        try:
            raise_alert(home, OperationalAlert("check_failed", "The ledger", text))
        except Exception as no_alert:
            failure.next_step += f". The alert could not be recorded: {to_billhouse_error(no_alert).message}"
        raise failure


def _folder_problems(home: Home) -> Iterator[Problem]:
    """Folders in ledger/closes that are not closes."""
    closed = {str(period) for period in closed_periods(home)}
    for folder in sorted(home.closes.iterdir()) if home.closes.is_dir() else ():
        if folder.name not in closed | {"_schema"}:
            yield Problem(str(folder.relative_to(home.path)), None, "is not a close.", "Move it out of the ledger.")


def _files_by_close(manifest: Manifest) -> dict[str, dict[str, str]]:
    """The manifest's SHA-256 of each file of a close, by month and file name."""
    by_close: dict[str, dict[str, str]] = {}
    for path, file in manifest.files.items():
        if path.startswith("ledger/closes/"):
            month, name = path.split("/", 3)[2:]
            by_close.setdefault(month, {})[name] = file.sha256
    return by_close


def _file_problems(home: Home, period: BillingPeriod, written: dict[str, str]) -> Iterator[Problem]:
    """SHA256SUMS, which can be checked with sha256sum, must agree with the manifest."""
    folder = close_folder(home, period)
    shown = f"{folder.relative_to(home.path).as_posix()}/"
    try:
        summed = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text().splitlines())
    except (OSError, ValueError):
        yield Problem(f"{shown}{SUMS}", None, "is missing or unreadable.", RESTORE)
        return
    names = (summed.keys() | written.keys()) - {SUMS}
    for name in sorted(name for name in names if summed.get(name) != written.get(name)):
        yield Problem(f"{shown}{name}", None, f"has different hashes in {SUMS} and in the manifest.", RESTORE)


def _file(home: Home, period: BillingPeriod, table: str) -> str:
    return str((close_folder(home, period) / f"{table}.parquet").relative_to(home.path))


def _read(home: Home, period: BillingPeriod, problems: list[Problem]) -> dict[str, pa.Table] | None:
    tables: dict[str, pa.Table] = {}
    for table in SCHEMAS:
        try:
            tables[table] = read_close(home, period, table)
            tables[table].to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            problems.append(Problem(_file(home, period, table), None, f"cannot be read: {error}.", RESTORE))
    if "close" in tables and tables["close"].num_rows != 1:
        problems.append(Problem(_file(home, period, "close"), None, "does not hold one row.", RESTORE))
        return None
    return tables if len(tables) == len(SCHEMAS) else None


def _hash_problems(
    home: Home, period: BillingPeriod, manifest: dict[str, Any], tables: dict[str, pa.Table], previous_hash: str
) -> Iterator[Problem]:
    if manifest["period"] != str(period):
        yield Problem(_file(home, period, "close"), None, f"is the close of {manifest['period']}.", RESTORE)
    for table, rows in tables.items():
        if manifest[table] != rows.num_rows:
            reason = f"has {rows.num_rows} rows, but {manifest[table]} were written."
            yield Problem(_file(home, period, table), None, reason, RESTORE)
    if manifest["content_hash"] != content_hash(manifest, tables):
        folder = Path(_file(home, period, "close")).parent
        yield Problem(str(folder), None, "was changed after the close: its rows do not match its hash.", RESTORE)
    if manifest["previous_hash"] != previous_hash:
        reason = "does not continue the hash chain: the close before it was replaced, changed or removed."
        yield Problem(_file(home, period, "close"), None, reason, RESTORE)
    prices = close_folder(home, period) / PRICE_BOOK
    try:
        is_same = price_book_hash(prices) == manifest["price_book_hash"]
    except OSError:
        is_same = False
    if not is_same:
        shown = str(prices.relative_to(home.path))
        yield Problem(shown, None, "is not the price book that the close was computed with.", RESTORE)


def _credit_note_problems(home: Home) -> Iterator[Problem]:
    """A credit note's id is a hash of its content."""
    try:
        notes = read_credit_notes(home)
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Problem("ledger/credit_notes", None, f"cannot be read: {error}.", RESTORE)
        return
    for credit_note_id, lines in notes.items():
        if credit_note_id_of(lines) != credit_note_id:
            yield Problem(f"ledger/credit_notes/{credit_note_id}.parquet", None, "was changed since it was issued.", RESTORE)


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
        checks = (
            (id in seen, "occurs twice"),
            (lines.pop(id, Decimal(0)) != subtotal, "has a subtotal that differs from the sum of its lines"),
            (credits.pop(id, Decimal(0)) != credit, "has credits applied that differ from the sum of its applications"),
            (subtotal - credit - carried != invoice["total_amount"], "has a total that differs from the sum of its parts"),
        )
        seen.add(id)
        for is_wrong, problem in checks:
            if is_wrong:
                yield Problem(_file(home, period, "invoices"), row, f"{id} {problem}.", RESTORE)
    for id in sorted({*lines, *credits}):
        yield Problem(
            _file(home, period, "invoice_lines"), None, f"{id} has lines or credit applications, but no invoice.", RESTORE
        )


def _publications(home: Home, problems: list[Problem]) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = PUBLICATIONS.read(home).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        problems.append(Problem("ledger/publications", None, f"cannot be read: {error}.", RESTORE))
        return []
    return rows


def _publication_problems(published: list[dict[str, Any]], totals: dict[str, Decimal]) -> Iterator[Problem]:
    """Each published total must be the ledger's."""
    for publication in published:
        id, total = publication["invoice_id"], publication["total_amount"]
        if totals.get(id) != total:
            closed = f"a total of {totals[id]}" if id in totals else "no such invoice"
            reason = f"{id} was published with a total of {total}, but the ledger has {closed}."
            yield Problem("ledger/publications", None, reason, "Check the invoice in Stripe.")
