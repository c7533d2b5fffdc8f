"""What changed between the invoices of two months: effects in money that sum exactly to the difference of the totals.

A meter's difference has two parts. The *quantity effect* is the change of the charged quantity at the price of the month before,
rounded half away from zero to the currency's minor unit; the *price effect* is the rest, so that both sum exactly. If the price
list is the same in both months, the whole difference is due to the quantity: also where tiers or packages make the average price
move, and where only the rounding of the lines differs. If both months have the same several price lists, as of two plans, their
shares can move the average price; a rest that rounding alone explains is due to the quantity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
PriceList = frozenset[object]
"""The prices of a meter in a month; equal for equal prices, whichever plan they are of."""


@dataclass(frozen=True)
class MeterMonth:
    """A meter's usage lines of one invoice, without corrections, summed."""

    meter_id: str
    unit: str
    quantity: Decimal
    """The charged part: outside trials and above allowances."""
    amount: Decimal
    prices: PriceList
    lines: int
    """Their number: each is rounded once."""


@dataclass(frozen=True)
class Effect:
    """A part of the difference."""

    kind: str
    """'quantity' or 'price' of a meter, or 'fee', 'discount', 'commitment', 'carry_forward', 'corrections', 'credit',
    'carried_forward'.
    """
    amount: Decimal
    before: Decimal
    """Of a quantity effect the charged quantity, of a price effect the average price, otherwise an amount."""
    after: Decimal
    meter_id: str | None = None
    unit: str = ""


@dataclass(frozen=True)
class Difference:
    """The difference between two invoices of a customer in one currency. The effects sum to total_after - total_before."""

    total_before: Decimal
    total_after: Decimal
    effects: tuple[Effect, ...]


_LINE_TYPES = ("fee", "discount", "commitment", "carry_forward")
_ZERO = Decimal(0)


def difference(
    before: Row, lines_before: Iterable[Row], after: Row, lines_after: Iterable[Row], prices: Mapping[str, object], digits: int
) -> Difference:
    """Compare an invoice with the one of the month before.

    Invoices and lines are rows of the report tables; `prices` has the prices of each rate by its id; `digits` are the decimals of
    the currency's minor unit.
    """
    old, new = list(lines_before), list(lines_after)
    effects = [
        *_meter_effects(_meters(old, prices), _meters(new, prices), digits),
        *(_effect(kind, _sum_of(old, kind), _sum_of(new, kind)) for kind in _LINE_TYPES),
        _effect("corrections", _corrections(old), _corrections(new)),
        # Credit and what is carried forward are subtracted from the subtotal.
        _effect("credit", -before["credits_applied_amount"], -after["credits_applied_amount"]),
        _effect("carried_forward", -before["carried_forward_amount"], -after["carried_forward_amount"]),
    ]
    return Difference(before["total_amount"], after["total_amount"], tuple(effect for effect in effects if effect.amount))


def _effect(kind: str, before: Decimal, after: Decimal) -> Effect:
    return Effect(kind, after - before, before, after)


def _sum_of(lines: Iterable[Row], line_type: str) -> Decimal:
    return sum((line["amount"] for line in lines if line["line_type"] == line_type and not line["is_adjustment"]), _ZERO)


def _corrections(lines: Iterable[Row]) -> Decimal:
    return sum((line["amount"] for line in lines if line["is_adjustment"]), _ZERO)


def _meters(lines: Iterable[Row], prices: Mapping[str, object]) -> dict[str, MeterMonth]:
    """By meter, in the order of the lines."""
    found: dict[str, MeterMonth] = {}
    for line in lines:
        if line["line_type"] != "usage" or line["is_adjustment"]:
            continue
        meter_id = line["meter_id"]
        sofar = found.get(meter_id, MeterMonth(meter_id, line["unit"], _ZERO, _ZERO, frozenset(), 0))
        price = prices.get(line["rate_id"], line["rate_id"])
        found[meter_id] = MeterMonth(
            meter_id,
            line["unit"],
            sofar.quantity + line["billable_quantity"],
            sofar.amount + line["amount"],
            sofar.prices | {price},
            sofar.lines + 1,
        )
    return found


def _meter_effects(before: Mapping[str, MeterMonth], after: Mapping[str, MeterMonth], digits: int) -> list[Effect]:
    effects = []
    for meter_id in dict.fromkeys([*after, *before]):
        some = after.get(meter_id) or before[meter_id]
        nothing = MeterMonth(meter_id, some.unit, _ZERO, _ZERO, frozenset(), 0)
        effects += _quantity_and_price(before.get(meter_id, nothing), after.get(meter_id, nothing), digits)
    return effects


def _quantity_and_price(old: MeterMonth, new: MeterMonth, digits: int) -> list[Effect]:
    whole = new.amount - old.amount
    is_same_price = old.prices == new.prices and len(old.prices) == 1
    if is_same_price or not old.quantity or not new.quantity:
        by_quantity = whole
    else:
        price_before = Fraction(old.amount) / Fraction(old.quantity)
        by_quantity = _rounded(price_before * Fraction(new.quantity - old.quantity), digits)
        if old.prices == new.prices and abs(whole - by_quantity) <= _most_by_rounding(old, new, digits):
            by_quantity = whole
    effects = [Effect("quantity", by_quantity, old.quantity, new.quantity, new.meter_id, new.unit)]
    if whole != by_quantity:
        averages = (_average(old), _average(new))
        effects.append(Effect("price", whole - by_quantity, *averages, new.meter_id, new.unit))
    return effects


def _most_by_rounding(old: MeterMonth, new: MeterMonth, digits: int) -> Fraction:
    """The largest price effect where the average price before rounding is the same in both months.

    Each line, and the quantity effect, is off by at most half a minor unit; the old lines count in proportion to the quantities.
    """
    halves = new.lines + old.lines * Fraction(new.quantity) / Fraction(old.quantity) + 1
    return Fraction(halves, 2 * 10**digits)


def _average(month: MeterMonth) -> Decimal:
    """The average price of a unit, to 12 decimals, for showing."""
    return _rounded(Fraction(month.amount) / Fraction(month.quantity), 12)


def _rounded(number: Fraction, digits: int) -> Decimal:
    """Half away from zero."""
    scaled = abs(number) * 10**digits
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(units if number >= 0 else -units).scaleb(-digits)
