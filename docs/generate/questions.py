"""docs/use/questions.md from the queries of the notebook (pipeline/notebook/questions/)."""

from __future__ import annotations

import re

from pipeline.notebook.questions import SECTIONS, Question, questions

EXAMPLE = {"customer_id": "camille-rossi", "invoice_id": "INV-2026-10-15C81FDFB7AB"}
"""A customer of `billhouse demo` whose newest invoice is higher than the one before."""
PICTURED = (
    "revenue_by_month",
    "revenue_by_plan",
    "revenue_change_by_plan",
    "revenue_by_meter",
    "usage_by_day",
    "invoice_change",
    "invoice_days",
    "invoice_vcpu_days",
    "cohorts",
    "credit_by_month",
    "concurrency_by_day",
    "utilisation_by_day",
    "savings_by_customer",
    "revenue_per_customer",
)
"""The questions whose chart is shown: docs/images/questions/<name>.png, drawn by docs.generate.screenshots."""

_INTRODUCTION = """\
# Questions and the SQL that answers them

Open `billhouse.duckdb` and query ([how to open it](notebook.md#other-tools)). The file is a read-only copy that each build
replaces; an open connection keeps the copy that it opened. `billhouse notebook` shows these questions with charts of your own
figures ([notebook](notebook.md)); the pictures here are of `billhouse demo`. The same tables are Parquet files for other tools:
`select * from read_parquet('marts/invoices.parquet')`, or `'marts/sessions/*.parquet'` for a table that grows with time.

- Amounts are exact decimals in the row's `currency`. Never add two currencies: `currency` is in every `group by`.
- Drafts are invoices too. Leave them out (`status <> 'draft'`) where only closed invoices count; `status = 'closed'` is not the
  same, since an invoice that Stripe has is `open` or `paid`.
- Revenue is before credit: the lines without `carry_forward`. `total_amount` is what was invoiced, after credit.
- Hours are computed exactly and rounded once; a quotient (a percentage, a price per hour) is rounded for display. Calculate
  further with amounts and quantities.
- Queries about one customer or one invoice name one of the demo: replace it.
- Tables and columns are described in the [data dictionary](../reference/data-dictionary.md).
"""
_PANDAS = """\
## The same tables in pandas

`pipeline.read` returns the rows of a report table as a DataFrame. Select by `period` or by values of columns (a list means any of
them); the home is `$BILLHOUSE_HOME`, else `./var`, or `home=`. An unknown table or column raises an error that lists all.

```python
import pipeline

invoices = pipeline.read("invoices", period="2026-09")
invoiced = invoices.groupby(["plan_id", "currency"])["total_amount"].sum()
drafts = pipeline.read("invoices", status="draft", currency=["USD", "EUR"])
```

Columns are Arrow-backed: amounts and quantities are decimals with all their digits (`decimal128`), never floats, and sums of them
are exact; instants are timestamps in UTC; nulls are `<NA>`. Arrow cannot divide or multiply the longest of them ("Decimal
precision out of range"): calculate in SQL, or with floats to read: `usage["quantity"].astype(float) / 3600`.
"""


def questions_page() -> str:
    """All questions by subject, each with its query, its note and, where it has one, its picture."""
    parts = [_INTRODUCTION]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        parts += [_question(questions()[name]) for name in names]
    return "\n".join([*parts, _PANDAS])


def _question(question: Question) -> str:
    note = f"{_with_links(question.note)}\n\n" if question.note else ""
    picture = f"![{question.title}](../images/questions/{question.name}.png)\n\n" if question.name in PICTURED else ""
    return f"### {question.title}\n\n{note}{picture}```sql\n{question.sql(**EXAMPLE)}\n```\n"


def _with_links(text: str) -> str:
    """A note, with links where it names a page as docs/<folder>/<page>.md."""
    return re.sub(r"docs/([\w-]+)/([\w-]+)\.md", r"[\2](../\1/\2.md)", text)
