"""The Summary sheet: totals as formulas over the other sheets, each stored with the value that DuckDB computed.

Totals of a table that is too long for a sheet are plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby

import xlsxwriter.format
from xlsxwriter.utility import xl_col_to_name, xl_range, xl_rowcol_to_cell

from pipeline.exports.period_totals import Block, BlockRow, CurrencyTotals, PeriodSummary
from pipeline.exports.table_definitions import INVOICE_LINES, INVOICES
from pipeline.exports.tables import ColumnKind, ExportTable
from pipeline.exports.workbook import HEADING, NUMBER_FORMATS, PeriodWorkbook

WIDTHS = (18, 16, 16, 14, 12, 20, 20, 20, 20, 20)
COUNT_PLACE = 4
"""The column of the counts: after the keys, before the amounts."""
INVOICE_AMOUNTS = ("subtotal_amount", "credits_applied_amount", "total_amount")
CHART_PLACE = len(WIDTHS) + 1
CHART_ROWS = 15
"""A chart's height in rows."""


class SummarySheet:
    """Writes the sheet from top to bottom, block by block."""

    def __init__(self, workbook: PeriodWorkbook, summary: PeriodSummary, sheets: Sequence[ExportTable]) -> None:
        """`sheets`: the tables that have a sheet, which formulas can refer to."""
        self._workbook = workbook
        self._summary = summary
        self._sheets = sheets
        self._sheet = workbook.add_sheet("Summary")
        self._row = 0
        self._next_chart_row = 0
        for place, width in enumerate(WIDTHS):
            self._sheet.set_column(place, place, width)
        self._sheet.hide_gridlines(2)

    def write(self, notes: Sequence[str]) -> None:
        """Write title, notes, key figures, and each block that has rows."""
        self._text(0, f"Billhouse {self._summary.period}", bold=True, font_size=16)
        self._row = 1
        for note in notes:
            self._text(0, note, italic=True, font_color="#595959")
            self._row += 1
        self._key_figures(self._summary.totals)
        self._receivable(self._summary.totals)
        for block, rows in self._summary.blocks:
            if rows:
                self._block(block, rows)

    def _key_figures(self, totals: Sequence[CurrencyTotals]) -> None:
        amounts = ("Subtotal", "Credits applied", "Total", "Lines less subtotal")
        self._headings("Key figures", "Currency", "", "", "", "Invoices", *amounts)
        for group in totals:
            self._text(0, group.currency)
            self._count(COUNT_PLACE, self._counting(INVOICES, ("currency",), (group.currency,)), group.invoices)
            sums = (group.subtotal, group.credits, group.total)
            for place, (name, amount) in enumerate(zip(INVOICE_AMOUNTS, sums, strict=True), start=COUNT_PLACE + 1):
                self._money(place, self._adding(INVOICES, name, ("currency",), (group.currency,)), amount, group.currency)
            lines = self._adding(INVOICE_LINES, "amount", ("currency",), (group.currency,))
            difference = lines and f"ROUND({lines}-{xl_rowcol_to_cell(self._row, COUNT_PLACE + 1)},3)"
            self._money(COUNT_PLACE + 4, difference, group.lines_total - group.subtotal, group.currency)
            self._row += 1

    def _receivable(self, totals: Sequence[CurrencyTotals]) -> None:
        """From revenue to what is to be collected: each step as an amount that is added."""
        steps = ("Revenue before credit", "Credit", "Carried forward", "Not collected", "Receivable")
        self._headings("From revenue to receivable", "Currency", "", "", "", "", *steps)
        for group in totals:
            self._text(0, group.currency)
            first, keys = COUNT_PLACE + 1, (group.currency,)
            subtracted = (
                (self._adding(INVOICES, "credits_applied_amount", ("currency",), keys), group.credits),
                (self._adding(INVOICES, "carried_forward_amount", ("currency",), keys), group.carried_forward),
                (self._adding(INVOICES, "total_amount", ("currency",), keys, collection="none"), group.not_collected),
            )
            self._money(first, self._adding(INVOICES, "subtotal_amount", ("currency",), keys), group.subtotal, group.currency)
            for place, (formula, amount) in enumerate(subtracted, start=first + 1):
                self._money(place, formula and f"-{formula}", -amount, group.currency)
            sum_of_steps = f"SUM({xl_range(self._row, first, self._row, first + 3)})"
            self._money(first + 4, sum_of_steps, group.total - group.not_collected, group.currency)
            self._row += 1

    def _block(self, block: Block, rows: Sequence[BlockRow]) -> None:
        headings = {column.name: column.heading for column in block.table.columns}
        keys = [headings[key] for key in block.keys] + [""] * (COUNT_PLACE - len(block.keys))
        title_row = self._row + 1
        self._headings(block.title, *keys, "Rows", *(headings[amount] for amount in block.amounts))
        for currency, found in groupby(rows, key=lambda row: row.keys[0]):
            members, first = list(found), self._row
            for row in members:
                for place, key in enumerate(row.keys):
                    self._key(place, key)
                self._count(COUNT_PLACE, self._counting(block.table, block.keys, row.keys), row.count)
                for place, (name, amount) in enumerate(zip(block.amounts, row.amounts, strict=True), start=COUNT_PLACE + 1):
                    self._money(place, self._adding(block.table, name, block.keys, row.keys), amount, str(currency))
                self._row += 1
            if block.chart:
                is_positive = all(row.amounts[-1] >= 0 for row in members)
                self._chart(block, str(currency), first, max(title_row, self._next_chart_row), is_positive)
            sums = [sum(amounts, Decimal()) for amounts in zip(*(row.amounts for row in members), strict=True)]
            self._total_row(str(currency), first, sum(row.count for row in members), sums)

    def _chart(self, block: Block, currency: str, first_row: int, top_row: int, is_positive: bool) -> None:
        """Add a chart of one currency's rows to the right of the block: the last amount by the keys after the currency."""
        amount_place = COUNT_PLACE + len(block.amounts)
        last_row = self._row - 1
        chart = self._workbook.book.add_chart({"type": block.chart})
        chart.add_series(
            {
                "name": currency,
                "categories": ["Summary", first_row, 1, last_row, len(block.keys) - 1],
                "values": ["Summary", first_row, amount_place, last_row, amount_place],
                "line" if block.chart == "line" else "fill": {"color": "#1F3A5F"},
            }
        )
        chart.set_title({"name": f"{block.title}, {self._summary.period}, {currency}", "name_font": {"size": 12}})
        chart.set_legend({"none": True})
        if is_positive:
            chart.set_y_axis({"min": 0})
        if block.keys[-1] == "usage_date":
            chart.set_x_axis({"date_axis": True, "num_format": "dd"})
        chart.set_size({"width": 620, "height": CHART_ROWS * 20})
        self._sheet.insert_chart(top_row, CHART_PLACE, chart)
        self._next_chart_row = top_row + CHART_ROWS + 1

    def _total_row(self, currency: str, first_row: int, count: int, amounts: Sequence[Decimal]) -> None:
        """Write the sums of the rows from `first_row` to the one above: a count, then amounts."""
        total = {"bold": True, "top": 1}
        for place in range(COUNT_PLACE):
            self._text(place, f"{currency} total" if place == 0 else "", **total)
        self._count(COUNT_PLACE, self._sum_above(COUNT_PLACE, first_row), count, **total)
        for place, amount in enumerate(amounts, start=COUNT_PLACE + 1):
            self._money(place, self._sum_above(place, first_row), amount, currency, **total)
        self._row += 1

    # Formulas -------------------------------------------------------------------------------------------------------

    def _cells(self, table: ExportTable, column_name: str) -> str:
        """The data cells of a column: Invoices!$J$2:$J$301."""
        letter = xl_col_to_name(table.index(column_name), col_abs=True)
        return f"{table.sheet}!{letter}$2:{letter}${max(self._summary.rows[table.name], 1) + 1}"

    def _criteria(self, table: ExportTable, names: Sequence[str], keys: Sequence[object]) -> str:
        """Criteria that each named column equals the key's cell in the current row; "=" matches empty cells."""
        return ",".join(
            f"{self._cells(table, name)}," + ('"="' if key is None else xl_rowcol_to_cell(self._row, place, col_abs=True))
            for place, (name, key) in enumerate(zip(names, keys, strict=True))
        )

    def _adding(
        self, table: ExportTable, column_name: str, names: Sequence[str], keys: Sequence[object], **equal: str
    ) -> str | None:
        """A formula of the sum of a column where the keys match, and columns equal texts; None if the table has no sheet."""
        if table not in self._sheets:
            return None
        texts = "".join(f',{self._cells(table, name)},"{text}"' for name, text in equal.items())
        return f"SUMIFS({self._cells(table, column_name)},{self._criteria(table, names, keys)}{texts})"

    def _counting(self, table: ExportTable, names: Sequence[str], keys: Sequence[object]) -> str | None:
        """A formula of the number of rows where the keys match; None if the table has no sheet."""
        return f"COUNTIFS({self._criteria(table, names, keys)})" if table in self._sheets else None

    def _sum_above(self, place: int, first_row: int) -> str:
        return f"SUM({xl_range(first_row, place, self._row - 1, place)})"

    # Cells ----------------------------------------------------------------------------------------------------------

    def _headings(self, title: str, *headings: str) -> None:
        self._row += 1
        self._text(0, title, bold=True, font_size=13)
        self._row += 1
        for place, heading in enumerate(headings):
            self._text(place, heading, **HEADING)
        self._row += 1

    def _key(self, place: int, key: object) -> None:
        if isinstance(key, date):
            style = self._workbook.format(num_format=NUMBER_FORMATS[ColumnKind.DATE], align="left")
            self._sheet.write_datetime(self._row, place, key, style)
        else:
            self._text(place, "" if key is None else str(key))

    def _text(self, place: int, text: str, **style: object) -> None:
        write = self._sheet.write_string if text else self._sheet.write_blank
        write(self._row, place, text, self._workbook.format(**style))

    def _count(self, place: int, formula: str | None, value: int, **style: object) -> None:
        self._number(place, formula, value, self._workbook.format(num_format="#,##0", **style))

    def _money(self, place: int, formula: str | None, value: Decimal, currency: str, **style: object) -> None:
        self._number(place, formula, float(value), self._workbook.money(currency, **style))

    def _number(self, place: int, formula: str | None, value: float, style: xlsxwriter.format.Format) -> None:
        """Write a formula with its value, for programs that do not calculate; without a formula, the value."""
        if formula is None:
            self._sheet.write_number(self._row, place, value, style)
        else:
            self._sheet.write_formula(self._row, place, f"={formula}", style, value)
