"""Describes the differences between the engine's result and the warehouse's tables.

Rows are dicts by the report's column names. Fee lines are compared without their quantity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from .records import EndReason, LineType, Result

Row = Mapping[str, Any]
Key = tuple[Any, ...]
Values = dict[str, Any]

SESSION_COLUMNS = {
    "vcpu": "vcpu_seconds",
    "memory": "memory_gb_seconds",
    "storage": "storage_gb_seconds",
    "gpu": "gpu_seconds",
    "tokens": "tokens",
}
"""Which column of the sessions report holds which meter's quantity."""


def compare(
    result: Result,
    *,
    invoices: Iterable[Row],
    invoice_lines: Iterable[Row],
    sessions: Iterable[Row],
    usage_daily: Iterable[Row],
    credit_applications: Iterable[Row],
    ignored_events: Iterable[Row],
) -> list[str]:
    """The differences, ordered from sessions to invoices, so that the first is nearest to the cause; empty if all is equal."""
    return [
        *compare_ignored_events(result, ignored_events),
        *compare_sessions(result, sessions),
        *compare_usage_daily(result, usage_daily),
        *compare_lines(result, invoice_lines),
        *compare_applications(result, credit_applications),
        *compare_invoices(result, invoices),
    ]


def compare_ignored_events(result: Result, rows: Iterable[Row]) -> list[str]:
    """By event. Engine and warehouse derive different ids where an event has none, so that those are known by the rest."""

    def key(event_id: str, row: Mapping[str, Any]) -> Key:
        is_derived = event_id.startswith("derived-") or re.fullmatch("[0-9a-f]{32}", event_id)
        return ("" if is_derived else event_id, *(row[name] for name in ("sandbox_id", "execution_id", "event_at", "event_type")))

    expected: list[tuple[Key, Values]] = []
    for one in result.ignored:
        values = {"reason": one.reason.value, "customer_id": one.event.user_id, "tokens": one.event.tokens}
        expected.append((key(str(one.event.event_id), {**vars(one.event), "event_type": one.event.event_type.value}), values))

    def key_of(row: Row) -> Key:
        return key(row["event_id"], {**row, "event_at": _instant(row["event_at"])})

    return _differences("ignored event", expected, rows, key_of, _columns("reason", "customer_id", "tokens"))


def compare_sessions(result: Result, rows: Iterable[Row]) -> list[str]:
    """By sandbox, execution and start. An open session's end may be null or as_of."""
    expected: list[tuple[Key, Values]] = []
    open_until: dict[Key, datetime] = {}
    for session in result.sessions:
        key = (session.sandbox_id, session.execution_id, session.started_at)
        quantities = {column: session.quantities[meter_id] for meter_id, column in SESSION_COLUMNS.items()}
        values = {
            "customer_id": session.customer_id,
            "plan_id": session.plan_id,
            "ended_at": session.ended_at,
            "end_reason": session.end_reason.value,
            "is_start_missing": session.is_start_missing,
            "paused_microseconds": session.paused_time // timedelta(microseconds=1),
            **quantities,
        }
        expected.append((key, values))
        if session.end_reason is EndReason.OPEN:
            open_until[key] = session.ended_at

    def values_of(key: Key, row: Row) -> Values:
        ended_at = row["ended_at"] if row["ended_at"] is not None else open_until.get(key)
        columns = ("customer_id", "plan_id", "end_reason", "is_start_missing", "paused_microseconds", *SESSION_COLUMNS.values())
        return {"ended_at": _instant(ended_at), **{column: row[column] for column in columns}}

    def key_of(row: Row) -> Key:
        return (row["sandbox_id"], row["execution_id"] or "", _instant(row["started_at"]))

    return _differences("session", expected, rows, key_of, values_of)


def compare_usage_daily(result: Result, rows: Iterable[Row]) -> list[str]:
    """By customer, day, plan, meter and rate version; days without usage are ignored."""
    expected = [
        (
            (day.customer_id, day.usage_date, day.plan_id, day.meter_id, day.rate_id),
            {"period": day.period, "quantity": day.quantity, "amount": day.amount},
        )
        for day in result.usage_daily
    ]

    def key_of(row: Row) -> Key:
        return (row["customer_id"], _date(row["usage_date"]), row["plan_id"], row["meter_id"], row["rate_id"])

    used = [row for row in rows if row["quantity"] or row["amount"]]
    return _differences("day of usage", expected, used, key_of, _columns("period", "quantity", "amount"))


