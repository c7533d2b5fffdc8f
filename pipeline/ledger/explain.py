"""Explains an invoice: its total by lines, lines by days, days by sessions, sessions by landed events.

Amounts due depend only on landed files and the price book, so that a line can be recomputed at any time. Where files landed or
prices were corrected since the line was closed, the warehouse is first rebuilt as it was at the close.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.ledger.due_lines import billed_before, due_amount, fetch_rows, line_condition
from pipeline.ledger.explanation import InvoiceExplanation, LineExplanation
from pipeline.ledger.line_arithmetic import contract_arithmetic, fee_arithmetic, text_of, usage_arithmetic
from pipeline.ledger.usage_breakdown import add_events, add_sessions, billed_days
from pipeline.warehouse.connection import open_warehouse
from pipeline.warehouse.reconstruction import home_at_close


def explain(
    home: Home, invoice_id: str, line_id: str | None = None, *, on_progress: OnProgress | None = None
) -> InvoiceExplanation:
    """Explain an invoice down to days; with `line_id` only that line, down to the landed events.

    Raises BillhouseError where the invoice or line does not exist.
    """
    with home.writing(), open_warehouse(home) as current:
        found = fetch_rows(current, "select * from billing.invoices where invoice_id = ?", invoice_id)
        if not found:
            raise BillhouseError(f"There is no invoice {invoice_id}.", "List them: billhouse invoices")
        (invoice,) = found
        explanation = InvoiceExplanation(
            **{name: invoice[name] for name in InvoiceExplanation.__annotations__ if name in invoice}
        )
        explanation.credits = fetch_rows(
            current,
            "select grant_id, source, amount, application_period from billing.credit_applications"
            " where invoice_id = ? order by grant_id, application_period",
            invoice_id,
        )
        lines = fetch_rows(current, "select * from billing.invoice_lines where invoice_id = ? order by line_number", invoice_id)
        chosen = [line for line in lines if line_id in (None, line["line_id"])]
        if not chosen:
            raise BillhouseError(f"{invoice_id} has no line {line_id}.", f"List them: billhouse explain {invoice_id}")
        if all(_is_unchanged(current, line) for line in chosen):
            explanation.lines = [_explain_line(current, line, line_id is not None) for line in chosen]
            return explanation
    with (
        home_at_close(home, BillingPeriod.parse(invoice["period"]), on_progress=on_progress) as scratch,
        open_warehouse(scratch) as past,
    ):
        explanation.lines = [_explain_line(past, line, line_id is not None) for line in chosen]
    return explanation


def _is_unchanged(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> bool:
    """Whether the line still equals the amount and quantity due now, less those billed before it."""
    if line["line_type"] == "carry_forward":
        return True
    due_then = line["amount"] + sum(billed_before(connection, line).values())
    if due_amount(connection, line) != due_then:
        return False
    condition, values = line_condition(line)
    quantities = f"select sum(quantity) as quantity from billing.invoice_lines where {condition} and period <= ?"
    billed = fetch_rows(connection, quantities, *values, line["period"])[0]["quantity"]
    due = fetch_rows(connection, f"select sum(quantity) as quantity from rating.due_lines where {condition}", *values)[0][
        "quantity"
    ]
    return bool((billed or 0) == (due or 0))


def _explain_line(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], with_events: bool) -> LineExplanation:
    explained = LineExplanation(line["line_id"], line["description"], line["amount"], line["amount"])
    if line["line_type"] == "carry_forward":
        explained.arithmetic = ["The negative remainder of earlier invoices, after the credits they gave back."]
        return explained
    explained.billed_before = billed_before(connection, line)
    explained.due_amount = due_amount(connection, line)
    match line["line_type"]:
        case "usage":
            explained.arithmetic = usage_arithmetic(connection, line, explained.due_amount)
            explained.days = billed_days(connection, line)
            if with_events:
                add_sessions(connection, line, explained.days)
                add_events(connection, explained.days)
        case "fee":
            explained.arithmetic = fee_arithmetic(connection, line, explained.due_amount)
        case "discount" | "commitment":
            explained.arithmetic = contract_arithmetic(connection, line, explained.due_amount)
    if explained.billed_before:
        billed = " - ".join(f"{text_of(amount)} ({invoice})" for invoice, amount in explained.billed_before.items())
        explained.arithmetic.append(f"due {text_of(explained.due_amount)} - billed {billed} = {text_of(explained.amount)}")
    return explained
