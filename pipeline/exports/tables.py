"""What an export holds: three report tables, their columns, and how a value reads in a spreadsheet and in CSV."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, auto

Row = tuple[object, ...]

FORMULA_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a spreadsheet take a text for a formula (the last four: full-width = + - @)."""

_MINOR_DIGITS = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}


class ColumnKind(Enum):
    """What the values of a column are."""

    TEXT = auto()
    MONEY = auto()
    """DECIMAL(18,3), in the currency that the row's `currency` column names."""
    QUANTITY = auto()
    """DECIMAL(38,12)."""
    PRICE = auto()
    """DECIMAL(38,12): the amount of one unit."""
    WHOLE = auto()
    BOOLEAN = auto()
    DATE = auto()
    INSTANT = auto()
    """TIMESTAMPTZ, read and written in UTC."""


@dataclass(frozen=True)
class Column:
    """A column of a report table, and its heading in the workbook."""

    name: str
    heading: str
    kind: ColumnKind = ColumnKind.TEXT
    width: int = 16
    """In characters."""


@dataclass(frozen=True)
class ExportTable:
    """A report table that is exported: `<name>.csv`, and a sheet of the workbook."""

    name: str
    sheet: str
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    """A total order, so that the same rows always give the same bytes."""

    @property
    def select_period(self) -> str:
        """SQL for the rows of one period ('YYYY-MM', the only parameter); instants come as naive UTC."""
        selected = ", ".join(
            f"timezone('UTC', {column.name}) as {column.name}" if column.kind is ColumnKind.INSTANT else column.name
            for column in self.columns
        )
        return f"select {selected} from {self.name} where period = ? order by {', '.join(self.order_by)}"

    def index(self, column_name: str) -> int:
        """Place of a column, from 0."""
        return [column.name for column in self.columns].index(column_name)


INVOICES = ExportTable(
    name="invoices",
    sheet="Invoices",
    columns=(
        Column("invoice_id", "Invoice", width=30),
        Column("customer_id", "Customer", width=22),
        Column("customer_name", "Name", width=28),
        Column("customer_email", "E-mail", width=34),
        Column("period", "Period", width=10),
        Column("currency", "Currency", width=10),
        Column("status", "Status", width=11),
        Column("plan_id", "Plan", width=12),
        Column("collection", "Collection", width=14),
        Column("subtotal_amount", "Subtotal", ColumnKind.MONEY),
        Column("credits_applied_amount", "Credits applied", ColumnKind.MONEY),
        Column("total_amount", "Total", ColumnKind.MONEY),
        Column("line_count", "Lines", ColumnKind.WHOLE, width=8),
        Column("stripe_customer_id", "Stripe customer", width=24),
        Column("stripe_invoice_id", "Stripe invoice", width=30),
        Column("closed_at", "Closed at (UTC)", ColumnKind.INSTANT, width=20),
        Column("published_at", "Published at (UTC)", ColumnKind.INSTANT, width=20),
    ),
    order_by=("customer_id", "currency", "invoice_id"),
)

INVOICE_LINES = ExportTable(
    name="invoice_lines",
    sheet="Lines",
    columns=(
        Column("invoice_id", "Invoice", width=30),
        Column("line_number", "Line", ColumnKind.WHOLE, width=6),
        Column("line_id", "Line id", width=38),
        Column("customer_id", "Customer", width=22),
        Column("period", "Period", width=10),
        Column("service_period", "Service month", width=14),
        Column("line_type", "Type", width=14),
        Column("description", "Description", width=54),
        Column("plan_id", "Plan", width=12),
        Column("meter_id", "Meter", width=10),
        Column("rate_id", "Rate", width=26),
        Column("quantity", "Quantity", ColumnKind.QUANTITY, width=22),
        Column("billable_quantity", "Billable quantity", ColumnKind.QUANTITY, width=22),
        Column("unit", "Unit", width=13),
        Column("unit_amount", "Unit price", ColumnKind.PRICE),
        Column("amount", "Amount", ColumnKind.MONEY),
        Column("currency", "Currency", width=10),
        Column("is_adjustment", "Adjustment", ColumnKind.BOOLEAN, width=12),
    ),
    order_by=("customer_id", "invoice_id", "line_number", "line_id"),
)

USAGE_DAILY = ExportTable(
    name="usage_daily",
    sheet="Usage",
    columns=(
        Column("usage_date", "Day (UTC)", ColumnKind.DATE, width=12),
        Column("customer_id", "Customer", width=22),
        Column("period", "Period", width=10),
        Column("plan_id", "Plan", width=12),
        Column("meter_id", "Meter", width=10),
        Column("rate_id", "Rate", width=26),
        Column("quantity", "Quantity", ColumnKind.QUANTITY, width=22),
        Column("unit", "Unit", width=13),
        Column("amount", "Amount", ColumnKind.MONEY),
        Column("currency", "Currency", width=10),
    ),
    order_by=("usage_date", "customer_id", "currency", "plan_id", "meter_id", "rate_id"),
)

EXPORT_TABLES = (INVOICES, INVOICE_LINES, USAGE_DAILY)


def money_format(currency: str) -> str:
    """A spreadsheet's number format: 'USD' -> '[$USD] #,##0.00', in the currency's own number of digits (ISO 4217)."""
    digits = _MINOR_DIGITS.get(currency, 2)
    number = "#,##0" + ("." + "0" * digits if digits else "")
    is_code = len(currency) == 3 and currency.isascii() and currency.isalpha()
    return f"[${currency.upper()}] {number}" if is_code else number


def csv_text(column: Column, value: object) -> str:
    """A value as it stands in CSV: decimals exact, instants ISO 8601 in UTC, null empty.

    A text that a spreadsheet would take for a formula gets a leading apostrophe; numbers never do.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    if column.kind is ColumnKind.TEXT and text.startswith(FORMULA_TRIGGERS):
        return "'" + text
    return text
