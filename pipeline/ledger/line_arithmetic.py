"""The arithmetic of an invoice line, as text: usage by its rate, fees by time, discounts and commitments by contract."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb

from pipeline.core.periods import BillingPeriod
from pipeline.ledger.due_lines import fetch_rows, line_condition


def usage_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    """The steps from the month's quantity to the amount due: trial, allowance, tiers, rounding."""
    condition, values = line_condition(line, period="period")
    groups = fetch_rows(connection, f"select * from rating.rating_groups where {condition}", *values)
    if not groups:
        return ["Nothing is due now."]
    (group,) = groups
    steps = []
    if group["allowance_quantity"] or group["trial_quantity"]:
        trial = f" - {text_of(group['trial_quantity'])} in the trial" if group["trial_quantity"] else ""
        allowance = f" - {text_of(group['allowance_quantity'])} allowance" if group["allowance_quantity"] else ""
        billable = text_of(group["billable_quantity"])
        steps.append(f"{text_of(group['quantity'])} used{trial}{allowance} = {billable} billable (never below 0)")
    tiers = fetch_rows(connection, f"select * from rating.tier_charges where {condition} order by tier_number", *values)
    for tier in tiers:
        where = ""
        if group["charge_model"] in ("graduated", "volume"):
            end = "on" if tier["up_to_quantity"] is None else f"to {text_of(tier['up_to_quantity'])}"
            where = f"tier above {text_of(tier['above_quantity'])} {end}: "
        elif group["charge_model"] == "package":
            where = f"packages of {text_of(group['package_size'])}: "
        flat = f" + {text_of(tier['flat_amount'])} flat" if tier["flat_amount"] else ""
        steps.append(
            f"{where}{text_of(tier['tier_quantity'])} x {text_of(tier['unit_amount'])}{flat} = {text_of(tier['amount'])}"
        )
    exact = sum((tier["amount"] for tier in tiers), Decimal(0))
    steps.append(f"{text_of(exact)} rounded once, half away from zero: {text_of(due)}")
    return steps


def fee_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    """The steps from the monthly fee to the amount due: time on the plan, trial, rounding."""
    month = BillingPeriod.parse(line["service_period"])
    condition, values = line_condition(line)
    rows = fetch_rows(
        connection, f"select quantity, billable_quantity, unit_amount from rating.due_fee_lines where {condition}", *values
    )
    if not rows:
        return ["Nothing is due now."]
    seconds = int((month.end - month.start).total_seconds())
    fee, held = text_of(rows[0]["unit_amount"]), text_of(rows[0]["billable_quantity"])
    steps = []
    if rows[0]["quantity"] != rows[0]["billable_quantity"]:
        trial = text_of(rows[0]["quantity"] - rows[0]["billable_quantity"])
        steps = [f"{text_of(rows[0]['quantity'])} seconds on the plan - {trial} in the trial = {held} billable"]
    return [*steps, f"{fee} a month x {held} of the month's {seconds} seconds, rounded half away from zero: {text_of(due)}"]


def contract_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    """The steps of a contract's discount, or of the charge up to its commitment."""
    base = fetch_rows(
        connection,
        "select line_type, sum(amount) as amount from rating.due_lines"
        " where customer_id = ? and service_period = ? and currency = ? group by line_type",
        line["customer_id"],
        line["service_period"],
        line["currency"],
    )
    sums = {row["line_type"]: row["amount"] for row in base}
    usage, fees = sums.get("usage", Decimal(0)), sums.get("fee", Decimal(0))
    if line["line_type"] == "discount":
        rate = text_of(line["unit_amount"])
        return [f"-{rate} x (usage {text_of(usage)} + fees {text_of(fees)}), rounded half away from zero: {text_of(due)}"]
    discount = sums.get("discount", Decimal(0))
    month = fetch_rows(
        connection,
        "select cast(commitment_millionth_microseconds as varchar) || ' / (' || month_microseconds || ' x 1000000)' as prorated"
        " from rating.contract_months where customer_id = ? and period = ? and currency = ?",
        line["customer_id"],
        line["service_period"],
        line["currency"],
    )
    prorated = text_of(due + usage + fees + discount) if due else (month[0]["prorated"] if month else "0")
    return [
        f"commitment {text_of(line['unit_amount'])} a month, prorated to the contract's time: {prorated}",
        f"- usage {text_of(usage)} - fees {text_of(fees)} - discount {text_of(discount)} = {text_of(due)}",
    ]


def text_of(number: Decimal) -> str:
    """A decimal without trailing zeros: 0.000014, 75, and 0.20 as 0.2."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
