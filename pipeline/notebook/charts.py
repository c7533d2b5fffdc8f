"""A chart for each question that is seen better than read.

Charts show rounded numbers; the table and the SQL beside them are exact. Texts of data are drawn, never markup. A chart contains
its rows and needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import altair as alt

from pipeline.core.plain_text import visible
from pipeline.notebook.answers import Answer

Rows = Sequence[Mapping[str, Any]]
Draw = Callable[[Rows, str], alt.Chart]

_PALETTE = ("#3e7cb1", "#e08e45", "#5aa469", "#b0699d", "#8a8d93", "#c9b037", "#5fb3b3", "#a65e5e")
"""Readable on white and on dark grey, also for people who do not see red and green."""
_MORE, _LESS = _PALETTE[1], _PALETTE[0]
_UTC = alt.Scale(type="utc")
"""A day is one of UTC, wherever the browser is."""
_HEIGHT = 260
_ROW_HEIGHT = 22
_EMBED = {"embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}}
"""The chart's menu saves it as a picture; without the entry that sends it to an editor on the web."""


@dataclass(frozen=True)
class Drawing:
    """A chart as a specification of Vega-Lite, which the browser draws."""

    specification: Mapping[str, Any]

    def _mime_(self) -> tuple[str, str]:
        """How marimo shows it. Its own way for Altair's charts checks each one against the schema, twice."""
        return "application/vnd.vegalite.v6+json", json.dumps(self.specification)


def draw(name: str, answer: Answer, currency: str, *, is_checked: bool = False) -> Drawing | None:
    """The chart of a question, of its rows in one currency; None where it has no chart, or no rows.

    `is_checked`: against the schema of Vega-Lite, which takes longer than all else.
    """
    rows = in_currency(answer, currency)
    if name not in _CHARTS or not rows:
        return None
    chart = _CHARTS[name](rows, currency)
    chart = chart.properties(width="container", usermeta=_EMBED, background="transparent")
    chart = chart.configure_view(stroke=None).configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
    chart = chart.configure_legend(orient="top", labelFontSize=12, titleFontSize=12, titleFontWeight="normal", labelLimit=260)
    return Drawing(chart.to_dict(validate=is_checked))


def in_currency(answer: Answer, currency: str) -> Rows:
    """The rows in one currency: amounts of two are never added. All rows, where the answer has no currency."""
    return [row for row in answer.rows if row.get("currency", currency) == currency]


def _data(rows: Rows) -> alt.Data:
    values = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return visible(value) if isinstance(value, str) else value


def _scale() -> alt.Scale:
    return alt.Scale(range=list(_PALETTE))


def _stacked_by_month(by: str, amount: str = "revenue") -> Draw:
    """Bars by month, a colour for each plan or meter."""

    def drawn(rows: Rows, currency: str) -> alt.Chart:
        return (
            alt.Chart(_data(rows), height=_HEIGHT)
            .mark_bar(size=48)
            .encode(
                x=alt.X("period:O", title=None, axis=alt.Axis(labelAngle=0)),
                y=alt.Y(f"sum({amount}):Q", title=currency, axis=alt.Axis(format=",.0f", tickCount=5)),
                color=alt.Color(f"{by}:N", title=None, scale=_scale()),
                tooltip=[
                    alt.Tooltip("period:O"),
                    alt.Tooltip(f"{by}:N"),
                    alt.Tooltip(f"sum({amount}):Q", title=currency, format=",.2f"),
                ],
            )
        )

    return drawn


def _revenue_by_month(rows: Rows, currency: str) -> alt.Chart:
    """What customers pay, above it what credit paid, and above that what was invoiced but is not owed."""
    parts = [
        {"period": row["period"], "part": part, "amount": amount, "order": order}
        for row in rows
        for order, (part, amount) in enumerate(
            (
                ("customers pay", row["customers_pay_amount"]),
                ("credit pays", row["credits_applied_amount"]),
                ("not collected, void or credited", row["invoiced_amount"] - row["customers_pay_amount"]),
            )
        )
    ]
    names = ["customers pay", "credit pays", "not collected, void or credited"]
    return _stacked_by_month("part", "amount")(parts, currency).encode(
        color=alt.Color("part:N", title=None, sort=names, scale=_scale()), order=alt.Order("order:Q")
    )


