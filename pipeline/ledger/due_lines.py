"""Queries for one invoice line's key: what is due for it, and what invoices billed for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb

from pipeline.core.sql import rows_as_dictionaries

_KEY_COLUMNS = ("customer_id", "service_period", "line_type", "currency", "plan_id", "meter_id", "rate_id")
"""The key by which a due line is compared with billed ones. Billing rules, section 1."""


def fetch_rows(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> list[dict[str, Any]]:
    """A query's rows as dictionaries. `parameters`: a value for each `?`, or one dictionary for `$name`s."""
    named = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else None
    result = connection.execute(sql, list(parameters) if named is None else named)
    return rows_as_dictionaries(result)


def line_condition(line: dict[str, Any], *, period: str = "service_period") -> tuple[str, list[object]]:
    """The SQL condition that selects a line's key, and its parameters.

    `period`: the column of the service month; rating's tables call it `period`, and have no `line_type`.
    """
    columns = [name for name in _KEY_COLUMNS if period == "service_period" or name not in ("line_type",)]
    names = [period if name == "service_period" else name for name in columns]
    return " and ".join(f"{name} is not distinct from ?" for name in names), [line[name] for name in columns]


def billed_before(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> dict[str, Decimal]:
    """Amounts that earlier invoices billed for the line's key, by invoice id. Draft months count as if closed in order."""
    condition, values = line_condition(line)
    rows = fetch_rows(
        connection,
        f"select invoice_id, amount from billing.invoice_lines where {condition} and period < ? order by period",
        *values,
        line["period"],
    )
    return {row["invoice_id"]: row["amount"] for row in rows}


def due_amount(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> Decimal:
    """The amount due for the line's key; 0 where nothing is due."""
    condition, values = line_condition(line)
    rows = fetch_rows(connection, f"select amount from rating.due_lines where {condition}", *values)
    return rows[0]["amount"] if rows else Decimal("0.000")
