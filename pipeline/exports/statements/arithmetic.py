"""How a line is calculated from its quantity and its price, exactly, for 'How this is calculated'.

An equation is shown only if its result, rounded once, is the line's amount. A line that says something else (a correction, or a
price that was corrected since) names its rule instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from typing import Any

from pipeline.core.periods import BillingPeriod
from pipeline.exports.statements.formats import Formats

Row = Mapping[str, Any]
_EXACT_DIGITS = 90
"""More than a product of three DECIMAL(38,12) has."""

_OUTSIDE_TRIAL = " outside the trial"
"""What models/invoicing/draft_invoice_lines.sql writes in the description of a line with a trial."""


@dataclass(frozen=True)
class Step:
    """One calculation: the text of its left side, and its unrounded result; None: the text names a rule, and has no result."""

    text: str
    result: Decimal | None = None


@dataclass(frozen=True)
class LinePrices:
    """What a line is calculated with, besides itself."""

    rate: Row | None
    """The row of `rates`; None: not a usage line, or the price book does not have the rate any more."""
    tiers: Sequence[Row]
    discount_base: Decimal
    """Usage and flat fees of the line's month on the same invoice."""
    plan_name: str
    digits: int
    """Decimals of the currency's minor unit."""


def steps_of(line: Row, prices: LinePrices, formats: Formats) -> list[Step]:
    """The steps of a line. Their results sum to its amount when rounded once, half away from zero, or there is none."""
    if line["is_adjustment"]:
        return [Step(formats.texts.get("correction_share"))]
    with localcontext(prec=_EXACT_DIGITS):
        steps = _steps(line, prices, formats)
        results = [step.result for step in steps if step.result is not None]
        if results:
            total = sum(results, Decimal(0)).quantize(Decimal(1).scaleb(-prices.digits), ROUND_HALF_UP)
            if total != line["amount"]:
                return [Step(formats.texts.get("by_price_list", plan=prices.plan_name))]
    return steps


def _steps(line: Row, prices: LinePrices, formats: Formats) -> list[Step]:
    if line["unit_amount"] is None and line["line_type"] in ("fee", "discount"):
        return [Step(formats.texts.get("by_price_list", plan=prices.plan_name))]
    match line["line_type"]:
        case "usage":
            return _usage(line, prices, formats)
        case "fee":
            return [_fee(line, formats)]
        case "discount":
            percent, base = formats.percent(line["unit_amount"]), formats.money(prices.discount_base, line["currency"])
            share = formats.texts.get("discount_share", percent=percent, base=base)
            return [Step(share, -line["unit_amount"] * prices.discount_base)]
        case "commitment":
            return [Step(formats.texts.get("commitment_share"))]
        case _:
            return [Step(formats.texts.get("carry_forward_share"))]


def _fee(line: Row, formats: Formats) -> Step:
    month = BillingPeriod.parse(line["service_period"])
    seconds = int((month.end - month.start).total_seconds())
    text = formats.texts.get(
        "fee_share",
        fee=formats.money(line["unit_amount"], line["currency"]),
        seconds=formats.number(line["billable_quantity"]),
        all=formats.number(seconds),
    )
    return Step(text, line["unit_amount"] * line["billable_quantity"] / seconds)


def _usage(line: Row, prices: LinePrices, formats: Formats) -> list[Step]:
    charged, unit, currency = line["billable_quantity"], line["unit"], line["currency"]
    steps = []
    if charged != line["quantity"]:
        steps.append(Step(_not_charged(line, prices, formats)))
        if not charged and not line["amount"]:
            return steps
    model = prices.rate["charge_model"] if prices.rate else "per_unit"
    if model in ("graduated", "volume"):
        return steps + _tiers(line, prices, formats, is_volume=model == "volume")
    if line["unit_amount"] is None:
        return [*steps, Step(formats.texts.get("by_price_list", plan=prices.plan_name))]
    price = formats.price(line["unit_amount"], currency)
    if model == "package" and prices.rate is not None:
        size = prices.rate["package_size"]
        count = (charged / size).to_integral_value(ROUND_CEILING)
        packages = formats.texts.get("packages", count=formats.number(count), size=formats.exact(size, unit))
        return [*steps, Step(f"{packages} × {price}", count * line["unit_amount"])]
    return [*steps, Step(f"{formats.exact(charged, unit)} × {price}", charged * line["unit_amount"])]


def _not_charged(line: Row, prices: LinePrices, formats: Formats) -> str:
    used, charged = formats.exact(line["quantity"], line["unit"]), formats.exact(line["billable_quantity"], line["unit"])
    has_allowance = prices.rate and prices.rate["allowance_level"] and line["unit"] == "GB-second"
    # With a trial, what is not charged is not all within the allowance. Only the line's description says whether there was one.
    if prices.rate and has_allowance and _OUTSIDE_TRIAL not in line["description"]:
        level = formats.number(prices.rate["allowance_level"])
        return formats.texts.get("not_charged_allowance", used=used, charged=charged, level=level)
    return formats.texts.get("not_charged", used=used, charged=charged)


def _tiers(line: Row, prices: LinePrices, formats: Formats, *, is_volume: bool) -> list[Step]:
    """A tier is (above, up to]. Graduated: each tier that is reached prices its slice; volume: the tier reached prices all."""
    charged, unit, currency = line["billable_quantity"], line["unit"], line["currency"]
    steps = []
    for number, tier in enumerate(prices.tiers):
        is_reached = number == 0 or charged > tier["above_quantity"]
        is_last = tier["up_to_quantity"] is None or charged <= tier["up_to_quantity"]
        if not is_reached or (is_volume and not is_last):
            continue
        up_to = charged if is_last else tier["up_to_quantity"]
        priced = charged if is_volume else max(up_to - tier["above_quantity"], Decimal(0))
        text = f"{_tier_name(tier, formats)}: {formats.exact(priced, unit)} × {formats.price(tier['unit_amount'], currency)}"
        if tier["flat_amount"]:
            text += f" + {formats.texts.get('flat', amount=formats.money(tier['flat_amount'], currency))}"
        steps.append(Step(text, priced * tier["unit_amount"] + tier["flat_amount"]))
    return steps


def _tier_name(tier: Row, formats: Formats) -> str:
    above, to = tier["above_quantity"], tier["up_to_quantity"]
    if to is None:
        return formats.texts.get("tier_from", **{"from": formats.number(above)})
    if not above:
        return formats.texts.get("tier_to", to=formats.number(to))
    return formats.texts.get("tier_from_to", **{"from": formats.number(above), "to": formats.number(to)})
