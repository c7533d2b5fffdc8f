"""Writes values to spreadsheets and CSV files: exactly, and never as a formula."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from pipeline.core.money import shown_digits
from pipeline.pricebook.price_book import minor_unit_digits

FORMULA_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a spreadsheet read a text as a formula (the last four: full-width = + - @)."""


def money_format(currency: str) -> str:
    """A spreadsheet's number format: 'USD' -> '[$USD] #,##0.00'. Decimals: the usual ones, or the price book's if more."""
    digits = max(shown_digits(currency), dict(minor_unit_digits()).get(currency, 0))
    number = "#,##0" + ("." + "0" * digits if digits else "")
    is_code = len(currency) == 3 and currency.isascii() and currency.isalpha()
    return f"[${currency.upper()}] {number}" if is_code else number


def csv_text(value: object) -> str:
    """A value as a CSV cell: exact decimals, instants in ISO 8601 (UTC), an empty cell for None.

    Text that a spreadsheet would read as a formula gets a leading apostrophe; numbers never do.
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
    if isinstance(value, str) and value.startswith(FORMULA_TRIGGERS):
        return "'" + value
    return str(value)
