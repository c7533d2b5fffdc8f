"""Checks of rates.csv and rate_tiers.csv: charge models, tiers, and whether every use of a meter has a rate."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby

from pydantic import AwareDatetime

from pipeline.core.errors import Problem
from pipeline.pricebook.price_book import replaced_ids, shown_path
from pipeline.pricebook.schema import Currency, Meter, MeterRate, Plan, PriceBookRows, RateTier


def check_charge_models(rows: PriceBookRows) -> Iterator[Problem]:
    """A rate has the columns and tiers that its charge model uses, and no others."""
    kinds = {meter.meter_id: meter.meter_kind for _, meter in rows["meters.csv"] if isinstance(meter, Meter)}
    with_tiers = {tier.rate_id for _, tier in rows["rate_tiers.csv"] if isinstance(tier, RateTier)}
    for line, rate in rows["rates.csv"]:
        if not isinstance(rate, MeterRate):
            continue
        is_tiered = rate.charge_model in ("graduated", "volume")
        mistakes = (
            (is_tiered and rate.rate_id not in with_tiers, "has no tiers.", "Add its tiers to seeds/rate_tiers.csv."),
            (
                not is_tiered and rate.rate_id in with_tiers,
                "has tiers, but its charge_model is not tiered.",
                "Write graduated or volume.",
            ),
            (is_tiered and rate.unit_amount is not None, "has a unit_amount and tiers.", "Leave unit_amount empty."),
            (not is_tiered and rate.unit_amount is None, "has no unit_amount.", "Fill it in."),
            (
                (rate.charge_model == "package") != (rate.package_size is not None),
                "must have a package_size if, and only if, its charge_model is package.",
                "Fill it in, or leave it empty.",
            ),
            (
                kinds.get(rate.meter_id) == "summed" and rate.allowance_level > 0,
                "has an allowance_level, which applies to levels held over time; this meter sums quantities.",
                "Set allowance_level to 0. For a free quantity, add a first tier with the price 0.",
            ),
        )
        for is_wrong, what, help in mistakes:
            if is_wrong:
                yield Problem(shown_path("rates.csv"), line, f"{rate.rate_id} {what}", help)


def check_tiers(rows: PriceBookRows) -> Iterator[Problem]:
    """The tiers of a rate start at 0, have no gaps or overlaps, and the last has no upper limit."""
    tiers = [(line, tier) for line, tier in rows["rate_tiers.csv"] if isinstance(tier, RateTier)]
    tiers.sort(key=lambda item: (item[1].rate_id, item[1].above_quantity))
    shown = shown_path("rate_tiers.csv")
    for rate_id, group in groupby(tiers, key=lambda item: item[1].rate_id):
        reached: Decimal | None = Decimal(0)
        for line, tier in group:
            if reached is None or tier.above_quantity != reached:
                before = "has no upper limit" if reached is None else f"ends at {reached}"
                yield Problem(
                    shown,
                    line,
                    f"starts above {tier.above_quantity}, but the tier of {rate_id} before it {before}.",
                    "Start the first tier at 0, and each other tier where the one before it ends.",
                )
            if tier.up_to_quantity is not None and tier.up_to_quantity <= tier.above_quantity:
                yield Problem(shown, line, "ends before it starts.", "Correct up_to_quantity.")
            reached = tier.up_to_quantity
        if reached is not None:
            yield Problem(
                shown, line, f"is the last tier of {rate_id}, and has an upper limit.", "Leave its up_to_quantity empty."
            )


def check_coverage(rows: PriceBookRows) -> Iterator[Problem]:
    """Every plan has a rate for every meter in every currency; without one, usage could not be billed."""
    rates = {(rate.plan_id, rate.meter_id, rate.currency) for _, rate in rows["rates.csv"] if isinstance(rate, MeterRate)}
    plans = dict.fromkeys(plan.plan_id for _, plan in rows["plans.csv"] if isinstance(plan, Plan))
    for line, meter in rows["meters.csv"]:
        for _, currency in rows["currencies.csv"]:
            if not isinstance(meter, Meter) or not isinstance(currency, Currency):
                continue
            without = [plan for plan in plans if (plan, meter.meter_id, currency.currency) not in rates]
            if without:
                yield Problem(
                    shown_path("meters.csv"),
                    line,
                    f"{meter.meter_id} has no rate in {currency.currency} on {', '.join(without)}.",
                    "Add a rate for each to seeds/rates.csv (0 if it is free), or remove the currency from seeds/currencies.csv.",
                )


def check_beginnings(rows: PriceBookRows) -> Iterator[Problem]:
    """The first rate of a meter on a plan starts no later than the plan; earlier usage could not be billed."""
    plan_starts: dict[str, AwareDatetime] = {}
    for _, plan in rows["plans.csv"]:
        if isinstance(plan, Plan):
            plan_starts[plan.plan_id] = min(plan.valid_from, plan_starts.get(plan.plan_id, plan.valid_from))
    replaced = replaced_ids(rows, "rates.csv")
    first: dict[tuple[str, str, str], tuple[AwareDatetime, int]] = {}
    for line, rate in rows["rates.csv"]:
        if isinstance(rate, MeterRate) and rate.plan_id is not None and rate.rate_id not in replaced:
            key = (rate.plan_id, rate.meter_id, rate.currency)
            first[key] = min((rate.valid_from, line), first.get(key, (rate.valid_from, line)))
    for (plan_id, meter_id, currency), (valid_from, line) in first.items():
        if plan_id in plan_starts and valid_from > plan_starts[plan_id]:
            yield Problem(
                shown_path("rates.csv"),
                line,
                f"is the first rate of {meter_id} on {plan_id} in {currency}, and starts after the plan.",
                "Let it start with the plan, or add a rate for the time before (0 if it is free).",
            )
