"""The comparison finds what differs, says it in words, and is silent about what does not matter."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.reference import LineType, Result
from tests.reference.compare import SESSION_COLUMNS, compare
from tests.reference.shorthand import due, on, start, stop

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture
def result() -> Result:
    return due(
        [start("10:00"), stop("10:30"), stop("10:40"), start("10:50")], [on("pro", "2024-02-01")], as_of="2024-02-10 11:00"
    )


@pytest.fixture
def tables(result: Result) -> Tables:
    """The rows of a warehouse that agrees."""
    return {
        "invoices": [
            {
                "customer_id": i.customer_id,
                "period": i.period,
                "currency": i.currency,
                "carried_forward_amount": i.carried_forward,
                "subtotal_amount": i.subtotal,
                "credits_applied_amount": i.credits_applied,
                "total_amount": i.total,
                "collection": "send_invoice" if i.is_collected else "none",
            }
            for i in result.invoices
        ],
        "invoice_lines": [
            {**vars(line), "line_type": line.line_type.value, "currency": "USD", "amount": line.amount.normalize()}
            for line in result.lines
        ],
        "sessions": [
            {
                **vars(session),
                "execution_id": session.execution_id or None,
                "end_reason": session.end_reason.value,
                "paused_microseconds": session.paused_time // timedelta(microseconds=1),
                **{column: session.quantities[meter_id] for meter_id, column in SESSION_COLUMNS.items()},
            }
            for session in result.sessions
        ],
        "usage_daily": [dict(vars(day)) for day in result.usage_daily],
        "credit_applications": [dict(vars(application)) for application in result.credit_applications],
        "ignored_events": [
            {
                **vars(one.event),
                "customer_id": one.event.user_id,
                "event_type": one.event.event_type.value,
                "reason": one.reason.value,
            }
            for one in result.ignored
        ],
    }


def test_what_agrees_has_no_differences(result: Result, tables: Tables) -> None:
    assert len(result.sessions) == 2 and compare(result, **tables) == []


def test_no_use_on_a_day_a_fees_quantity_and_an_open_sessions_end_do_not_matter(result: Result, tables: Tables) -> None:
    tables["usage_daily"].append({**tables["usage_daily"][0], "plan_id": "x", "quantity": Decimal(0), "amount": Decimal(0)})
    tables["sessions"][1]["ended_at"] = None
    for line in tables["invoice_lines"]:
        if line["line_type"] == LineType.FEE.value:
            line["quantity"] = Decimal(1)
    assert compare(result, **tables) == []


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        (
            "invoices",
            "total_amount",
            Decimal("1.23"),
            "invoice customer / 2024-02 / USD: total_amount should be 150, is 1.23",
        ),
        ("invoice_lines", "amount", 0.5, "amount is binary floating point (0.5)"),
        ("sessions", "end_reason", "open", "end_reason should be stopped, is open"),
        ("ignored_events", "reason", "superseded", "reason should be stop_without_start, is superseded"),
        (
            "sessions",
            "ended_at",
            datetime(2024, 2, 10, 9),
            "ended_at should be 2024-02-10T10:30:00Z, is 2024-02-10T09:00:00Z",
        ),
        ("usage_daily", "quantity", Decimal("1.5"), "quantity should be 9600, is 1.5"),
    ],
)
def test_what_differs_is_said(result: Result, tables: Tables, table: str, column: str, value: object, said: str) -> None:
    tables[table][0][column] = value
    (difference,) = [text for text in compare(result, **tables) if column in text]
    assert said in difference


def test_rows_that_are_missing_or_too_many_are_said(result: Result, tables: Tables) -> None:
    missing = tables["invoice_lines"].pop(0)
    tables["sessions"].append(tables["sessions"][0])
    tables["invoices"].append({**tables["invoices"][0], "period": "2024-03"})
    differences = compare(result, **tables)
    assert len(differences) == 3
    assert "is there twice" in differences[0]
    assert "is missing" in differences[1] and missing["rate_id"] in differences[1]
    assert differences[2].startswith("invoice customer / 2024-03 / USD: should not be there")