def _usage_by_day(rows: Rows, currency: str) -> alt.Chart:
    return (
        alt.Chart(_data(rows), height=_HEIGHT)
        .mark_area()
        .encode(
            x=alt.X("usage_date:T", title=None, scale=_UTC, axis=alt.Axis(format="%d %b", tickCount=8)),
            y=alt.Y("sum(amount):Q", title=f"{currency} a day", axis=alt.Axis(format=",.0f", tickCount=5)),
            color=alt.Color("meter:N", title=None, scale=_scale()),
            tooltip=[alt.Tooltip("usage_date:N"), alt.Tooltip("meter:N"), alt.Tooltip("sum(amount):Q", format=",.2f")],
        )
    )


def _invoice_days(rows: Rows, currency: str) -> alt.Chart:
    """The two months over each other, by day of the month."""
    return (
        alt.Chart(_data(rows), height=_HEIGHT)
        .mark_line(point=True)
        .encode(
            x=alt.X("day_of_month:O", title="day of the month", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("amount:Q", title=f"{currency} a day", axis=alt.Axis(format=",.0f", tickCount=5)),
            color=alt.Color(
                "period:N",
                title=None,
                sort="ascending",
                scale=alt.Scale(range=["#9a9ea6", _MORE] if _months(rows) > 1 else [_MORE]),
            ),
            tooltip=[alt.Tooltip("period:N"), alt.Tooltip("day_of_month:O"), alt.Tooltip("amount:Q", format=",.2f")],
        )
    )


def _invoice_vcpu_days(rows: Rows, _: str) -> alt.Chart:
    """A bar for each day, a color for each plan."""
    return (
        alt.Chart(_data(rows), height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("usage_date:O", title=None, timeUnit="utcmonthdate", axis=alt.Axis(format="%d %b", labelOverlap=True)),
            y=alt.Y("sum(vcpu_hours):Q", title="vCPU-hours a day", axis=alt.Axis(format=",.0f", tickCount=5)),
            color=alt.Color("plan_id:N", title=None, scale=_scale()),
            tooltip=[alt.Tooltip("usage_date:N"), alt.Tooltip("plan_id:N"), alt.Tooltip("sum(vcpu_hours):Q", format=",.2f")],
        )
    )


def _months(rows: Rows) -> int:
    return len({row["period"] for row in rows})


def _horizontal(label: str, value: str, title: str, most: int = 15, fill: str | None = None) -> Draw:
    """A bar for each row, the longest first."""

    def drawn(rows: Rows, currency: str) -> alt.Chart:
        chosen = [row for row in rows if row[value]][:most] or list(rows[:1])
        color = alt.value(fill or _PALETTE[0])
        return (
            alt.Chart(_data(chosen), height=max(3, len(chosen)) * _ROW_HEIGHT)
            .mark_bar()
            .encode(
                x=alt.X(f"{value}:Q", title=title.format(currency=currency), axis=alt.Axis(format=",.0f", tickCount=5)),
                y=alt.Y(f"{label}:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
                color=color,
                tooltip=[alt.Tooltip(f"{label}:N"), alt.Tooltip(f"{value}:Q", format=",.2f")],
            )
        )

    return drawn


def _invoice_change(rows: Rows, currency: str) -> alt.Chart:
    """A bar for each item: to the right what made the invoice higher, to the left what made it lower."""
    chart: alt.Chart = _horizontal("item", "change_amount", "{currency} more or less than the invoice before")(rows, currency)
    return chart.encode(color=alt.condition("datum.change_amount > 0", alt.value(_MORE), alt.value(_LESS)))


def _cohorts(rows: Rows, currency: str) -> Any:
    """A square for each cohort and month: the more usage, the darker; the number is that of active customers."""
    base = alt.Chart(_data(rows), height=max(2, len({row["cohort"] for row in rows})) * 48).encode(
        x=alt.X("period:O", title="month", axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("cohort:O", title="first seen in"),
        tooltip=[
            alt.Tooltip("cohort:O"),
            alt.Tooltip("period:O"),
            alt.Tooltip("active_customers:Q", format=","),
            alt.Tooltip("usage_amount:Q", title=f"usage, {currency}", format=",.2f"),
        ],
    )
    squares = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "usage_amount:Q",
            title=f"usage, {currency}",
            scale=alt.Scale(range=["#dbe8f4", "#6fa0cc"], domainMin=0),
            legend=alt.Legend(format=",.0f"),
        )
    )
    counts = base.mark_text(fontSize=13, fontWeight="bold").encode(
        text=alt.Text("active_customers:Q", format=","), color=alt.value("#14283a")
    )
    return squares + counts


def _credit_by_month(rows: Rows, currency: str) -> alt.Chart:
    """Given above the axis; used and expired below it."""
    signs = (("granted", "granted_amount", 1), ("applied", "applied_amount", -1), ("expired", "expired_amount", -1))
    parts = [
        {"period": row["period"], "part": part, "amount": sign * row[column]} for row in rows for part, column, sign in signs
    ]
    return _stacked_by_month("part", "amount")(parts, currency)


def _lines(columns: Mapping[str, str], title: str, *, zero_to: float | None = None) -> Draw:
    """A line by day for each of some columns."""

    def drawn(rows: Rows, _: str) -> alt.Chart:
        points = [
            {"day": row["usage_date"], "figure": label, "value": row[name]} for row in rows for name, label in columns.items()
        ]
        scale = alt.Scale(domain=[0, zero_to]) if zero_to else alt.Scale(zero=True)
        return (
            alt.Chart(_data(points), height=_HEIGHT)
            .mark_line(point=len(rows) < 15)
            .encode(
                x=alt.X("day:T", title=None, scale=_UTC, axis=alt.Axis(format="%d %b", tickCount=8)),
                y=alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(format=",.0f", tickCount=5)),
                color=alt.Color("figure:N", title=None, scale=_scale()),
                tooltip=[alt.Tooltip("day:N"), alt.Tooltip("figure:N"), alt.Tooltip("value:Q", format=",.1f")],
            )
        )

    return drawn


