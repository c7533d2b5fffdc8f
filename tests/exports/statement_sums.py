"""Checks the sums of every statement of a built home: what changed, credit, and how lines are calculated."""

from __future__ import annotations

from decimal import Decimal

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.exports.statements.changes import difference
from pipeline.exports.statements.content import statement_content
from pipeline.exports.statements.source import StatementSource, StatementTables
from pipeline.warehouse.reports import open_reports


def statements_that_do_not_sum(home: Home) -> list[str]:
    """What is wrong with the statements of all months, in words; empty if nothing is."""
    wrong = []
    with open_reports(home) as reports:
        months = [period for (period,) in reports.execute("select distinct period from invoices order by period").fetchall()]
        for period in map(BillingPeriod.parse, months):
            tables = StatementTables(reports, period)
            for source in tables.statements():
                wrong += [f"{source.invoice['invoice_id']}: {problem}" for problem in _problems(source, tables)]
                statement_content(source, tables, period)
    return wrong


def _problems(source: StatementSource, tables: StatementTables) -> list[str]:
    problems = []
    if source.earlier_invoice is not None:
        digits = tables.minor_unit_digits.get(source.invoice["currency"], 2)
        compared = difference(source.earlier_invoice, source.earlier_lines, source.invoice, source.lines, tables.prices, digits)
        effects = sum((effect.amount for effect in compared.effects), Decimal(0))
        if effects != source.invoice["total_amount"] - source.earlier_invoice["total_amount"]:
            problems.append(f"the effects sum to {effects}")
    problems += [
        f"credit {row['grant_id']} does not add up"
        for row in source.credits
        if row["granted"] - row["used"] - row["expired"] != row["left_amount"]
    ]
    return problems
