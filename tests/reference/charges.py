"""The charge models. Billing rules, section 5."""

from __future__ import annotations

from fractions import Fraction

from .price_book import Rate


def charge(rate: Rate, billable_quantity: Fraction) -> Fraction:
    """What a billable quantity costs, unrounded."""
    match rate.charge_model:
        case "per_unit":
            return billable_quantity * rate.unit_amount
        case "package":
            whole, rest = divmod(billable_quantity, rate.package_size)
            return (whole + (1 if rest else 0)) * rate.unit_amount
        case "graduated":
            return _graduated(rate, billable_quantity)
        case "volume":
            return _volume(rate, billable_quantity)
    raise LookupError(f"Rate {rate.rate_id} has charge model {rate.charge_model}.")


def _graduated(rate: Rate, quantity: Fraction) -> Fraction:
    """Each tier prices the slice that lies in it, and adds its flat fee once the quantity reaches into it."""
    total = Fraction(0)
    for number, tier in enumerate(rate.tiers):
        reaches_in = quantity > tier.above
        if reaches_in:
            end = quantity if tier.up_to is None else min(quantity, tier.up_to)
            total += (end - tier.above) * tier.unit_amount
        if reaches_in or number == 0:
            total += tier.flat_amount
    return total


def _volume(rate: Rate, quantity: Fraction) -> Fraction:
    """The tier that the quantity reaches prices all of it; one on an edge belongs to the lower tier, and so does zero."""
    reached = rate.tiers[0]
    for tier in rate.tiers:
        if quantity > tier.above:
            reached = tier
    return quantity * reached.unit_amount + reached.flat_amount
