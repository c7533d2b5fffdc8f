"""Formats amounts of money for people: thousands separators, the currency's usual decimals, and no digit cut off."""

from __future__ import annotations

from decimal import Decimal

from babel.numbers import format_decimal, get_currency_precision

_LOCALE = "en"


def shown_digits(currency: str) -> int:
    """The usual number of decimals of a currency (Unicode CLDR): USD 2, JPY 0, ISK 0, KWD 3."""
    return int(get_currency_precision(currency))


def format_amount(amount: Decimal, currency: str, language: str = _LOCALE) -> str:
    """1234.5 USD -> '1,234.50'; 27200 ISK -> '27,200'; 60.603 KWD -> '60.603'. Further decimals of the amount are shown too.

    `language`: whose separators; in German 1234.5 USD is '1.234,50'.
    """
    exponent = amount.normalize().as_tuple().exponent
    digits = max(shown_digits(currency), -exponent if isinstance(exponent, int) else 0)
    return format_decimal(amount, format="#,##0" + ("." + "0" * digits if digits else ""), locale=language)


def format_money(amount: Decimal, currency: str) -> str:
    """1234.5 USD -> '1,234.50 USD'."""
    return f"{format_amount(amount, currency)} {currency}"
