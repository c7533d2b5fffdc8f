"""The data dictionary: every report table and column, from the yml contract that builds enforce."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.home import PROJECT_ROOT
from pipeline.warehouse.report_tables import ReportTable, report_tables

_CHAPTERS = {
    "Invoices and what they are made of": ("invoices", "invoice_lines", "billed_usage_daily", "credit_note_lines"),
    "Credits": ("credit_grants", "credit_applications", "credit_ledger"),
    "Money: what is owed and what is booked": ("receivables", "journal", "stripe_reconciliation", "stripe_subscriptions"),
    "Usage": ("sessions", "usage_daily", "utilisation_daily"),
    "Customers, limits and alerts": (
        *("customers", "subscriptions", "customer_balances"),
        *("limit_breaches", "usage_alerts", "alerts", "concurrency_daily"),
    ),
    "The price book": ("plans", "rates", "rate_tiers", "fees"),
    "What landed": ("landed_files", "ignored_events", "quarantined_events"),
}
_HEAD = """# Data dictionary

Every table of `billhouse.duckdb` (schema `billing`) and of `marts/`: a Parquet file a table, or a
folder with a file a day or month. Names and types are a contract
that each build enforces. Made from `models/billing/_billing.yml` by `make reference`.

- Amounts are decimals in the currency that the row's `currency` names: never add two currencies. Quantities are decimals in the
  row's `unit`. None is ever a float.
- Instants are UTC, to the microsecond. A `period` is a calendar month in UTC, 'YYYY-MM'. Of a span of time the start is in it,
  the end is not.
- "Order" is the total order in which a table is written, and so what tells its rows apart.
"""


def data_dictionary(project: Path = PROJECT_ROOT) -> str:
    """The page, as Markdown. Raises KeyError where a table is in no chapter, or a chapter names a table that does not exist."""
    tables = dict(report_tables(project))
    parts = [_HEAD]
    for chapter, names in _CHAPTERS.items():
        parts.append(f"## {chapter}\n")
        parts.extend(_table(tables.pop(name)) for name in names)
    if tables:
        raise KeyError(f"no chapter of the data dictionary lists {', '.join(sorted(tables))}")
    return "\n".join(parts)


def _table(table: ReportTable) -> str:
    lines = [f"### {table.name}\n", table.description + "\n", f"Order: {table.order_by}.\n"]
    lines += ["| column | type | meaning |", "| --- | --- | --- |"]
    for column in table.columns:
        meaning = column.description.replace("|", "\\|")
        lines.append(f"| `{column.name}` | {column.data_type} | {meaning} |")
    return "\n".join(lines) + "\n"
