"""Exports one billing period for finance: a workbook to read, CSV and Parquet files to calculate with, a journal, statements.

docs/use/exports.md describes each file, and which files no longer change once the period is closed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import duckdb
from xlsxwriter.exceptions import XlsxFileError

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import find_system_error, to_known_error
from pipeline.core.files import are_on_same_disk, locked_new_folder, make_folders, move_into_place, remove_orphaned_folders
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import quoted
from pipeline.exports.charts_sheet import write_charts_sheet
from pipeline.exports.journal import write_journal
from pipeline.exports.period_totals import CurrencyTotals, PeriodSummary, read_period_summary
from pipeline.exports.statements import OnStatement, write_statements
from pipeline.exports.summary_sheet import SummarySheet
from pipeline.exports.table_definitions import EXPORT_TABLES, INVOICES, SHEETS
from pipeline.exports.tables import ExportTable
from pipeline.exports.workbook import PeriodWorkbook
from pipeline.ledger.verify import require_verified_ledger
from pipeline.pricebook.spreadsheets import csv_text
from pipeline.store.closes import close_head
from pipeline.store.scratch_folders import scratch_folder
from pipeline.warehouse.dataframes import read_frames

ROWS_PER_SHEET = 1_048_575
"""Excel's limit less the heading row. A longer table is only in its CSV file."""
BATCH_ROWS = 10_000
JOURNAL = "journal.beancount"
_LOCK_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class ExportResult:
    """The files of one export."""

    period: BillingPeriod
    folder: Path
    files: tuple[Path, ...]
    rows: dict[str, int]
    """Rows of each table."""
    totals: tuple[CurrencyTotals, ...]
    """One for each currency, ordered by code."""
    statements: int
    """Statements in the folder `statements`: one for each invoice."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: amounts are exact text."""
        return {
            "period": str(self.period),
            "folder": str(self.folder),
            "files": [str(file) for file in self.files],
            "rows": self.rows,
            "statements": self.statements,
            "totals": {totals.currency: totals.as_dict() for totals in self.totals},
        }


def export_period(
    home: Home,
    period: BillingPeriod,
    *,
    rows_per_sheet: int = ROWS_PER_SHEET,
    with_pdf: bool = True,
    on_progress: OnStatement | None = None,
) -> ExportResult:
    """Write <home>/exports/<period>/ from billhouse.duckdb: workbook, each table as CSV and Parquet, journal, statements.

    Files are replaced when all of them are complete; the same tables give the same bytes. A table of more than `rows_per_sheet`
    rows gets no sheet, and the Summary says so. `with_pdf`: write each statement as PDF, too.

    Raises BillhouseError where nothing was built, the report tables cannot be read, the period has no invoices, or a file cannot
    be written.
    """
    with tables_to_export(home) as reports:
        summary = read_period_summary(reports, period)
        if not summary.totals:
            raise no_invoices(reports, period)
        return _write(home, reports, summary, rows_per_sheet, with_pdf, on_progress)


