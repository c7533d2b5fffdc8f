"""Writes each invoice's statement for the customer: one self-contained HTML page, for screen and print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core.money import format_amount
from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import rows_as_dictionaries

Rows = dict[str, list[dict[str, Any]]]
OnStatement = Callable[[str, int, int], None]
"""Called with an invoice's id, the number of statements written, and the number of all."""

_CHART_HEIGHT = 120
_LINES = """
    select
        line_number, line_type, service_period, description, quantity, unit, amount, is_adjustment, rate_id, meter_id, invoice_id
    from invoice_lines where period = $period order by invoice_id, line_number"""
_DAYS = """
    select invoice_id, usage_date, sum(amount) as amount
    from billed_usage_daily where period = $period group by all order by all"""
_APPLICATIONS = """
    select invoice_id, source, grant_id, sum(amount) as amount
    from credit_applications where period = $period group by all order by all"""
_TIERS = """
    select distinct lines.invoice_id, lines.meter_id, lines.unit, tiers.*
    from invoice_lines as lines inner join rate_tiers as tiers on lines.rate_id = tiers.rate_id
    where lines.period = $period and lines.line_type = 'usage'
    order by lines.invoice_id, lines.meter_id, tiers.rate_id, tiers.above_quantity"""
_CREDIT_LEFT = """
    select customer_id || chr(31) || currency as invoice_id, sum(closing_amount) as amount
    from credit_ledger where period = $period group by all"""
_INVOICES = """
    select invoices.*, coalesce(names.plan_name, invoices.plan_id) as plan_name
    from invoices left join (select plan_id, max(plan_name) as plan_name from plans group by plan_id) as names using (plan_id)
    where invoices.period = $period order by invoices.invoice_id"""


def write_statements(
    reports: duckdb.DuckDBPyConnection, period: BillingPeriod, folder: Path, on_progress: OnStatement | None = None
) -> int:
    """Write `<invoice_id>.html` for each invoice of a period into an empty folder; returns the number of pages.

    Pages contain only values of the report tables, so that those of a closed month never change. Values are escaped: a customer's
    name cannot become markup.
    """
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["money"] = _money
    pages.filters["plain"] = _plain
    pages.filters["exact_quantity"] = _exact_quantity
    page = pages.get_template("statement.html.j2")
    lines, days, applications, tiers, left = (
        _by_invoice(reports, sql, period) for sql in (_LINES, _DAYS, _APPLICATIONS, _TIERS, _CREDIT_LEFT)
    )
    invoices = list(_rows(reports, _INVOICES, period))
    for number, invoice in enumerate(invoices, 1):
        id = invoice["invoice_id"]
        credit_left = left.get(f"{invoice['customer_id']}\x1f{invoice['currency']}", [])
        text = page.render(
            invoice=invoice,
            period=period,
            last_day=(period.end - timedelta(days=1)).date(),
            lines=[line for line in lines[id] if not line["is_adjustment"]],
            corrections=[line for line in lines[id] if line["is_adjustment"]],
            chart=_chart(period, days[id]),
            applications=applications[id],
            credit_left=credit_left[0]["amount"] if credit_left else Decimal(0),
            tiers=tiers[id],
        )
        target = folder / f"{id}.html"
        target.touch(mode=0o600)
        target.write_text(text, encoding="utf-8")
        if on_progress is not None:
            on_progress(id, number, len(invoices))
    return len(invoices)


def _rows(reports: duckdb.DuckDBPyConnection, sql: str, period: BillingPeriod) -> Iterator[dict[str, Any]]:
    found = reports.execute(sql, {"period": str(period)})
    return iter(rows_as_dictionaries(found))


def _by_invoice(reports: duckdb.DuckDBPyConnection, sql: str, period: BillingPeriod) -> Rows:
    grouped: Rows = defaultdict(list)
    for row in _rows(reports, sql, period):
        grouped[row["invoice_id"]].append(row)
    return grouped


def _chart(period: BillingPeriod, days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bars for the days of the month (not for corrected days of earlier months), with their heights; none without usage."""
    amounts: dict[date, Decimal] = {day["usage_date"]: day["amount"] for day in days}
    first = period.start.date()
    month = [first + timedelta(days=number) for number in range((period.end - period.start).days)]
    most = max((amounts.get(day, Decimal(0)) for day in month), default=Decimal(0))
    if most <= 0:
        return []
    bars = ((day, max(amounts.get(day, Decimal(0)), Decimal(0))) for day in month)
    return [{"day": day, "amount": amount, "height": int(amount * _CHART_HEIGHT / most)} for day, amount in bars]


def _money(amount: Decimal, currency: str) -> str:
    """1234.5 in USD -> 'USD 1,234.50', with the currency's number of decimals."""
    return f"{currency} {format_amount(amount, currency)}"


def _plain(number: Decimal | None) -> str:
    """A quantity or price with separators and without trailing zeros; '' for None."""
    if number is None:
        return ""
    return f"{number:,f}".rstrip("0").rstrip(".") if number % 1 else f"{int(number):,}"


def _exact_quantity(line: dict[str, Any]) -> str:
    """The billed quantity in full, '201,015,720 vCPU-seconds'; '' for lines that have none (discount, commitment, carry-over)."""
    return f"{_plain(line['quantity'])} {line['unit']}s" if line["line_type"] in ("usage", "fee") else ""
