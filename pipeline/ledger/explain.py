"""Explains an invoice: from its total to its lines, to days, to sandboxes and sessions, to the landed events.

What is due is a pure function of what has landed, so a line can be taken apart at any time. Where something landed or a price was
corrected since the line was closed, the warehouse is first built again as it was at the close.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.core.sql import rows_as_dictionaries
from pipeline.warehouse.build import open_warehouse
from pipeline.warehouse.reconstruction import as_it_was

_KEY = ("customer_id", "service_period", "line_type", "currency", "plan_id", "meter_id", "rate_id")
"""What makes a due line and a billed one the same line."""


@dataclass(frozen=True)
class LandedEvent:
    """An event that a session was made of, and where it came from."""

    event_id: str
    event_type: str
    event_at: datetime
    named: str
    """What it named, as text: 'vcpu_count 4, memory_gb 4'."""
    file_name: str
    file_row: int


@dataclass
class SessionShare:
    """One session's part of a day of a line; or a sandbox's quantities at instants at which no session ran."""

    session_id: str
    """'' where no session ran: then the instants are those of the first and last quantity, and `end_reason` is 'no_session'."""
    sandbox_id: str
    started_at: datetime
    ended_at: datetime
    end_reason: str
    quantity: Decimal
    amount: Decimal
    events: list[LandedEvent] = field(default_factory=list)


@dataclass
class DayShare:
    """One day's part of a line. Its sessions' amounts sum to its own."""

    usage_date: date
    quantity: Decimal
    amount: Decimal
    sessions: list[SessionShare] = field(default_factory=list)


@dataclass
class LineExplanation:
    """A line: what is due for it, less what was billed for it before."""

    line_id: str
    description: str
    amount: Decimal
    due_amount: Decimal
    billed_before: dict[str, Decimal] = field(default_factory=dict)
    """By invoice id: amount = due_amount - the sum of these."""
    arithmetic: list[str] = field(default_factory=list)
    days: list[DayShare] = field(default_factory=list)
    """Of usage: their amounts sum to due_amount."""


@dataclass
class InvoiceExplanation:
    """An invoice: its lines sum to the subtotal; less credits, less what is carried forward, is the total."""

    invoice_id: str
    customer_id: str
    period: str
    currency: str
    status: str
    subtotal_amount: Decimal
    credits_applied_amount: Decimal
    carried_forward_amount: Decimal
    total_amount: Decimal
    lines: list[LineExplanation] = field(default_factory=list)
    credits: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def explain(
    home: Home, invoice_id: str, line_id: str | None = None, *, on_progress: OnProgress | None = None
) -> InvoiceExplanation:
    """Take an invoice apart, down to days; with `line_id` that line alone, down to the landed events.

    Raises BillhouseError where there is no such invoice or line.
    """
    with home.writing(), open_warehouse(home) as current:
        found = _rows(current, "select * from billing.invoices where invoice_id = ?", invoice_id)
        if not found:
            raise BillhouseError(f"There is no invoice {invoice_id}.", "List them: billhouse invoices")
        (invoice,) = found
        explanation = InvoiceExplanation(
            **{name: invoice[name] for name in InvoiceExplanation.__annotations__ if name in invoice}
        )
        explanation.credits = _rows(
            current,
            "select grant_id, source, amount, application_period from billing.credit_applications"
            " where invoice_id = ? order by grant_id, application_period",
            invoice_id,
        )
        lines = _rows(current, "select * from billing.invoice_lines where invoice_id = ? order by line_number", invoice_id)
        chosen = [line for line in lines if line_id in (None, line["line_id"])]
        if not chosen:
            raise BillhouseError(f"{invoice_id} has no line {line_id}.", f"List them: billhouse explain {invoice_id}")
        if all(_stands(current, line) for line in chosen):
            explanation.lines = [_explain_line(current, line, line_id is not None) for line in chosen]
            return explanation
    with (
        as_it_was(home, BillingPeriod.parse(invoice["period"]), on_progress=on_progress) as scratch,
        open_warehouse(scratch) as past,
    ):
        explanation.lines = [_explain_line(past, line, line_id is not None) for line in chosen]
    return explanation


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> list[dict[str, Any]]:
    """Rows by column name. `parameters`: a value for each `?`, or one dictionary for `$name`s."""
    named = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else None
    result = connection.execute(sql, list(parameters) if named is None else named)
    return rows_as_dictionaries(result)


def _of_key(line: dict[str, Any], *, period: str = "service_period") -> tuple[str, list[object]]:
    """The condition that picks a line's key, and its values."""
    columns = [name for name in _KEY if period == "service_period" or name not in ("line_type",)]
    names = [period if name == "service_period" else name for name in columns]
    return " and ".join(f"{name} is not distinct from ?" for name in names), [line[name] for name in columns]


