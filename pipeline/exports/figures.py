"""The key figures of a period, reckoned exactly by the database: what the Summary sheet shows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from pipeline.exports.tables import EXPORT_TABLES
from pipeline.periods import BillingPeriod


@dataclass(frozen=True)
class CurrencyTotals:
    """All invoices of the period in one currency."""

    currency: str
    invoices: int
    subtotal: Decimal
    credits: Decimal
    total: Decimal
    lines_total: Decimal
    """Sum of the invoices' lines: equal to `subtotal`, or something is wrong."""

    def as_dict(self) -> dict[str, object]:
        """Amounts as exact text."""
        return {
            "invoices": self.invoices,
            "subtotal_amount": str(self.subtotal),
            "credits_applied_amount": str(self.credits),
            "total_amount": str(self.total),
        }


@dataclass(frozen=True)
class InvoiceGroup:
    """The invoices of one status and plan, in one currency."""

    currency: str
    status: str
    plan_id: str
    invoices: int
    subtotal: Decimal
    credits: Decimal
    total: Decimal


@dataclass(frozen=True)
class RevenueGroup:
    """The lines of one type (of usage: of one meter), in one currency, before credits."""

    currency: str
    line_type: str
    meter_id: str | None
    lines: int
    quantity: Decimal | None
    """Of usage only: fees have no common unit."""
    unit: str | None
    amount: Decimal


@dataclass(frozen=True)
class PeriodFigures:
    """Everything the Summary sheet says."""

    period: BillingPeriod
    rows: dict[str, int]
    """Rows of each exported table in the period."""
    totals: tuple[CurrencyTotals, ...]
    invoices: tuple[InvoiceGroup, ...]
    revenue: tuple[RevenueGroup, ...]

    @property
    def drafts(self) -> int:
        """Invoices that may still change."""
        return sum(group.invoices for group in self.invoices if group.status == "draft")


def read_figures(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> PeriodFigures:
    """Reckon the figures of a period; all are empty where it has no invoices."""
    key = [str(period)]
    rows: dict[str, int] = {}
    for table in EXPORT_TABLES:
        counted = reports.execute(f"select count(*) from {table.name} where period = ?", key)
        rows[table.name] = counted.fetchall()[0][0]
    totals = reports.execute(
        "with line_sums as (select currency, sum(amount) as lines_total from invoice_lines where period = $1"
        " group by currency)"
        " select currency, count(*), sum(subtotal_amount), sum(credits_applied_amount), sum(total_amount),"
        " coalesce(any_value(line_sums.lines_total), 0) from invoices left join line_sums using (currency)"
        " where period = $1 group by currency order by currency",
        key,
    ).fetchall()
    invoices = reports.execute(
        "select currency, status, coalesce(plan_id, ''), count(*), sum(subtotal_amount), sum(credits_applied_amount),"
        " sum(total_amount) from invoices where period = ? group by all order by 1, 2, 3",
        key,
    ).fetchall()
    revenue = reports.execute(
        "select currency, line_type, meter_id, count(*), case when line_type = 'usage' then sum(quantity) end,"
        " case when line_type = 'usage' then min(unit) end, sum(amount) from invoice_lines where period = ?"
        " group by currency, line_type, meter_id"
        " order by currency, line_type = 'usage' desc, sum(amount) desc, line_type, meter_id",
        key,
    ).fetchall()
    return PeriodFigures(
        period=period,
        rows=rows,
        totals=tuple(CurrencyTotals(*row) for row in totals),
        invoices=tuple(InvoiceGroup(*row) for row in invoices),
        revenue=tuple(RevenueGroup(*row) for row in revenue),
    )
