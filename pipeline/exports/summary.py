"""The Summary sheet: key figures as formulas over the other sheets, stored with the values that the database reckoned.

A table too long for a sheet is not in the workbook; the figures that would be formulas over it are then plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby

import xlsxwriter.format
from xlsxwriter.utility import xl_col_to_name, xl_range, xl_rowcol_to_cell

from pipeline.exports.figures import CurrencyTotals, InvoiceGroup, PeriodFigures, RevenueGroup
from pipeline.exports.tables import INVOICE_LINES, INVOICES, ColumnKind, ExportTable
from pipeline.exports.workbook import HEADING, NUMBER_FORMATS, PeriodWorkbook

WIDTHS = (12, 16, 14, 10, 20, 20, 20, 20)
INVOICE_AMOUNTS = ("subtotal_amount", "credits_applied_amount", "total_amount")


class SummarySheet:
    """Writes the sheet from the top down, one block after another."""

    def __init__(self, workbook: PeriodWorkbook, figures: PeriodFigures, sheets: Sequence[ExportTable]) -> None:
        """`sheets`: the tables that the workbook holds, on which formulas may stand."""
        self._workbook = workbook
        self._figures = figures
        self._sheets = sheets
        self._sheet = workbook.add_sheet("Summary")
        self._row = 0
        for place, width in enumerate(WIDTHS):
            self._sheet.set_column(place, place, width)
        self._sheet.hide_gridlines(2)

    def write(self, notes: Sequence[str]) -> None:
        """Everything, in order: title, notes, key figures, invoices by status and plan, revenue by meter."""
        self._text(0, f"Billhouse {self._figures.period}", bold=True, font_size=16)
        self._row = 1
        for note in notes:
            self._text(0, note, italic=True, font_color="#595959")
            self._row += 1
        self._key_figures(self._figures.totals)
        self._invoice_groups(self._figures.invoices)
        self._revenue_groups(self._figures.revenue)

    def _key_figures(self, totals: Sequence[CurrencyTotals]) -> None:
        amounts = ("Subtotal", "Credits applied", "Total", "Lines less subtotal")
        self._headings("Key figures", "Currency", "", "", "Invoices", *amounts)
        for group in totals:
            self._text(0, group.currency)
            self._invoice_figures(group, ("currency",))
            lines = self._adding(INVOICE_LINES, "amount", ("currency",))
            difference = lines and f"ROUND({lines}-{xl_rowcol_to_cell(self._row, 4)},3)"
            self._money(7, difference, group.lines_total - group.subtotal, group.currency)
            self._row += 1

    def _invoice_groups(self, groups: Sequence[InvoiceGroup]) -> None:
        self._headings("Invoices", "Currency", "Status", "Plan", "Invoices", "Subtotal", "Credits applied", "Total")
        for currency, found in groupby(groups, key=lambda group: group.currency):
            members, first = list(found), self._row
            for group in members:
                for place, text in enumerate((currency, group.status, group.plan_id)):
                    self._text(place, text)
                self._invoice_figures(group, ("currency", "status", "plan_id"))
                self._row += 1
            self._total_row(
                currency,
                first,
                sum(group.invoices for group in members),
                [sum(amounts, Decimal()) for amounts in zip(*(_amounts(group) for group in members), strict=True)],
            )

    def _revenue_groups(self, groups: Sequence[RevenueGroup]) -> None:
        self._headings("Revenue before credits", "Currency", "Type", "Meter", "Lines", "Amount", "Quantity", "Unit")
        quantity_format = self._workbook.format(num_format=NUMBER_FORMATS[ColumnKind.QUANTITY])
        for currency, found in groupby(groups, key=lambda group: group.currency):
            members, first = list(found), self._row
            for group in members:
                for place, text in enumerate((currency, group.line_type, group.meter_id or "")):
                    self._text(place, text)
                keys = ("currency", "line_type", "meter_id") if group.meter_id else ("currency", "line_type")
                self._count(3, self._counting(INVOICE_LINES, keys), group.lines)
                self._money(4, self._adding(INVOICE_LINES, "amount", keys), group.amount, currency)
                if group.quantity is not None:
                    quantity = self._adding(INVOICE_LINES, "quantity", keys)
                    self._number(5, quantity, float(group.quantity), quantity_format)
                    self._text(6, group.unit or "")
                self._row += 1
            amount = sum((group.amount for group in members), Decimal())
            self._total_row(currency, first, sum(group.lines for group in members), [amount])

    def _invoice_figures(self, group: CurrencyTotals | InvoiceGroup, keys: Sequence[str]) -> None:
        """Count and amounts of the invoices that match the row's first cells, one for each key."""
        self._count(3, self._counting(INVOICES, keys), group.invoices)
        for place, (name, amount) in enumerate(zip(INVOICE_AMOUNTS, _amounts(group), strict=True), start=4):
            self._money(place, self._adding(INVOICES, name, keys), amount, group.currency)

    def _total_row(self, currency: str, first_row: int, count: int, amounts: Sequence[Decimal]) -> None:
        """The sum of the rows above, from `first_row` on: a count, then amounts."""
        total = {"bold": True, "top": 1}
        for place, text in enumerate((f"{currency} total", "", "")):
            self._text(place, text, **total)
        self._count(3, self._sum_above(3, first_row), count, **total)
        for place, amount in enumerate(amounts, start=4):
            self._money(place, self._sum_above(place, first_row), amount, currency, **total)
        self._row += 1

    # Formulas -------------------------------------------------------------------------------------------------------

    def _cells(self, table: ExportTable, column_name: str) -> str:
        """The data cells of a column: Invoices!$J$2:$J$301."""
        letter = xl_col_to_name(table.index(column_name), col_abs=True)
        return f"{table.sheet}!{letter}$2:{letter}${max(self._figures.rows[table.name], 1) + 1}"

    def _criteria(self, table: ExportTable, keys: Sequence[str]) -> str:
        """Where each key column equals the cell at that place of the row being written."""
        return ",".join(
            f"{self._cells(table, name)},{xl_rowcol_to_cell(self._row, place, col_abs=True)}" for place, name in enumerate(keys)
        )

    def _adding(self, table: ExportTable, column_name: str, keys: Sequence[str]) -> str | None:
        """Sum of a column where the keys match; None if the table has no sheet."""
        if table not in self._sheets:
            return None
        return f"SUMIFS({self._cells(table, column_name)},{self._criteria(table, keys)})"

    def _counting(self, table: ExportTable, keys: Sequence[str]) -> str | None:
        """Number of rows where the keys match; None if the table has no sheet."""
        return f"COUNTIFS({self._criteria(table, keys)})" if table in self._sheets else None

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

    def _text(self, place: int, text: str, **style: object) -> None:
        write = self._sheet.write_string if text else self._sheet.write_blank
        write(self._row, place, text, self._workbook.format(**style))

    def _count(self, place: int, formula: str | None, value: int, **style: object) -> None:
        self._number(place, formula, value, self._workbook.format(num_format="#,##0", **style))

    def _money(self, place: int, formula: str | None, value: Decimal, currency: str, **style: object) -> None:
        self._number(place, formula, float(value), self._workbook.money(currency, **style))

    def _number(self, place: int, formula: str | None, value: float, style: xlsxwriter.format.Format) -> None:
        """A formula with its value stored, for readers that do not reckon; or the value alone."""
        if formula is None:
            self._sheet.write_number(self._row, place, value, style)
        else:
            self._sheet.write_formula(self._row, place, f"={formula}", style, value)


def _amounts(group: CurrencyTotals | InvoiceGroup) -> tuple[Decimal, Decimal, Decimal]:
    """In the order of INVOICE_AMOUNTS."""
    return group.subtotal, group.credits, group.total