@contextmanager
def tables_to_export(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the report tables while files are written from them, with instants in UTC.

    Raises BillhouseError where nothing was built, the ledger fails its check, or a table or a file cannot be read or written.
    """
    if not home.analysts_file.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Run `billhouse build` first.")
    require_verified_ledger(home)
    try:
        with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
            reports.execute("set TimeZone = 'UTC'")
            reports.execute("use billing")
            yield reports
    except duckdb.Error as error:
        if (failure := find_system_error(str(error))) is not None:
            raise failure from error
        raise BillhouseError(
            f"The report tables in {home.analysts_file} cannot be read: {str(error).splitlines()[0]}",
            "Run `billhouse build` to rebuild them.",
        ) from error
    except (OSError, XlsxFileError) as error:
        known = to_known_error(error)
        why, next_step = (known.message, known.next_step) if known else (str(error), "Correct that, then export again.")
        raise BillhouseError(f"The export cannot be written to {home.exports}: {why}", next_step) from error


def _write(
    home: Home,
    reports: duckdb.DuckDBPyConnection,
    summary: PeriodSummary,
    rows_per_sheet: int,
    with_pdf: bool,
    on_progress: OnStatement | None,
) -> ExportResult:
    workbook_name = f"billhouse-{summary.period}.xlsx"
    names = [
        workbook_name,
        *(f"{table.name}.csv" for table in EXPORT_TABLES),
        *(f"{table.name}.parquet" for table in EXPORT_TABLES),
        JOURNAL,
    ]
    with export_scratch(home) as scratch:
        aside = scratch / "files"
        aside.mkdir(mode=0o700)
        workbook = PeriodWorkbook(aside / workbook_name, summary.period, scratch)
        sheets = [table for table in SHEETS if summary.rows[table.name] <= rows_per_sheet]
        SummarySheet(workbook, summary, sheets).write(_notes(home, summary, sheets))
        write_charts_sheet(workbook, reports, summary.period, [totals.currency for totals in summary.totals])
        for table in EXPORT_TABLES:
            with (aside / f"{table.name}.csv").open("w", encoding="utf-8", newline="") as stream:
                _write_table(reports, summary, table, stream, workbook if table in sheets else None)
            _write_parquet(reports, summary, table, aside / f"{table.name}.parquet")
        with (aside / JOURNAL).open("w", encoding="utf-8") as stream:
            write_journal(reports, summary.period, stream)
        pages = scratch / "statements"
        pages.mkdir(mode=0o700)
        statements = write_statements(reports, summary.period, pages, on_progress, with_pdf=with_pdf)
        workbook.close()
        # Every file is complete now.
        with month_folder(home, summary.period) as folder:
            _replace_folder(pages, folder / "statements", scratch / "replaced")
            for name in names:
                (aside / name).chmod(0o600)
                move_into_place(aside / name, folder / name)
    return ExportResult(summary.period, folder, tuple(folder / name for name in names), summary.rows, summary.totals, statements)


def _replace_folder(written: Path, target: Path, replaced: Path) -> None:
    """Replace a folder by another; if that fails, the old one is restored."""
    if target.exists():
        target.rename(replaced)
    try:
        move_into_place(written, target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise


@contextmanager
def month_folder(home: Home, period: BillingPeriod) -> Iterator[Path]:
    """The folder of a month's export, which only its owner can read, locked while complete files are moved into it.

    It is created where it is missing. Raises LockedError if another export still holds the lock after ten minutes.
    """
    lock = home.path / f".export-{period}.lock"
    with hold_lock(lock, activity=f"replacing the export of {period}", timeout_seconds=_LOCK_TIMEOUT_SECONDS):
        folder = home.exports / str(period)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        yield folder


@contextmanager
def export_scratch(home: Home) -> Iterator[Path]:
    """A folder to write the files in before they are moved: on the disk of exports/, which may be a network share."""
    make_folders(home.scratch)
    if are_on_same_disk(home.scratch, home.exports):
        with scratch_folder(home, "export") as scratch:
            yield scratch
    else:
        remove_orphaned_folders(home.exports, ".export-")
        with locked_new_folder(home.exports, ".export-") as scratch:
            yield scratch


def _write_table(
    reports: duckdb.DuckDBPyConnection,
    summary: PeriodSummary,
    table: ExportTable,
    stream: TextIO,
    workbook: PeriodWorkbook | None,
) -> None:
    """Write a table's rows to CSV (RFC 4180) and, where given, to a sheet, in one pass over batches."""
    sheet = workbook.add_table(table, summary.rows[table.name]) if workbook else None
    csv.writer(stream).writerow(column.name for column in table.columns)
    for frame in read_frames(reports, table.select_period, {"period": str(summary.period)}, BATCH_ROWS):
        frame.map(csv_text, na_action="ignore").to_csv(stream, header=False, index=False, na_rep="", lineterminator="\r\n")
        if sheet:
            sheet.write_rows(frame)


def _write_parquet(reports: duckdb.DuckDBPyConnection, summary: PeriodSummary, table: ExportTable, path: Path) -> None:
    """Write the same rows with their types: exact decimals, instants in UTC."""
    reports.execute(
        f"copy ({table.select_period}) to {quoted(path)} (format parquet, compression zstd)", {"period": str(summary.period)}
    )


def _notes(home: Home, summary: PeriodSummary, sheets: list[ExportTable]) -> list[str]:
    """Notes at the top of the Summary sheet."""
    notes = ["Spreadsheets calculate with 15 digits; the CSV files beside this workbook have all digits."]
    notes.append(
        "Receivables, Reconciliation and Journal are as of the last build and change with Stripe; the other sheets of a closed"
        " month do not change."
    )
    if head := close_head(home, summary.period):
        notes.append(f"To verify the ledger as of this month's close: billhouse verify --head {head}")
    if summary.drafts:
        invoices = summary.rows[INVOICES.name]
        notes.append(f"{summary.drafts:,} of {invoices:,} invoices are drafts, which can change until the month is closed.")
    notes.extend(
        f"{table.sheet}: {summary.rows[table.name]:,} rows are too many for a sheet. They are in {table.name}.csv."
        for table in SHEETS
        if table not in sheets
    )
    return notes


def no_invoices(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> BillhouseError:
    """The error for a period without invoices."""
    found = reports.execute("select distinct period from invoices order by period").fetchall()
    if found:
        next_step = f"Periods with invoices: {', '.join(period for (period,) in found)}."
    else:
        next_step = "Land its usage with `billhouse land`, then run `billhouse build`."
    return BillhouseError(f"{period} has no invoices.", next_step)
