"""The workbook: a Summary sheet, and a sheet for each table, written row by row in bounded memory.

A spreadsheet's numbers are binary floating point with 15 significant digits, which show an amount of three decimals exactly below
10^12. The CSV files beside the workbook have all digits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import pandas as pd
import xlsxwriter
import xlsxwriter.format
import xlsxwriter.worksheet

from pipeline.core.periods import BillingPeriod
from pipeline.exports.tables import ColumnKind, ExportTable
from pipeline.pricebook.spreadsheets import money_format

Cell = Callable[[int, int, Any], object]
"""Writes a value, never null, at a row and column."""

HEADING = {"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F3A5F", "valign": "vcenter", "text_wrap": True}
NUMBER_FORMATS = {
    ColumnKind.QUANTITY: "#,##0.00####",
    ColumnKind.PRICE: "0.00##########",
    ColumnKind.WHOLE: "#,##0",
    ColumnKind.DATE: "yyyy-mm-dd",
    ColumnKind.INSTANT: "yyyy-mm-dd hh:mm:ss",
}


class PeriodWorkbook:
    """An XLSX file of one period. The same content gives the same bytes: it has no time of writing."""

    def __init__(self, path: Path, period: BillingPeriod, scratch: Path) -> None:
        """`scratch`: a private folder for temporary files."""
        self.book = xlsxwriter.Workbook(
            str(path),
            {
                "constant_memory": True,
                "tmpdir": str(scratch),
                "strings_to_formulas": False,
                "strings_to_numbers": False,
                "strings_to_urls": False,
            },
        )
        self.book.set_properties(
            {"title": f"Billhouse {period}", "author": "Billhouse", "created": period.end.replace(tzinfo=None)}
        )
        self._formats: dict[tuple[tuple[str, object], ...], xlsxwriter.format.Format] = {}
        self._number_formats: dict[str, str] = {}

    def format(self, **properties: object) -> xlsxwriter.format.Format:
        """A cell format; the same properties give the same object."""
        key = tuple(sorted(properties.items()))
        if key not in self._formats:
            self._formats[key] = self.book.add_format(properties)
        return self._formats[key]

    def money(self, currency: str, **properties: object) -> xlsxwriter.format.Format:
        """The cell format of amounts in a currency."""
        if currency not in self._number_formats:
            self._number_formats[currency] = money_format(currency)  # reads a file of the price book
        return self.format(num_format=self._number_formats[currency], **properties)

    def add_sheet(self, name: str) -> xlsxwriter.worksheet.Worksheet:
        """Add a sheet that prints one page wide."""
        sheet = self.book.add_worksheet(name)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        return sheet

    def add_table(self, table: ExportTable, row_count: int) -> TableSheet:
        """Add a sheet for a table of `row_count` rows."""
        return TableSheet(self, table, row_count)

    def close(self) -> None:
        """Write the file, which does not exist before."""
        self.book.close()


class TableSheet:
    """The sheet of a table: frozen headings with filters, then its rows."""

    def __init__(self, workbook: PeriodWorkbook, table: ExportTable, row_count: int) -> None:
        self._workbook = workbook
        self._sheet = workbook.add_sheet(table.sheet)
        self._next_row = 1
        self._currency = table.index("currency")
        for place, column in enumerate(table.columns):
            self._sheet.set_column(place, place, column.width)
        self._sheet.freeze_panes(1, 0)
        self._sheet.repeat_rows(0)
        self._sheet.autofilter(0, 0, row_count, len(table.columns) - 1)
        for place, column in enumerate(table.columns):
            self._sheet.write_string(0, place, column.heading, workbook.format(**HEADING))
        self._cells = [self._cell_writer(column.kind) for column in table.columns]
        self._is_money = [column.kind is ColumnKind.MONEY for column in table.columns]

    def write_rows(self, rows: pd.DataFrame) -> None:
        """Add rows below those already written; nulls are empty cells."""
        for row in rows.itertuples(index=False, name=None):
            money = self._workbook.money(str(row[self._currency]))
            for place, value in enumerate(row):
                if value is None or value is pd.NA:
                    continue
                if self._is_money[place]:
                    self._sheet.write_number(self._next_row, place, float(cast(float, value)), money)
                else:
                    self._cells[place](self._next_row, place, value)
            self._next_row += 1

    def _cell_writer(self, kind: ColumnKind) -> Cell:
        """The function that writes a value of this kind. Text is written as text even if it looks like a formula."""
        sheet = self._sheet
        if kind is ColumnKind.TEXT:
            return lambda row, place, value: sheet.write_string(row, place, str(value))
        if kind is ColumnKind.BOOLEAN:
            return lambda row, place, value: sheet.write_boolean(row, place, bool(value))
        style = self._workbook.format(num_format=NUMBER_FORMATS.get(kind, "General"))
        if kind in (ColumnKind.DATE, ColumnKind.INSTANT):
            return lambda row, place, value: sheet.write_datetime(row, place, cast(date | datetime, value), style)
        return lambda row, place, value: sheet.write_number(row, place, float(value), style)
