"""The totals of a period for the Summary sheet, summed exactly by DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from pipeline.core.periods import BillingPeriod
from pipeline.exports.table_definitions import (
    ADJUSTMENTS,
    CREDITS,
    EXPORT_TABLES,
    INVOICE_LINES,
    INVOICES,
    RECEIVABLES,
    RECONCILIATION,
    USAGE_DAILY,
)
from pipeline.exports.tables import ExportTable


@dataclass(frozen=True)
class CurrencyTotals:
    """All invoices of the period in one currency."""

    currency: str
    invoices: int
    subtotal: Decimal
    credits: Decimal
    total: Decimal
    lines_total: Decimal
    """Sum of the invoices' lines: must equal `subtotal`."""
    carried_forward: Decimal
    """Moved to the next invoice; total = subtotal - credits - carried_forward."""
    not_collected: Decimal
    """The part of `total` of invoices that are not collected."""

    def as_dict(self) -> dict[str, object]:
        """Amounts as exact text."""
        return {
            "invoices": self.invoices,
            "subtotal_amount": str(self.subtotal),
            "credits_applied_amount": str(self.credits),
            "total_amount": str(self.total),
        }


@dataclass(frozen=True)
class Block:
    """A block of the Summary: a table's rows grouped by `keys` (currency first), counted, and its amounts summed."""

    title: str
    table: ExportTable
    keys: tuple[str, ...]
    amounts: tuple[str, ...]
    chart: str | None = None
    """'column' or 'line': the type of a chart of the last amount, beside the block."""


BLOCKS = (
    Block("Invoices", INVOICES, ("currency", "status", "plan_id"), ("subtotal_amount", "credits_applied_amount", "total_amount")),
    Block("Revenue before credits", INVOICE_LINES, ("currency", "plan_id", "line_type", "meter_id"), ("amount",), "column"),
    Block("Usage by day", USAGE_DAILY, ("currency", "usage_date"), ("amount",), "line"),
    Block(
        "Credit roll-forward",
        CREDITS,
        ("currency", "source"),
        ("opening_amount", "granted_amount", "applied_amount", "expired_amount", "closing_amount"),
    ),
    Block("Adjustments", ADJUSTMENTS, ("currency", "document_kind"), ("amount",)),
    Block(
        "Receivables by age",
        RECEIVABLES,
        ("currency", "age"),
        ("total_amount", "paid_amount", "credited_amount", "written_off_amount", "open_amount"),
        "column",
    ),
    Block("Reconciliation with Stripe", RECONCILIATION, ("currency", "difference"), ("total_amount", "stripe_total_amount")),
)


@dataclass(frozen=True)
class BlockRow:
    """One row of a block."""

    keys: tuple[object, ...]
    count: int
    amounts: tuple[Decimal, ...]


@dataclass(frozen=True)
class PeriodSummary:
    """The content of the Summary sheet."""

    period: BillingPeriod
    rows: dict[str, int]
    """Rows of each exported table in the period."""
    totals: tuple[CurrencyTotals, ...]
    blocks: tuple[tuple[Block, tuple[BlockRow, ...]], ...]
    drafts: int
    """Number of draft invoices."""


def read_period_summary(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> PeriodSummary:
    """Sum the tables of a period; `totals` is empty where it has no invoices."""
    key = {"period": str(period)}
    rows = {
        table.name: reports.execute(f"select count(*) from ({table.rows}) as exported", key).fetchall()[0][0]
        for table in EXPORT_TABLES
    }
    totals = reports.execute(
        "with line_sums as (select currency, sum(amount) as lines_total from invoice_lines where period = $period"
        " group by currency)"
        " select currency, count(*), sum(subtotal_amount), sum(credits_applied_amount), sum(total_amount),"
        " coalesce(any_value(line_sums.lines_total), 0), sum(carried_forward_amount),"
        " sum(case when collection = 'none' then total_amount else 0 end) from invoices left join line_sums using (currency)"
        " where period = $period group by currency order by currency",
        key,
    ).fetchall()
    drafts = reports.execute("select count(*) from invoices where period = $period and status = 'draft'", key).fetchall()[0][0]
    return PeriodSummary(
        period=period,
        rows=rows,
        totals=tuple(CurrencyTotals(*row) for row in totals),
        blocks=tuple((block, _read_block(reports, block, period)) for block in BLOCKS),
        drafts=drafts,
    )


def _read_block(reports: duckdb.DuckDBPyConnection, block: Block, period: BillingPeriod) -> tuple[BlockRow, ...]:
    keys = ", ".join(block.keys)
    sums = ", ".join(f"coalesce(sum({amount}), 0)" for amount in block.amounts)
    found = reports.execute(
        f"select {keys}, count(*), {sums} from ({block.table.rows}) as exported group by {keys} order by {keys}",
        {"period": str(period)},
    ).fetchall()
    width = len(block.keys)
    return tuple(BlockRow(row[:width], row[width], row[width + 1 :]) for row in found)
