"""Summaries of report tables for the UI: sums, small tables and a plot, updated by each build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb

from orchestration.lib.metadata import bars_by_day, markdown_table

_PLOTTED_DAYS = 62

_TABLES: Mapping[str, Mapping[str, str]] = {
    "invoices": {
        "by_month": """
            select period, status, currency, count(*) as invoices, sum(subtotal_amount) as subtotal,
                sum(credits_applied_amount) as credits, sum(total_amount) as total
            from billing.invoices group by all order by all""",
    },
    "invoice_lines": {
        "latest_month": """
            select period, line_type, currency, count(*) as lines, sum(amount) as amount
            from billing.invoice_lines where period = (select max(period) from billing.invoice_lines)
            group by all order by all""",
    },
    "usage_daily": {
        "latest_days": """
            select usage_date, meter_id, currency, sum(quantity) as quantity, sum(amount) as amount
            from billing.usage_daily where usage_date > (select max(usage_date) - 3 from billing.usage_daily)
            group by all order by all""",
    },
    "quarantined_events": {
        "reasons": """
            select reason, count(*) as rows, count(settled_at) as settled_rows
            from billing.quarantined_events group by all order by rows desc, reason""",
    },
    "landed_files": {
        "latest_files": """
            select file_name, kind, received_rows, accepted_rows, duplicate_rows, quarantined_rows
            from billing.landed_files order by landed_at desc, file_name limit 10""",
    },
    "limit_breaches": {
        "by_limit": """
            select limit_kind, count(*) as breaches, count(distinct customer_id) as customers, max(last_at) as latest
            from billing.limit_breaches group by all order by all""",
    },
    "usage_alerts": {
        "latest": """
            select reached_at, customer_id, limit_kind, period, threshold_percent
            from billing.usage_alerts order by reached_at desc, customer_id, limit_kind, threshold_percent limit 10""",
    },
    "receivables": {
        "by_age": "select currency, age, count(*) as invoices, sum(open_amount) as open from billing.receivables"
        " group by all order by all",
    },
    "journal": {
        "by_account": "select currency, account, sum(amount) as balance from billing.journal group by all order by all",
    },
    "stripe_reconciliation": {
        "by_difference": """
            select difference, currency, count(*) as invoices, sum(total_amount) as ledger, sum(stripe_total_amount) as stripe
            from billing.stripe_reconciliation group by all order by all""",
    },
}


def highlights(warehouse: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Metadata of a report table; empty if it has no summary."""
    found: dict[str, Any] = {}
    for name, sql in _TABLES.get(table, {}).items():
        result = warehouse.execute(sql)
        found[name] = markdown_table([column[0] for column in result.description], result.fetchall())
    if table in _PLOTS:
        found |= _PLOTS[table](warehouse)
    return found


def _amounts_by_day(warehouse: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    rows = warehouse.execute(
        "select currency, usage_date, sum(amount) from billing.usage_daily"
        " where usage_date > (select max(usage_date) from billing.usage_daily) - $days group by all order by all",
        {"days": _PLOTTED_DAYS},
    ).fetchall()
    amounts: dict[str, dict[str, Any]] = {}
    for currency, day, amount in rows:
        amounts.setdefault(currency, {})[day.isoformat()] = amount
    return {"amount_by_day": bars_by_day("Usage by day", amounts)} if amounts else {}


_PLOTS: Mapping[str, Callable[[duckdb.DuckDBPyConnection], dict[str, Any]]] = {"usage_daily": _amounts_by_day}
