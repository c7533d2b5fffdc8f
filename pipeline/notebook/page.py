"""The parts of the notebook's page: each question with its chart, its figures and its SQL."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

import marimo as mo

from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE, Home
from pipeline.notebook.answers import Answer, Reports
from pipeline.notebook.charts import draw, in_currency
from pipeline.notebook.comparison import draft_note, sentence
from pipeline.notebook.formats import html_sql, html_table, html_title, shown
from pipeline.notebook.questions import SECTIONS, questions

MOST_CUSTOMERS = 1000
"""Customers that can be chosen from the list; the address of the page can name any."""
_CUSTOMERS = """
select customers.customer_id, any_value(customers.name) as name, coalesce(sum(invoices.subtotal_amount), 0) as amount
from billing.customers left join billing.invoices using (customer_id)
group by customers.customer_id order by amount desc, customers.customer_id limit 1000
"""
_CURRENCIES = "select currency from billing.invoices group by currency order by count(*) desc, currency"
_LAST_CLOSED = "select max(period) as period from billing.invoices where status <> 'draft'"
_TABLES_OPEN = frozenset({"invoice_change", "revenue_change_by_plan"})
"""Charts whose figures are seen without a click, since their columns say more than the chart."""

_NO_SAMPLES = "No samples of utilisation have landed. docs/operate/collecting.md says how to collect them."
_WITHOUT_ROWS = {
    "invoice_vcpu_days": "The invoice has no vCPU usage.",
    "utilisation_by_day": _NO_SAMPLES,
    "savings_by_customer": "No day has samples for at least half of the billed time.",
    "oversized_sandboxes": "No day has samples for at least half of the billed time.",
    "corrections": "No closed month was corrected.",
    "receivables": "Nothing is owed.",
    "quarantine": "No row is in quarantine.",
}
"""What it means that a question has no rows, where that is not clear."""


def home_to_read() -> Home:
    """The home of the environment. Unlike Home.open, it makes no folders."""
    return Home(Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve())


def message(title: str, text: str) -> mo.Html:
    """A plain message in place of figures."""
    return mo.Html(f'<div class="bh-message"><strong>{escape(title)}</strong><br>{escape(text)}</div>')


def nothing_built(home: Home) -> mo.Html:
    """What is shown before the first build."""
    return message(
        "Nothing has been built yet.",
        f"There is no {home.analysts_file}. Land files and run `billhouse build`, or `billhouse demo` for generated usage: "
        "this page shows the figures within half a minute after it.",
    )


def header(reports: Reports, home: Home) -> mo.Html:
    """The title, and the instant up to which usage counts."""
    as_of = reports.as_of()
    text = f"As of {shown('as_of', as_of)} UTC" if as_of else "No customer has usage yet"
    if closed := reports.answer(_LAST_CLOSED).rows[0]["period"]:
        text += f"; last closed month {closed}"
    return mo.Html(
        f'<div class="bh-head"><h1>Billhouse</h1><p>{text}</p><p title="{escape(str(home.analysts_file))}">'
        "read-only; follows each build</p></div>"
    )


def currencies(reports: Reports) -> list[str]:
    """The currencies of the invoices, the most frequent first; never empty."""
    return [row["currency"] for row in reports.answer(_CURRENCIES).rows] or ["USD"]


def customer_options(reports: Reports) -> dict[str, str]:
    """Label -> id of the largest customers. Labels contain the id, so that no two are the same."""
    rows = reports.answer(_CUSTOMERS).rows
    return {_label(row["name"], row["customer_id"]): row["customer_id"] for row in rows}


def _label(name: str | None, customer_id: str) -> str:
    label = f"{name} · {customer_id}" if name else customer_id
    return shown("name", label)


def invoice_options(reports: Reports, customer_id: str) -> dict[str, str]:
    """Label -> id of a customer's invoices, the newest first."""
    rows = reports.answer(questions()["customer_invoices"].sql(customer_id=customer_id)).rows
    return {
        f"{row['period']} · {row['status']} · {shown('amount', row['total_amount'], row['currency'])} {row['currency']}": (
            row["invoice_id"]
        )
        for row in rows
    }


