"""Exports one billing period for finance: a workbook to read, CSV and Parquet files to reckon on, a journal for the books.

What is in which file, and which of them stay as they are for good once the period is closed: docs/exports.md.
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
from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import quoted
from pipeline.exports.journal import write_journal
from pipeline.exports.period_totals import CurrencyTotals, PeriodFigures, read_figures
from pipeline.exports.statements import OnStatement, write_statements
from pipeline.exports.summary_sheet import SummarySheet
from pipeline.exports.table_definitions import EXPORT_TABLES, INVOICES, SHEETS
from pipeline.exports.tables import ExportTable
from pipeline.exports.workbook import PeriodWorkbook
from pipeline.ledger.verify import require_verified_ledger
from pipeline.pricebook.spreadsheets import csv_text
from pipeline.store.closes import close_head
from pipeline.store.scratch_folders import scratch_folder

ROWS_PER_SHEET = 1_048_575
"""Excel's limit, less the headings. A longer table is in its CSV file alone."""
BATCH_ROWS = 10_000
JOURNAL = "journal.beancount"


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    period: BillingPeriod
    folder: Path
    files: tuple[Path, ...]
    rows: dict[str, int]
    """Rows of each table."""
    totals: tuple[CurrencyTotals, ...]
    """One for each currency, by its code."""
    statements: int
    """Pages in the folder `statements`: one an invoice."""

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
    home: Home, period: BillingPeriod, *, rows_per_sheet: int = ROWS_PER_SHEET, on_progress: OnStatement | None = None
) -> ExportResult:
    """Write <home>/exports/<period>/ from billhouse.duckdb: workbook, each table as CSV and Parquet, journal, statements.

    Each file is replaced whole and only when all are written; the same tables give the same bytes. A table of more
    than `rows_per_sheet` rows is left to its CSV file, and the Summary says so. Raises BillhouseError where nothing was
    built, the analysts' copy cannot be read, the period has no invoices, or the disk refuses.
    """
    if not home.analysts_file.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Run `billhouse build` first.")
    require_verified_ledger(home)
    try:
        with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
            reports.execute("use billing")
            figures = read_figures(reports, period)
            if not figures.totals:
                raise _no_invoices(reports, period)
            return _write(home, reports, figures, rows_per_sheet, on_progress)
    except duckdb.Error as error:
        if (failure := find_system_error(str(error))) is not None:
            raise failure from error
        raise BillhouseError(
            f"The report tables in {home.analysts_file} cannot be read: {str(error).splitlines()[0]}",
            "Run `billhouse build` to write them anew.",
        ) from error
    except (OSError, XlsxFileError) as error:
        known = to_known_error(error)
        why, next_step = (known.message, known.next_step) if known else (str(error), "Correct that, then export again.")
        raise BillhouseError(f"The export cannot be written to {home.exports}: {why}", next_step) from error


def _write(
    home: Home,
    reports: duckdb.DuckDBPyConnection,
    figures: PeriodFigures,
    rows_per_sheet: int,
    on_progress: OnStatement | None,
) -> ExportResult:
    folder = home.exports / str(figures.period)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    workbook_name = f"billhouse-{figures.period}.xlsx"
    names = [
        workbook_name,
        *(f"{table.name}.csv" for table in EXPORT_TABLES),
        *(f"{table.name}.parquet" for table in EXPORT_TABLES),
        JOURNAL,
    ]
    with _scratch(home) as scratch:
        aside = scratch / "files"
        aside.mkdir(mode=0o700)
        workbook = PeriodWorkbook(aside / workbook_name, figures.period, scratch)
        sheets = [table for table in SHEETS if figures.rows[table.name] <= rows_per_sheet]
        SummarySheet(workbook, figures, sheets).write(_notes(home, figures, sheets))
        for table in EXPORT_TABLES:
            with (aside / f"{table.name}.csv").open("w", encoding="utf-8", newline="") as stream:
                _write_table(reports, figures, table, stream, workbook if table in sheets else None)
            _write_parquet(reports, figures, table, aside / f"{table.name}.parquet")
        with (aside / JOURNAL).open("w", encoding="utf-8") as stream:
            write_journal(reports, figures.period, stream)
        pages = scratch / "statements"
        pages.mkdir(mode=0o700)
        statements = write_statements(reports, figures.period, pages, on_progress)
        workbook.close()
        # All of it is complete by now.
        _replace_folder(pages, folder / "statements", scratch / "replaced")
        for name in names:
            (aside / name).chmod(0o600)
            move_into_place(aside / name, folder / name)
    return ExportResult(figures.period, folder, tuple(folder / name for name in names), figures.rows, figures.totals, statements)


def _replace_folder(written: Path, target: Path, replaced: Path) -> None:
    """Put a folder in another's place; the old one is put aside, and back where that fails."""
    if target.exists():
        target.rename(replaced)
    try:
        move_into_place(written, target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise


@contextmanager
def _scratch(home: Home) -> Iterator[Path]:
    """Where the files are written before they are put into place: on the same disk, since exports/ may be a share."""
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
    figures: PeriodFigures,
    table: ExportTable,
    stream: TextIO,
    workbook: PeriodWorkbook | None,
) -> None:
    """One pass over a table's rows, in batches: to CSV (RFC 4180), and to its sheet, if it has one."""
    sheet = workbook.add_table(table, figures.rows[table.name]) if workbook else None
    lines = csv.writer(stream)
    lines.writerow(column.name for column in table.columns)
    found = reports.execute(table.select_period, {"period": str(figures.period)})
    while rows := found.fetchmany(BATCH_ROWS):
        lines.writerows(map(csv_text, row) for row in rows)
        if sheet:
            sheet.write_rows(rows)


def _write_parquet(reports: duckdb.DuckDBPyConnection, figures: PeriodFigures, table: ExportTable, path: Path) -> None:
    """The same rows with their types: decimals exact, instants in UTC."""
    reports.execute(
        f"copy ({table.select_period}) to {quoted(path)} (format parquet, compression zstd)", {"period": str(figures.period)}
    )


def _notes(home: Home, figures: PeriodFigures, sheets: list[ExportTable]) -> list[str]:
    """What a reader must know before trusting the numbers."""
    notes = ["A spreadsheet reckons with 15 digits; the CSV files beside this workbook hold every one."]
    notes.append(
        "Receivables, Reconciliation and Journal say what Stripe had told by the last build; a closed month's other sheets stay."
    )
    if head := close_head(home, figures.period):
        notes.append(f"The ledger when this month was closed: billhouse verify --head {head}")
    if figures.drafts:
        invoices = figures.rows[INVOICES.name]
        notes.append(f"{figures.drafts:,} of {invoices:,} invoices are drafts, not yet closed: they can change.")
    notes.extend(
        f"{table.sheet}: {figures.rows[table.name]:,} rows, more than a sheet holds. They are in {table.name}.csv."
        for table in SHEETS
        if table not in sheets
    )
    return notes


def _no_invoices(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> BillhouseError:
    found = reports.execute("select distinct period from invoices order by period").fetchall()
    if found:
        next_step = f"Export a period that has: {', '.join(period for (period,) in found)}."
    else:
        next_step = "Land its usage with `billhouse land`, then run `billhouse build`."
    return BillhouseError(f"{period} has no invoices.", next_step)
