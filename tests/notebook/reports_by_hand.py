"""The report tables with rows that a test writes: the columns and types of their contract, without a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import duckdb
import yaml

from pipeline.core.home import PROJECT_ROOT
from pipeline.core.sql import rows_as_dictionaries
from pipeline.notebook.answers import Answer
from pipeline.notebook.questions import questions

Row = Mapping[str, Any]


@cache
def _tables() -> Mapping[str, Mapping[str, str]]:
    """Each report table's columns with their types."""
    models = yaml.safe_load((PROJECT_ROOT / "models" / "billing" / "_billing.yml").read_text(encoding="utf-8"))["models"]
    return {
        model["name"].removeprefix("billing_"): {column["name"]: column["data_type"] for column in model["columns"]}
        for model in models
    }


def reports_of(**rows: Sequence[Row]) -> duckdb.DuckDBPyConnection:
    """The tables in memory, with these rows; a column that a row does not name is null."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'; create schema billing")
    for table, columns in _tables().items():
        listed = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
        connection.execute(f"create table billing.{table} ({listed})")
        for row in rows.get(table, ()):
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            connection.execute(f"insert into billing.{table} ({names}) values ({marks})", list(row.values()))
    unknown = rows.keys() - _tables().keys()
    assert not unknown, unknown
    return connection


def ask(reports: duckdb.DuckDBPyConnection, name: str, **parameters: str) -> list[dict[str, Any]]:
    """The answer of a question."""
    return rows_as_dictionaries(reports.execute(questions()[name].sql(**parameters)))


def answer(reports: duckdb.DuckDBPyConnection, name: str, **parameters: str) -> Answer:
    """The answer of a question, as the page gets it."""
    rows = ask(reports, name, **parameters)
    return Answer(list(rows[0]) if rows else [], rows)


def export_tables(reports: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The same connection with the tables by their bare names, as exports read them."""
    reports.execute("set schema = 'billing'")
    return reports


def invoice(id: str, period: str, lines: Sequence[Row], **values: Any) -> tuple[Row, list[Row]]:
    """An invoice with its lines; its subtotal is the sum of them."""
    customer, currency = values.get("customer_id", "ada"), values.get("currency", "USD")
    subtotal = sum(line["amount"] for line in lines)
    credits, carried = values.get("credits_applied_amount", 0), values.get("carried_forward_amount", min(0, subtotal))
    head: Row = {
        "invoice_id": id,
        "customer_id": customer,
        "period": period,
        "currency": currency,
        "status": "closed",
        "plan_id": "pro",
        "collection": "send_invoice",
        "subtotal_amount": subtotal,
        "credits_applied_amount": credits,
        "carried_forward_amount": carried,
        "total_amount": subtotal - credits - carried,
        "line_count": len(lines),
        **values,
    }
    common = {"invoice_id": id, "customer_id": customer, "period": period, "service_period": period, "currency": currency}
    usual = {"plan_id": "pro", "is_adjustment": False, "quantity": 0, "billable_quantity": 0, "unit": "month", "rate_id": ""}
    numbered: list[Row] = [{**common, **usual, "line_number": number, **line} for number, line in enumerate(lines, start=1)]
    return head, numbered


def with_invoices(*pairs: tuple[Row, list[Row]], **rows: Sequence[Row]) -> duckdb.DuckDBPyConnection:
    """The tables with these invoices and their lines."""
    return reports_of(invoices=[head for head, _ in pairs], invoice_lines=[line for _, lines in pairs for line in lines], **rows)