def compare_lines(result: Result, rows: Iterable[Row]) -> list[str]:
    """By customer, both periods, type, currency, plan, meter and rate or fee version."""
    expected: list[tuple[Key, Values]] = []
    for line in result.lines:
        key = (line.customer_id, line.period, line.service_period, line.line_type.value, line.currency)
        values: Values = {"amount": line.amount, "is_adjustment": line.is_adjustment}
        if line.line_type is LineType.USAGE:
            values |= {"quantity": line.quantity, "billable_quantity": line.billable_quantity}
        expected.append(((*key, line.plan_id, line.meter_id or "", line.rate_id), values))

    def key_of(row: Row) -> Key:
        key = (row["customer_id"], row["period"], row["service_period"], row["line_type"], row["currency"])
        return (*key, row["plan_id"], row["meter_id"] or "", row["rate_id"])

    def values_of(key: Key, row: Row) -> Values:
        columns = ["amount", "is_adjustment"]
        if row["line_type"] == LineType.USAGE.value:
            columns += ["quantity", "billable_quantity"]
        return {column: row[column] for column in columns if column in row}

    return _differences("line", expected, rows, key_of, values_of)


def compare_invoices(result: Result, rows: Iterable[Row]) -> list[str]:
    """By customer and period."""
    expected = [
        (
            (invoice.customer_id, invoice.period, invoice.currency),
            {
                "carried_forward_amount": invoice.carried_forward,
                "subtotal_amount": invoice.subtotal,
                "credits_applied_amount": invoice.credits_applied,
                "total_amount": invoice.total,
                "collection": "send_invoice" if invoice.is_collected else "none",
            },
        )
        for invoice in result.invoices
    ]
    columns = _columns("subtotal_amount", "credits_applied_amount", "carried_forward_amount", "total_amount", "collection")
    return _differences("invoice", expected, rows, lambda row: (row["customer_id"], row["period"], row["currency"]), columns)


def compare_applications(result: Result, rows: Iterable[Row]) -> list[str]:
    """By grant, month, and the month in which the credit was used."""
    expected: list[tuple[Key, Values]] = [
        ((one.grant_id, one.period, one.application_period), {"customer_id": one.customer_id, "amount": one.amount})
        for one in result.credit_applications
    ]

    def key_of(row: Row) -> Key:
        return (row["grant_id"], row["period"], row["application_period"])

    return _differences("credit application", expected, rows, key_of, _columns("customer_id", "amount"))


def _differences(
    what: str,
    expected: Iterable[tuple[Key, Values]],
    rows: Iterable[Row],
    key_of: Callable[[Row], Key],
    values_of: Callable[[Key, Row], Values],
) -> list[str]:
    differences: list[str] = []
    missing = dict(expected)
    seen: set[Key] = set()
    for row in rows:
        key = key_of(row)
        named = f"{what} {_shown(key)}"
        if key in seen:
            differences.append(f"{named}: is there twice")
            continue
        seen.add(key)
        found = values_of(key, row)
        due = missing.pop(key, None)
        if due is None:
            differences.append(f"{named}: should not be there: {_listed(found)}")
            continue
        for name, value in found.items():
            if isinstance(value, float):
                differences.append(f"{named}: {name} is binary floating point ({value!r})")
            elif name in due and value != due[name]:
                differences.append(f"{named}: {name} should be {_text(due[name])}, is {_text(value)}")
        for name in due.keys() - found.keys():
            if name != "billable_quantity":
                differences.append(f"{named}: {name} is not reported")
    for key, due in missing.items():
        differences.append(f"{what} {_shown(key)}: is missing: {_listed(due)}")
    return differences


def _columns(*names: str) -> Callable[[Key, Row], Values]:
    return lambda key, row: {name: row[name] for name in names}


def _shown(key: Key) -> str:
    return " / ".join(_text(part) for part in key if part != "")


def _listed(values: Values) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def _date(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) or value is None else date.fromisoformat(str(value))
