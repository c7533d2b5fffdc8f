"""The Charts sheet: revenue by month, plan and meter, and the largest customers, each as a small table with a chart beside it.

Revenue by month and plan is one stack of plans for each month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from pipeline.core.periods import BillingPeriod
from pipeline.exports.meter_names import meter_names
from pipeline.exports.workbook import HEADING, PeriodWorkbook

SHEET = "Charts"
MONTHS = 12
CUSTOMERS = 10
_CHART_PLACE = 3
"""The column of the charts, right of the tables."""
_CHART_ROWS = 16
_ROW_PIXELS = 20
_ROWS_PER_PAGE = 2 * (_CHART_ROWS + 1)
_COLOR = "#1F3A5F"
_PLAN_COLORS = ("#1F3A5F", "#E08E45", "#5AA469", "#8AAED6", "#B0699D", "#C9B037", "#5FB3B3", "#8A8D93")
_OTHER_PLANS = "Other plans"
"""All plans but the largest, where there are more plans than colors."""
_METERS = "Meter or kind of line"
_LINE_TYPE_NAMES = {"fee": "Flat fees", "discount": "Discounts", "commitment": "Charges up to the minimum"}

# Revenue is the sum of the lines before credit; an amount that is carried forward is revenue of its own month only.
_REVENUE = "select * from invoice_lines where line_type <> 'carry_forward'"


@dataclass(frozen=True)
class ChartTable:
    """A table of amounts in one currency, and the type of its chart."""

    title: str
    """`{period}` is the month."""
    heading: str
    type: str
    """'column', or 'bar' for names that need room."""
    sql: str
    """Rows (label, amount). Parameters: $period, $currency, and where named $first, the first month."""


CHART_TABLES = (
    ChartTable(
        f"Revenue by month, {MONTHS} months to {{period}}",
        "Month",
        "column",
        f"select period, sum(amount) from ({_REVENUE}) where period between $first and $period and currency = $currency"
        " group by period order by period",
    ),
    ChartTable(
        "Revenue by plan, {period}",
        "Plan",
        "bar",
        f"""
        select coalesce(names.plan_name, lines.plan_id), sum(lines.amount) as amount
        from ({_REVENUE}) as lines
        left join (select plan_id, max(plan_name) as plan_name from plans group by plan_id) as names
            on lines.plan_id = names.plan_id
        where lines.period = $period and lines.currency = $currency
        group by all order by 2 desc, 1""",
    ),
    ChartTable(
        "Revenue by meter and kind of line, {period}",
        _METERS,
        "bar",
        f"select coalesce(meter_id, line_type), sum(amount) from ({_REVENUE})"
        " where period = $period and currency = $currency group by 1 order by 2 desc, 1",
    ),
    ChartTable(
        f"The {CUSTOMERS} largest customers, {{period}}",
        "Customer",
        "bar",
        f"""
        select coalesce(invoices.customer_name, lines.customer_id), sum(lines.amount) as amount
        from ({_REVENUE}) as lines inner join invoices on lines.invoice_id = invoices.invoice_id
        where lines.period = $period and lines.currency = $currency
        group by lines.customer_id, 1 order by 2 desc, lines.customer_id limit {CUSTOMERS}""",
    ),
)


_MONTHS_AND_PLANS = f"Revenue by month and plan, {MONTHS} months to {{period}}"
_PLAN_MONTHS_SQL = f"""
    select lines.period, coalesce(names.plan_name, lines.plan_id), sum(lines.amount)
    from ({_REVENUE}) as lines
    left join (select plan_id, max(plan_name) as plan_name from plans group by plan_id) as names on lines.plan_id = names.plan_id
    where lines.period between $first and $period and lines.currency = $currency
    group by all"""


def write_charts_sheet(
    workbook: PeriodWorkbook, reports: duckdb.DuckDBPyConnection, period: BillingPeriod, currencies: Sequence[str]
) -> None:
    """Add the sheet: the tables of each currency, from top to bottom, with their charts. Text is never a formula."""
    sheet = workbook.add_sheet(SHEET)
    sheet.set_column(0, 0, 32)
    sheet.set_column(1, 2, 20)
    sheet.hide_gridlines(2)
    names = _LINE_TYPE_NAMES | meter_names()
    row, blocks = 0, []
    for currency in currencies:
        for table in CHART_TABLES:
            rows = _rows(reports, table, period, currency)
            if table.heading == _METERS:
                rows = [(names.get(label, label), amount) for label, amount in rows]
            if rows:
                title = f"{table.title.format(period=period)}, {currency}"
                _write_table(workbook, sheet, table, title, currency, rows, row)
                blocks.append((row, max(len(rows) + 3, _CHART_ROWS + 1)))
                row += blocks[-1][1]
            if table is CHART_TABLES[0] and (plans := _plan_months(reports, period, currency)):
                title = f"{_MONTHS_AND_PLANS.format(period=period)}, {currency}"
                _write_plan_months(workbook, sheet, title, currency, plans, row)
                blocks.append((row, max(sum(map(len, plans.values())) + 3, _CHART_ROWS + 1)))
                row += blocks[-1][1]
    sheet.set_h_pagebreaks(_page_breaks(blocks))


def _page_breaks(blocks: Sequence[tuple[int, int]]) -> list[int]:
    """The first rows of pages: a block (first row, rows) that the page has no room for begins the next one."""
    breaks, page = [], 0
    for top, rows in blocks:
        if top > page and top + rows - page > _ROWS_PER_PAGE:
            breaks.append(top)
            page = top
    return breaks


def _write_table(
    workbook: PeriodWorkbook,
    sheet: Any,
    table: ChartTable,
    title: str,
    currency: str,
    rows: Sequence[tuple[str, Decimal]],
    top: int,
) -> None:
    sheet.write_string(top, 0, title, workbook.format(bold=True, font_size=13))
    sheet.write_string(top + 1, 0, table.heading, workbook.format(**HEADING))
    sheet.write_string(top + 1, 1, "Before credit", workbook.format(**HEADING))
    for place, (label, amount) in enumerate(rows, start=top + 2):
        sheet.write_string(place, 0, label, workbook.format())
        sheet.write_number(place, 1, float(amount), workbook.money(currency))
    first, last = top + 2, top + 1 + len(rows)
    chart = workbook.book.add_chart({"type": table.type})
    chart.add_series(
        {
            "name": currency,
            "categories": [SHEET, first, 0, last, 0],
            "values": [SHEET, first, 1, last, 1],
            # Programs that do not calculate draw these.
            "categories_data": [label for label, _ in rows],
            "values_data": [float(amount) for _, amount in rows],
            "fill": {"color": _COLOR},
            "gap": 60,
        }
    )
    chart.set_title({"name": title, "name_font": {"size": 12}})
    chart.set_legend({"none": True})
    amounts_axis = _amounts_axis([amount for _, amount in rows])
    if table.type == "bar":
        chart.set_y_axis({"reverse": True, "label_position": "low"})  # the largest at the top
        chart.set_x_axis(amounts_axis)
    else:
        chart.set_y_axis(amounts_axis)
    chart.set_size({"width": 640, "height": _CHART_ROWS * _ROW_PIXELS})
    sheet.insert_chart(top, _CHART_PLACE, chart)


def _amounts_axis(amounts: Sequence[Decimal]) -> dict[str, Any]:
    """The axis begins at 0, or with a negative amount below 0 by itself."""
    lines = {"visible": True, "line": {"color": "#DDE3E9"}}
    return {"num_format": "#,##0", "major_gridlines": lines, **({"min": 0} if all(amount >= 0 for amount in amounts) else {})}


def _write_plan_months(
    workbook: PeriodWorkbook,
    sheet: Any,
    title: str,
    currency: str,
    plans: Mapping[str, Mapping[str, Decimal]],
    top: int,
) -> None:
    """One row for each plan and month, the months of a plan below each other; the chart is a stack of plans for each month."""
    sheet.write_string(top, 0, title, workbook.format(bold=True, font_size=13))
    for column, heading in enumerate(("Month", "Before credit")):
        sheet.write_string(top + 1, column, heading, workbook.format(**HEADING))
    sheet.write_string(top + 1, 2, "Plan", workbook.format(**HEADING, indent=1))
    chart = workbook.book.add_chart({"type": "column", "subtype": "stacked"})
    first = top + 2
    for (plan, months), color in zip(plans.items(), _PLAN_COLORS, strict=False):
        for row, (month, amount) in enumerate(months.items(), start=first):
            sheet.write_string(row, 0, month, workbook.format())
            sheet.write_number(row, 1, float(amount), workbook.money(currency))
            sheet.write_string(row, 2, plan, workbook.format(indent=1))
        last = first + len(months) - 1
        chart.add_series(
            {
                "name": [SHEET, first, 2],
                "categories": [SHEET, first, 0, last, 0],
                "values": [SHEET, first, 1, last, 1],
                # Programs that do not calculate draw these.
                "name_data": [plan],
                "categories_data": list(months),
                "values_data": [float(amount) for amount in months.values()],
                "fill": {"color": color},
                "gap": 60,
            }
        )
        first = last + 1
    chart.set_title({"name": title, "name_font": {"size": 12}})
    chart.set_legend({"position": "bottom"})
    chart.set_x_axis({"label_position": "low"})
    chart.set_y_axis(_amounts_axis([amount for months in plans.values() for amount in months.values()]))
    chart.set_size({"width": 640, "height": _CHART_ROWS * _ROW_PIXELS})
    sheet.insert_chart(top, _CHART_PLACE, chart)


def _plan_months(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, currency: str) -> dict[str, dict[str, Decimal]]:
    """The revenue of each plan in each month that has revenue, the largest plan first; all but the largest together."""
    values = {"period": str(period), "currency": currency, "first": str(_first_month(period))}
    found = reports.execute(_PLAN_MONTHS_SQL, values).fetchall()
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for _, plan, amount in found:
        totals[plan] += amount
    largest = sorted(totals, key=lambda plan: (-totals[plan], plan))
    shown = largest if len(largest) <= len(_PLAN_COLORS) else [*largest[: len(_PLAN_COLORS) - 1], _OTHER_PLANS]
    months = sorted({month for month, _, _ in found})
    plans = {plan: dict.fromkeys(months, Decimal(0)) for plan in shown}
    for month, plan, amount in found:
        plans[plan if plan in plans else _OTHER_PLANS][month] += amount
    return plans


def _first_month(period: BillingPeriod) -> BillingPeriod:
    for _ in range(MONTHS - 1):
        period = period.previous()
    return period


def _rows(
    reports: duckdb.DuckDBPyConnection, table: ChartTable, period: BillingPeriod, currency: str
) -> list[tuple[str, Decimal]]:
    values = {"period": str(period), "currency": currency, "first": str(_first_month(period))}
    found: list[tuple[str, Decimal]] = reports.execute(
        table.sql, {name: value for name, value in values.items() if f"${name}" in table.sql}
    ).fetchall()
    return found