def _billed_before(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> dict[str, Decimal]:
    """What earlier invoices billed for the line's key. Open months count as if they were closed in order."""
    condition, values = _of_key(line)
    rows = _rows(
        connection,
        f"select invoice_id, amount from billing.invoice_lines where {condition} and period < ? order by period",
        *values,
        line["period"],
    )
    return {row["invoice_id"]: row["amount"] for row in rows}


def _due(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> Decimal:
    condition, values = _of_key(line)
    rows = _rows(connection, f"select amount from rating.due_lines where {condition}", *values)
    return rows[0]["amount"] if rows else Decimal("0.000")


def _stands(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> bool:
    """Whether the line is still what is due now less what was billed before it."""
    if line["line_type"] == "carry_forward":
        return True
    due_then = line["amount"] + sum(_billed_before(connection, line).values())
    if _due(connection, line) != due_then:
        return False
    condition, values = _of_key(line)
    quantities = f"select sum(quantity) as quantity from billing.invoice_lines where {condition} and period <= ?"
    billed = _rows(connection, quantities, *values, line["period"])[0]["quantity"]
    due = _rows(connection, f"select sum(quantity) as quantity from rating.due_lines where {condition}", *values)[0]["quantity"]
    return bool((billed or 0) == (due or 0))


def _explain_line(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], to_the_events: bool) -> LineExplanation:
    explained = LineExplanation(line["line_id"], line["description"], line["amount"], line["amount"])
    if line["line_type"] == "carry_forward":
        explained.arithmetic = ["What earlier invoices fell below zero, and no credit could take up."]
        return explained
    explained.billed_before = _billed_before(connection, line)
    explained.due_amount = _due(connection, line)
    match line["line_type"]:
        case "usage":
            explained.arithmetic = _usage_arithmetic(connection, line, explained.due_amount)
            explained.days = _days(connection, line)
            if to_the_events:
                _add_sessions(connection, line, explained.days)
                _add_events(connection, explained.days)
        case "fee":
            explained.arithmetic = _fee_arithmetic(connection, line, explained.due_amount)
        case "discount" | "commitment":
            explained.arithmetic = _contract_arithmetic(connection, line, explained.due_amount)
    if explained.billed_before:
        billed = " - ".join(f"{plain(amount)} ({invoice})" for invoice, amount in explained.billed_before.items())
        explained.arithmetic.append(f"due {plain(explained.due_amount)} - billed {billed} = {plain(explained.amount)}")
    return explained


def _usage_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    condition, values = _of_key(line, period="period")
    groups = _rows(connection, f"select * from rating.rating_groups where {condition}", *values)
    if not groups:
        return ["Nothing is due any more."]
    (group,) = groups
    steps = []
    if group["allowance_quantity"] or group["trial_quantity"]:
        trial = f" - {plain(group['trial_quantity'])} in the trial" if group["trial_quantity"] else ""
        allowance = f" - {plain(group['allowance_quantity'])} allowance" if group["allowance_quantity"] else ""
        steps.append(
            f"{plain(group['quantity'])} used{trial}{allowance} = {plain(group['billable_quantity'])} billable (never below 0)"
        )
    tiers = _rows(connection, f"select * from rating.tier_charges where {condition} order by tier_number", *values)
    for tier in tiers:
        where = ""
        if group["charge_model"] in ("graduated", "volume"):
            end = "on" if tier["up_to_quantity"] is None else f"to {plain(tier['up_to_quantity'])}"
            where = f"tier above {plain(tier['above_quantity'])} {end}: "
        elif group["charge_model"] == "package":
            where = f"packages of {plain(group['package_size'])}: "
        flat = f" + {plain(tier['flat_amount'])} flat" if tier["flat_amount"] else ""
        steps.append(f"{where}{plain(tier['tier_quantity'])} x {plain(tier['unit_amount'])}{flat} = {plain(tier['amount'])}")
    exact = sum((tier["amount"] for tier in tiers), Decimal(0))
    steps.append(f"{plain(exact)} rounded once, half away from zero: {plain(due)}")
    return steps


def _fee_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    month = BillingPeriod.parse(line["service_period"])
    condition, values = _of_key(line)
    rows = _rows(
        connection, f"select quantity, billable_quantity, unit_amount from rating.due_fee_lines where {condition}", *values
    )
    if not rows:
        return ["Nothing is due any more."]
    seconds = int((month.end - month.start).total_seconds())
    fee, held = plain(rows[0]["unit_amount"]), plain(rows[0]["billable_quantity"])
    steps = []
    if rows[0]["quantity"] != rows[0]["billable_quantity"]:
        trial = plain(rows[0]["quantity"] - rows[0]["billable_quantity"])
        steps = [f"{plain(rows[0]['quantity'])} seconds on the plan - {trial} in the trial = {held} billable"]
    return [*steps, f"{fee} a month x {held} of the month's {seconds} seconds, rounded half away from zero: {plain(due)}"]


def _contract_arithmetic(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], due: Decimal) -> list[str]:
    base = _rows(
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
        rate = plain(line["unit_amount"])
        return [f"-{rate} x (usage {plain(usage)} + fees {plain(fees)}), rounded half away from zero: {plain(due)}"]
    discount = sums.get("discount", Decimal(0))
    month = _rows(
        connection,
        "select cast(commitment_millionth_microseconds as varchar) || ' / (' || month_microseconds || ' x 1000000)' as prorated"
        " from rating.contract_months where customer_id = ? and period = ? and currency = ?",
        line["customer_id"],
        line["service_period"],
        line["currency"],
    )
    prorated = plain(due + usage + fees + discount) if due else (month[0]["prorated"] if month else "0")
    return [
        f"commitment {plain(line['unit_amount'])} a month, prorated to the contract's time: {prorated}",
        f"- usage {plain(usage)} - fees {plain(fees)} - discount {plain(discount)} = {plain(due)}",
    ]


def _days(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> list[DayShare]:
    condition, values = _of_key(line, period="period")
    rows = _rows(
        connection,
        f"select usage_date, quantity, amount from rating.due_usage_by_day where {condition} order by usage_date",
        *values,
    )
    return [DayShare(**row) for row in rows]


def _add_sessions(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], days: list[DayShare]) -> None:
    """Spread each day's amount over its sessions, by quantity: largest remainder, ties by session. Billing rules, section 2."""
    condition, values = _of_key(line, period="period")
    by_date = {day.usage_date: day for day in days}
    rows = _rows(
        connection,
        f"""
        with sessions as (
            select usage_date, coalesce(session_id, '') as session_id, sandbox_id, execution_id,
                sum(quantity) as quantity, min(started_at) as first_at, max(ended_at) as last_at,
                sum(case when is_trial then 0 else quantity end) as billed_quantity
            from rating.priced_segments where {condition} group by all
        ),
        days as (
            select usage_date, quantity, cast(amount * 1000 as hugeint) as amount_thousandths
            from rating.due_usage_by_day where {condition}
        ),
        digits as (
            select cast(1000 / minor_units_per_unit as integer) as step from rating.currency_units where currency = ?
        ),
        shares as (
            select sessions.*, step,
                cast(sessions.billed_quantity * 1000000000000::decimal(13, 0) as hugeint) as weight,
                cast(sum(weight) over (partition by usage_date) as hugeint) as billed_weight,
                -- What ran in a trial has no share; a flat fee that is shown on a day of a trial is no session's.
                case when billed_weight = 0 then 0 else days.amount_thousandths // step end as minor_units,
                greatest(billed_weight, 1) as whole,
                minor_units * weight // whole as share
            from sessions inner join days using (usage_date) cross join digits
        ),
        ranked as (
            select *, minor_units - sum(share) over (partition by usage_date) as left_over,
                row_number() over (
                    partition by usage_date
                    order by minor_units * weight - share * whole desc, session_id, sandbox_id, execution_id
                ) as rank
            from shares
        )
        select ranked.usage_date, ranked.session_id, ranked.sandbox_id, coalesce(started_at, first_at) as started_at,
            coalesce(ended_at, last_at) as ended_at, coalesce(end_reason, 'no_session') as end_reason, quantity,
            cast(
                (share + case when rank <= left_over then 1 else 0 end) * step * 0.001::decimal(4, 3) as decimal(18, 3)
            ) as amount
        from ranked left join usage.sandbox_sessions as sessions on ranked.session_id = sessions.session_id
        order by usage_date, ranked.sandbox_id, started_at, ranked.session_id""",
        *values,
        *values,
        line["currency"],
    )
    for row in rows:
        by_date[row.pop("usage_date")].sessions.append(SessionShare(**row))


def _add_events(connection: duckdb.DuckDBPyConnection, days: list[DayShare]) -> None:
    """The landed events of each session, but for voided ones. A session's last event may lie before its end, and an event on its
    end belongs to it. Where no session ran: the events that carried a quantity.
    """
    shares: dict[tuple[str, str, str], list[SessionShare]] = {}
    for day in days:
        for share in day.sessions:
            key = ("", share.sandbox_id, str(day.usage_date)) if not share.session_id else (share.session_id, "", "")
            shares.setdefault(key, []).append(share)
    columns = ("vcpu_count", "memory_gb", "storage_gb", "gpu_count", "tokens")
    named = ", ".join(f"'{name} ' || rtrim(rtrim({name}::varchar, '0'), '.')" for name in columns)
    rows = _rows(
        connection,
        f"""
        with explained as (
            select session_id, '' as sandbox, '' as day, sandbox_id, execution_id, started_at, ended_at
            from usage.sandbox_sessions where session_id in (select unnest($sessions))
            union all
            select '', sandbox_id, cast(usage_date as varchar), sandbox_id, execution_id, event_at, event_at
            from usage.recorded_quantities where session_id is null and sandbox_id in (select unnest($sandboxes))
        )
        select explained.session_id, sandbox, day, events.event_id, events.event_type, events.event_at,
            concat_ws(', ', {named}) as named, files.file_name, events.file_row
        from explained
        inner join staging.stg_usage_events as events
            on explained.sandbox_id = events.sandbox_id and explained.execution_id = events.execution_id
            and events.event_at >= explained.started_at and events.event_at <= explained.ended_at
        inner join staging.stg_landed_files as files on events.file_id = files.file_id
        where events.event_id not in (
            select event_id from staging.event_voids where voided_at <= (select as_of from staging.stg_build_inputs)
        )
        order by events.event_at, events.event_id""",
        {"sessions": [key[0] for key in shares], "sandboxes": [key[1] for key in shares]},
    )
    for row in rows:
        for share in shares.get((row.pop("session_id"), row.pop("sandbox"), row.pop("day")), ()):
            share.events.append(LandedEvent(**row))


def plain(number: Decimal) -> str:
    """A decimal as a person writes it: 0.000014, 75, 0.20 as 0.2."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
