"""Numbers, amounts, dates and quantities for people, in the customer's language."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext

from babel.dates import format_date
from babel.numbers import format_decimal, format_percent

from pipeline.core.money import format_amount
from pipeline.core.periods import BillingPeriod
from pipeline.exports.statements.texts import Texts

_SECOND = "-second"
_HOUR = 3600
_MILLION = 1_000_000
_DAY = 86400
_EXACT_DIGITS = 60
"""More than a DECIMAL(38,12) times a DECIMAL(38,12) has."""


class Formats:
    """Formats values as texts of one language."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self._locale = texts.language

    def money(self, amount: Decimal, currency: str) -> str:
        """1234.5 USD -> 'USD 1,234.50'; in German '1.234,50 USD'. The code, since several currencies share a symbol."""
        number = format_amount(amount, currency, self._locale)
        return f"{number} {currency}" if self._locale == "de" else f"{currency} {number}"

    def signed_money(self, amount: Decimal, currency: str) -> str:
        """An amount with its sign: 'USD +12.00'."""
        text = self.money(abs(amount), currency)
        sign = "-" if amount < 0 else "+"
        return sign + text if self._locale == "de" else text.replace(" ", f" {sign}", 1)

    def price(self, amount: Decimal, currency: str) -> str:
        """A unit price with all its digits: 'USD 0.000014'."""
        number = self.number(amount)
        return f"{number} {currency}" if self._locale == "de" else f"{currency} {number}"

    def number(self, number: Decimal | int) -> str:
        """With separators and all digits, without trailing zeros."""
        text = f"{Decimal(number):f}"
        decimals = len(text.partition(".")[2].rstrip("0"))
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        with localcontext(prec=_EXACT_DIGITS):
            return str(format_decimal(number, format=pattern, locale=self._locale))

    def percent(self, share: Decimal) -> str:
        """0.125 -> '12.5%'; in German '12,5 %'."""
        return str(format_percent(share, locale=self._locale, decimal_quantization=False))

    def month(self, period: BillingPeriod) -> str:
        """'September 2026'."""
        return str(format_date(period.start.date(), "LLLL y", locale=self._locale))

    def day(self, day: date) -> str:
        """'September 30, 2026'; in German '30. September 2026', where the day and the month stay on one line."""
        return str(format_date(day, "long", locale=self._locale)).replace(". ", ".\u00a0")

    def short_day(self, day: date) -> str:
        """'Sep 30'; in German '30. Sept.'. Its spaces do not break."""
        return unbroken(format_date(day, "d. MMM" if self._locale == "de" else "MMM d", locale=self._locale))

    def day_and_year(self, day: date) -> str:
        """'Sep 30, 2026'; in German '30. Sept. 2026'. Its spaces do not break."""
        return unbroken(format_date(day, "d. MMM y" if self._locale == "de" else "MMM d, y", locale=self._locale))

    def unit(self, unit: str, *, plural: bool = True) -> str:
        """'vCPU-second' -> 'vCPU-seconds', in German 'vCPU-Sekunden'. A unit that has no text is shown as it is."""
        if unit.endswith(_SECOND):
            return self.texts.get("seconds" if plural else "second", resource=unit.removesuffix(_SECOND))
        if unit == "second":
            return self.texts.get("plain_seconds" if plural else "plain_second")
        if unit == "token":
            return self.texts.get("tokens" if plural else "token")
        return f"{unit}s" if plural and self._locale == "en" else unit

    def exact(self, quantity: Decimal, unit: str) -> str:
        """All digits of a quantity: '201,015,720 vCPU-seconds'."""
        return f"{self.number(quantity)} {self.unit(unit, plural=quantity != 1)}"

    def quantity(self, quantity: Decimal, unit: str) -> str:
        """In the unit that people use, with one decimal: '55,837.7 vCPU-hours', '12.3 M tokens', '30 days' (of a fee).

        Below an hour or a million it is exact.
        """
        if unit == "second":
            days = _divided(quantity, _DAY, Decimal("0.01"))
            return self.texts.get("one_day" if days == 1 else "days", number=self.number(days))
        if unit.endswith(_SECOND) and abs(quantity) >= _HOUR:
            name = self.texts.get("hours", resource=unit.removesuffix(_SECOND))
            return f"{self._tenths(quantity, _HOUR)} {name}"
        if not unit.endswith(_SECOND) and abs(quantity) >= _MILLION:
            return self.texts.get("millions", number=self._tenths(quantity, _MILLION), unit=self.unit(unit))
        return self.exact(quantity, unit)

    def hours(self, quantity: Decimal, unit: str) -> str:
        """The same for lists of days, where small and large quantities are below each other: always hours, two decimals."""
        if not unit.endswith(_SECOND):
            return self.quantity(quantity, unit)
        number = format_decimal(_divided(quantity, _HOUR, Decimal("0.01")), format="#,##0.00", locale=self._locale)
        return f"{number} {self.texts.get('hours', resource=unit.removesuffix(_SECOND))}"

    def people_price(self, amount: Decimal, unit: str, currency: str) -> tuple[str, str]:
        """A unit price per hour or per million, rounded to 6 decimals, and that unit."""
        if unit.endswith(_SECOND):
            size, name = _HOUR, self.texts.get("hour", resource=unit.removesuffix(_SECOND))
        else:
            size, name = _MILLION, self.texts.get("millions", number="1", unit=self.unit(unit))
        with localcontext(prec=_EXACT_DIGITS):
            price = (amount * size).quantize(Decimal("0.000001"), ROUND_HALF_UP)
        return self.price(price, currency), name

    def _tenths(self, quantity: Decimal, size: int) -> str:
        with localcontext(prec=_EXACT_DIGITS):
            return str(format_decimal(_divided(quantity, size, Decimal("0.1")), format="#,##0.0", locale=self._locale))


def unbroken(text: str) -> str:
    """A text in which no line ends: with no-break spaces and hyphens."""
    return text.replace(" ", "\u00a0").replace("-", "\u2011")


def _divided(quantity: Decimal, size: int, step: Decimal) -> Decimal:
    """Quantity / size, rounded half away from zero."""
    with localcontext(prec=_EXACT_DIGITS):
        return (quantity / size).quantize(step, ROUND_HALF_UP)
