"""Values as people read them, as HTML that contains no markup but our own: every text that comes from data is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any
from urllib.parse import quote

from pipeline.core.money import shown_digits
from pipeline.core.plain_text import visible
from pipeline.notebook.answers import Answer

_AMOUNTS = ("amount", "revenue", "change_by")
"""Parts of the names of columns that hold money."""
_TWO_DECIMALS = ("observed", "allowed", "held", "fit")
_DEFAULT_CURRENCY = "USD"
_LONG_TEXT = 40
"""Characters from which a text may be wrapped."""
_LONG = ' class="bh-long"'
_NOTHING = "–"  # noqa: RUF001 - the sign for an empty cell


def shown(column: str, value: Any, currency: str = _DEFAULT_CURRENCY) -> str:
    """A value as text: separators, the digits of its currency, one decimal for hours, instants in UTC to the minute."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, float, Decimal)):
        return _number(column, value, currency)
    return visible(str(value))


def _number(column: str, value: int | float | Decimal, currency: str) -> str:
    if column.endswith("percent"):
        return f"{value:,.0f} %" if isinstance(value, int) else f"{value:,.1f} %"
    if column.endswith("per_vcpu_hour"):
        return f"{value:,.4f}"
    if any(name in column for name in _AMOUNTS):
        return f"{value:,.{shown_digits(currency)}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}".removesuffix(".00") if any(name in column for name in _TWO_DECIMALS) else f"{value:,.1f}"


def heading(column: str) -> str:
    """A column's name in words: 'total_amount' -> 'total'."""
    words = column.removesuffix("_amount").replace("_", " ")
    return words.replace("vcpu", "vCPU").replace(" gb", " GB")


def html_table(answer: Answer, *, link_customers: bool = False) -> str:
    """An answer as an HTML table. `link_customers`: an id of a customer is a link to its page."""
    if not answer.rows:
        return '<p class="bh-empty">No rows.</p>'
    numeric = {name for name in answer.columns if any(_is_number(row[name]) for row in answer.rows)}
    head = "".join(f"<th{_right(name in numeric)}>{escape(heading(name))}</th>" for name in answer.columns)
    body = "".join(
        "<tr>" + "".join(_cell(name, row, name in numeric, link_customers) for name in answer.columns) + "</tr>"
        for row in answer.rows
    )
    return f'<div class="bh-scroll"><table class="bh-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(name: str, row: Mapping[str, Any], is_number: bool, link_customers: bool) -> str:
    text = escape(shown(name, row[name], row.get("currency") or _DEFAULT_CURRENCY))
    is_long = len(text) > _LONG_TEXT  # of the text, not of its link
    if link_customers and name == "customer_id" and row[name] is not None:
        text = f'<a href="{customer_address(row[name])}">{text}</a>'
    return f"<td{_right(is_number) or _LONG * is_long}>{text}</td>"


def customer_address(customer_id: str) -> str:
    """The address of a customer's page, relative to the notebook's."""
    return f"?section=Customers&amp;customer={quote(customer_id, safe='')}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _right(is_number: bool) -> str:
    return ' class="bh-number"' if is_number else ""


def html_sql(sql: str) -> str:
    """A query, one click away; a further click selects all of it."""
    return f'<details class="bh-sql"><summary>SQL</summary><pre>{escape(sql)}</pre></details>'


def html_title(title: str, note: str) -> str:
    """The heading of a question."""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="bh-title"><h3>{escape(title)}</h3>{text}</div>'
