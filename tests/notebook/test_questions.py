"""The questions have answers, and their figures agree with the invoices. What the pages print runs as it is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from docs.generate.__main__ import DOCS
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.sql import rows_as_dictionaries
from pipeline.notebook.answers import Answer
from pipeline.notebook.charts import CHARTED, draw
from pipeline.notebook.comparison import sentence
from pipeline.notebook.questions import FOLDER, SECTIONS, Question, questions
from tests.analysts_home import HOSTILE, PRINTED
from tests.support import query

SQL_BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE_NAME = re.compile(r"\bbilling\.(\w+)(?:\.(\w+))?")
USE = sorted((DOCS / "use").glob("*.md"))
NO_TABLES = frozenset({"db", "duckdb", "example"})
"""Names of files and hosts that look like a table's: billing.duckdb was the analysts' file."""


@pytest.fixture(scope="module")
def reports(analysts_home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as an analyst opens it: no setting, no `use`."""
    with duckdb.connect(str(analysts_home.analysts_file), read_only=True) as connection:
        yield connection


def ask(reports: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return rows_as_dictionaries(reports.execute(sql))


def parameters_of(question: Question, reports: duckdb.DuckDBPyConnection, customer: str = "carol") -> Mapping[str, str]:
    """A customer, and the newest of its invoices."""
    sql = "select invoice_id from billing.invoices where customer_id = ? order by period desc limit 1"
    found = {"customer_id": customer, "invoice_id": reports.execute(sql, [customer]).fetchall()[0][0]}
    return {name: found[name] for name in question.parameters}


def answer(reports: duckdb.DuckDBPyConnection, name: str, customer: str = "carol") -> list[dict[str, Any]]:
    question = questions()[name]
    return ask(reports, question.sql(**parameters_of(question, reports, customer)))


@pytest.mark.parametrize("name", questions())
def test_a_question_has_an_answer_with_exact_amounts(name: str, reports: duckdb.DuckDBPyConnection) -> None:
    rows = answer(reports, name)
    assert rows
    for column, value in rows[0].items():
        assert not isinstance(value, float), column


@pytest.mark.parametrize("name", sorted(CHARTED))
def test_a_chart_follows_the_schema_of_vega_lite(name: str, reports: duckdb.DuckDBPyConnection) -> None:
    rows = answer(reports, name)
    drawing = draw(name, Answer(list(rows[0]), rows), "USD", is_checked=True)
    assert drawing is not None and drawing.specification["width"] == "container"


def test_every_file_is_a_question_of_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(path.stem for path in FOLDER.glob("*.sql"))
    assert len({question.title for question in questions().values()}) == len(listed)
    assert questions().keys() >= CHARTED


def test_the_answers_agree_with_the_invoices(reports: duckdb.DuckDBPyConnection, analysts_home: Home) -> None:
    invoiced = query(
        analysts_home, "select sum(subtotal_amount) as subtotal, sum(total_amount) as total, count(*) as invoices from invoices"
    )[0]
    assert total(answer(reports, "revenue_by_month"), "invoiced_amount") == invoiced["total"]
    for name in ("revenue_by_month", "revenue_by_plan", "revenue_by_meter", "revenue_per_customer"):
        assert total(answer(reports, name), "revenue") == invoiced["subtotal"], name
    closed = query(analysts_home, "select sum(subtotal_amount) as amount from invoices where status <> 'draft'")[0]["amount"]
    assert total(answer(reports, "largest_customers"), "revenue") == closed
    corrected = answer(reports, "corrections")
    assert {(row["billed_in"], row["corrects"]) for row in corrected} == {("2026-09", "2026-08")}
    used = query(analysts_home, "select sum(amount) as amount from usage_daily")[0]["amount"]
    assert total(answer(reports, "cohorts"), "usage_amount") == used
    assert total(answer(reports, "usage_by_day"), "amount") == used
    for row in answer(reports, "credit_by_month"):
        expected = row["opening_amount"] + row["granted_amount"] - row["applied_amount"] - row["expired_amount"]
        assert row["closing_amount"] == expected
    sizes = query(analysts_home, "select sum(list_amount - fitting_list_amount) as amount from utilisation_daily")[0]["amount"]
    assert total(answer(reports, "savings_by_customer"), "could_save_at_most_amount") == sizes > 0
    assert total(answer(reports, "oversized_sandboxes"), "saves_at_most_amount") == sizes


def total(rows: list[dict[str, Any]], column: str) -> Decimal:
    return sum((row[column] for row in rows), Decimal(0))


@pytest.mark.parametrize("customer", ["ada", "carol", HOSTILE])
def test_the_changes_of_an_invoice_sum_to_the_difference_of_the_totals(
    customer: str, reports: duckdb.DuckDBPyConnection, analysts_home: Home
) -> None:
    totals = query(analysts_home, "select total_amount from invoices where customer_id = ? order by period", customer)
    amounts = [row["total_amount"] for row in totals]
    change = answer(reports, "invoice_change", customer)
    assert total(change, "change_amount") == amounts[-1] - (amounts[-2] if len(amounts) > 1 else 0)
    for row in change:
        assert row["change_by_usage"] is None or row["change_by_usage"] + row["change_by_price"] == row["change_amount"]
    lines = answer(reports, "invoice_lines", customer)
    subtotal = query(
        analysts_home, "select subtotal_amount as amount from invoices where customer_id = ? order by period desc", customer
    )[0]["amount"]
    assert total(lines, "amount") == subtotal


@pytest.mark.parametrize("customer", ["carol", HOSTILE])
def test_the_vcpu_days_of_an_invoice_sum_to_its_lines(
    customer: str, reports: duckdb.DuckDBPyConnection, analysts_home: Home
) -> None:
    rows = answer(reports, "invoice_vcpu_days", customer)
    lines = query(
        analysts_home,
        "select line_number, quantity, amount from invoice_lines"
        " where customer_id = ? and meter_id = 'vcpu' and not is_adjustment"
        " and period = (select max(period) from invoices where customer_id = ?)",
        customer,
        customer,
    )
    assert lines
    for line in lines:
        days = [row for row in rows if row["line_number"] == line["line_number"]]
        assert total(days, "vcpu_seconds") == days[-1]["vcpu_seconds_so_far"] == days[-1]["line_vcpu_seconds"] == line["quantity"]
        assert total(days, "amount") == days[-1]["line_amount"] == line["amount"]


def test_a_sentence_says_why_an_invoice_is_higher(reports: duckdb.DuckDBPyConnection) -> None:
    rows = answer(reports, "invoice_change")
    said = sentence(Answer(list(rows[0]), rows), "USD")
    assert re.match(r"The invoice is [\d.]+ USD higher than the one before: vCPU 160\.47 USD more, for 3,200\.0", said), said
    assert "; against it credit pays 97.34 USD more" in said


@pytest.mark.parametrize("page", USE, ids=lambda page: page.stem)
def test_every_query_of_a_page_runs_as_it_is_printed(page: Path, reports: duckdb.DuckDBPyConnection) -> None:
    for sql in SQL_BLOCK.findall(page.read_text(encoding="utf-8")):
        reports.execute(sql).fetchall()


def test_every_table_that_the_build_and_the_pages_name_is_in_the_file_under_that_name(
    reports: duckdb.DuckDBPyConnection, analysts_home: Home
) -> None:
    tables = {
        name for (name,) in reports.execute("select table_name from duckdb_tables() where schema_name = 'billing'").fetchall()
    }
    printed = set(re.findall(r"billing\.(\w+)", (analysts_home.path / PRINTED).read_text(encoding="utf-8")))
    assert tables <= printed, "the build prints each"
    pages = [PROJECT_ROOT / "README.md", *(path for path in DOCS.rglob("*.md"))]
    pages += [*(PROJECT_ROOT / "pipeline" / "cli").glob("*.py")]
    named = {found[1] for page in pages for found in TABLE_NAME.finditer(page.read_text(encoding="utf-8"))} | printed
    assert sorted(named - tables - NO_TABLES) == []
    for table in sorted(tables):
        assert reports.execute(f"select count(*) from billing.{table}").fetchall() == (
            reports.execute(f"select count(*) from billhouse.billing.{table}").fetchall()
        )


def test_pandas_reads_a_table_by_its_printed_name(reports: duckdb.DuckDBPyConnection) -> None:
    frame = reports.sql("select * from billing.invoices").df()
    assert {"invoice_id", "total_amount"} <= set(frame.columns)
    assert len(frame) == reports.execute("select count(*) from billing.invoices").fetchall()[0][0]