def choose_customer(reports: Reports, asked: str | None) -> mo.ui.dropdown:
    """The list of customers. `asked`: the id that the address names; it need not be among the largest."""
    options = customer_options(reports)
    if asked and asked not in options.values():
        options = {_label(None, asked): asked, **options}
    chosen = next((label for label, value in options.items() if value == asked), next(iter(options), None))
    return mo.ui.dropdown(options, value=chosen, label="Customer", searchable=True, allow_select_none=False)


def choose_invoice(reports: Reports, customer_id: str | None) -> mo.ui.dropdown:
    """The list of a customer's invoices, of which the newest is chosen."""
    options = invoice_options(reports, customer_id or "")
    return mo.ui.dropdown(options, value=next(iter(options), None), label="Invoice", allow_select_none=False)


def section(reports: Reports, name: str, currency: str) -> mo.Html:
    """The questions of a section that are about all customers."""
    chosen = [questions()[question] for question in SECTIONS[name] if not questions()[question].parameters]
    return mo.vstack([block(reports, question.name, currency) for question in chosen], gap=0.5)


def customer(reports: Reports, customer_id: str | None, invoice_id: str | None, currency: str) -> mo.Html:
    """A customer's invoices, and why one of them differs from the one before."""
    if customer_id is None:
        return message("No customer.", "No customer has usage or a record yet.")
    currency = _currency_of(reports, invoice_id, currency)
    listed = block(reports, "customer_invoices", currency, customer_id=customer_id)
    if invoice_id is None:
        return mo.vstack([listed, message("No invoice.", "This customer has no invoice yet.")])
    names = ("invoice_change", "invoice_days", "invoice_vcpu_days", "invoice_sandboxes", "invoice_lines")
    change = reports.answer(questions()["invoice_change"].sql(invoice_id=invoice_id))
    said = f"{_draft_note(reports, customer_id, invoice_id, currency)} {sentence(change, currency)}".strip()
    reason = mo.Html(f'<p class="bh-reason">{escape(said)}</p>')
    blocks = [block(reports, name, currency, invoice_id=invoice_id) for name in names]
    return mo.vstack([reason, *blocks, listed], gap=0.5)


def _draft_note(reports: Reports, customer_id: str, invoice_id: str, currency: str) -> str:
    """What a draft has of its month; '' of a closed invoice."""
    invoices = reports.answer(questions()["customer_invoices"].sql(customer_id=customer_id)).rows
    period = next((row["period"] for row in invoices if row["invoice_id"] == invoice_id and row["status"] == "draft"), None)
    as_of = reports.as_of()
    if period is None or as_of is None:
        return ""
    return draft_note(period, as_of, reports.answer(questions()["invoice_days"].sql(invoice_id=invoice_id)), currency)


def _currency_of(reports: Reports, invoice_id: str | None, default: str) -> str:
    """The currency that an invoice is in."""
    if invoice_id is None:
        return default
    lines = reports.answer(questions()["invoice_lines"].sql(invoice_id=invoice_id)).rows
    return lines[0]["currency"] if lines else default


def block(reports: Reports, name: str, currency: str, **parameters: str) -> mo.Html:
    """A question: its title, its chart, its figures and its SQL. Rows of other currencies are left out."""
    question = questions()[name]
    sql = question.sql(**parameters)
    answer = reports.answer(sql)
    rows = Answer(answer.columns, in_currency(answer, currency))
    chart = draw(name, rows, currency)
    table = html_table(rows, link_customers=not parameters)
    parts: list[object] = [mo.Html(html_title(question.title, question.note))]
    if not rows.rows and name in _WITHOUT_ROWS:
        return mo.vstack([*parts, message("No rows.", _WITHOUT_ROWS[name]), mo.Html(html_sql(sql))], gap=0.25)
    if chart is not None:
        parts.append(chart)
    if chart is None or name in _TABLES_OPEN:
        parts.append(mo.Html(table + html_sql(sql)))
    else:
        parts.append(mo.Html(f'<details class="bh-sql"><summary>Figures</summary>{table}</details>{html_sql(sql)}'))
    return mo.vstack(parts, gap=0.25)


__all__ = ["SECTIONS", "Reports"]