def _grouped_by_month(by: str, value: str, title: str, digits: int) -> Draw:
    """Bars beside each other for each plan, month by month."""

    def drawn(rows: Rows, currency: str) -> alt.Chart:
        return (
            alt.Chart(_data(rows), height=_HEIGHT)
            .mark_bar()
            .encode(
                x=alt.X("period:O", title=None, axis=alt.Axis(labelAngle=0)),
                xOffset=alt.XOffset(f"{by}:N"),
                y=alt.Y(f"{value}:Q", title=title.format(currency=currency), axis=alt.Axis(tickCount=5)),
                color=alt.Color(f"{by}:N", title=None, scale=_scale()),
                tooltip=[alt.Tooltip("period:O"), alt.Tooltip(f"{by}:N"), alt.Tooltip(f"{value}:Q", format=f",.{digits}f")],
            )
        )

    return drawn


def _revenue_change_by_plan(rows: Rows, currency: str) -> alt.Chart:
    """A bar up or down for each plan; the first month, which has nothing to compare with, only where there is no other."""
    compared = [row for row in rows if row["change_amount"] is not None] or rows
    running = {row["period"] for row in rows if row["drafts"]}
    compared = [{**row, "period": f"{row['period']}, so far"} if row["period"] in running else row for row in compared]
    title = "{currency} compared with the month before"
    return _grouped_by_month("plan_id", "change_amount", title, 2)(compared, currency)


_CHARTS: Mapping[str, Draw] = {
    "revenue_by_month": _revenue_by_month,
    "revenue_by_plan": _stacked_by_month("plan_id"),
    "revenue_change_by_plan": _revenue_change_by_plan,
    "revenue_by_meter": _stacked_by_month("meter"),
    "usage_by_day": _usage_by_day,
    "largest_customers": _horizontal("customer_id", "revenue", "{currency} before credit"),
    "invoice_change": _invoice_change,
    "invoice_days": _invoice_days,
    "invoice_vcpu_days": _invoice_vcpu_days,
    "cohorts": _cohorts,
    "credit_by_month": _credit_by_month,
    "concurrency_by_day": _lines(
        {"average_sandboxes": "average, all customers", "highest_peak_of_a_customer": "highest peak of one customer"},
        "sandboxes at once",
    ),
    "concurrency_limits": _horizontal("customer_id", "most_at_once", "most sandboxes at once"),
    "utilisation_by_day": _lines({"cpu_used_percent": "vCPU", "memory_used_percent": "memory"}, "percent used", zero_to=100),
    "savings_by_customer": _horizontal("customer_id", "could_save_at_most_amount", "{currency} that smaller sizes save at most"),
    "revenue_per_vcpu_hour": _grouped_by_month("plan_id", "revenue_per_vcpu_hour", "{currency} per vCPU-hour", 4),
    "revenue_per_customer": _grouped_by_month("plan_id", "revenue_per_customer", "{currency} per customer", 2),
    "session_ends": _horizontal("end_reason", "list_amount", "{currency} at list rates"),
}
"""Questions without an entry are answered by their table."""
CHARTED = frozenset(_CHARTS)
"""The questions that have a chart."""
