"""What analysts are promised: questions that have answers, a dictionary that is current, tables that stay while a build runs."""

from __future__ import annotations

import re
import threading
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from docs.generate.__main__ import DOCS
from docs.generate.data_dictionary import data_dictionary
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import parse_instant
from pipeline.landing import land_files
from pipeline.warehouse.build import build
from tests.support import billhouse, copy_home, event, query, write_jsonl

DICTIONARY = DOCS / "reference" / "data-dictionary.md"
QUESTIONS = dict(
    re.findall(
        r"^## (.*?)$.*?^```sql$(.*?)^```$", (PROJECT_ROOT / "docs" / "use" / "questions.md").read_text(), re.MULTILINE | re.DOTALL
    )
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """Two customers, one of them on Pro; a closed month, an event that came late for it, a row in quarantine."""
    folder = tmp_path_factory.mktemp("analysts")
    home = copy_home(parsed_project, folder / "home")

    def run(*words: str | Path) -> None:
        outcome = billhouse(home.path, *words)
        assert outcome.code == 0, outcome.stderr

    records = [{"customer_id": "ada", "plan_id": "pro", "effective_at": "2026-08-01T00:00:00Z"}]
    run("land", "--kind", "subscriptions", write_jsonl(folder / "plans.jsonl", records))
    usage = []
    for number in range(30):
        usage.append(event("start", f"2026-08-10T10:{number:02d}:00Z", sandbox=f"a{number}", vcpu_count=8, memory_gb=16))
        if number % 3:
            usage.append(event("stop", f"2026-08-10T20:{number:02d}:00Z", sandbox=f"a{number}"))
    usage += [event("start", "2026-09-02T00:00:00Z", user="bob", sandbox="b", vcpu_count=2), {"event_id": "bad"}]
    run("land", write_jsonl(folder / "usage.jsonl", usage))
    readings = [{"timestamp": f"2026-09-02T00:{minute:02d}:00Z", "cpu_used_pct": 40, "mem_bytes": 2**28} for minute in range(60)]
    samples = [{"sandbox_id": "b", **reading} for reading in readings]
    run("land", "--kind", "metrics", write_jsonl(folder / "samples.jsonl", samples))
    run("build", "--as-of", "2026-09-05T00:00:00Z")
    run("close", "2026-08")
    run("land", write_jsonl(folder / "late.jsonl", [event("start", "2026-08-20T00:00:00Z", sandbox="late", vcpu_count=1)]))
    run("build", "--as-of", "2026-09-05T00:00:00Z")
    return home


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_has_an_answer(question: str, home: Home) -> None:
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        result = reports.execute(QUESTIONS[question])
        names = [column[0] for column in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert rows
    for name, value in rows[0].items():
        assert not (isinstance(value, float) and name.endswith(("amount", "revenue", "billed", "credits"))), name


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) >= 10


def test_the_answers_tie_to_the_invoices(home: Home) -> None:
    subtotal = query(home, "select sum(subtotal_amount) as amount from invoices")[0]["amount"]
    by_plan = query(home, QUESTIONS["What did each plan bring in, month by month?"])
    assert sum(row["revenue"] for row in by_plan) == subtotal
    largest = query(home, QUESTIONS["Who are our largest customers?"])
    closed = query(home, "select sum(subtotal_amount) as amount from invoices where status <> 'draft'")[0]["amount"]
    assert sum(row["before_credits"] for row in largest) == closed
    corrected = query(home, QUESTIONS["Which months were corrected, and by how much?"])
    assert {(row["billed_in"], row["corrects"]) for row in corrected} == {("2026-09", "2026-08")}
    cohorts = query(home, QUESTIONS["How much do the new customers of a month use in the months after?"])
    used = query(home, "select sum(amount) as amount from usage_daily")[0]["amount"]
    assert sum((row["usage_amount"] for row in cohorts), Decimal(0)) == used


def test_the_data_dictionary_is_current() -> None:
    assert DICTIONARY.read_text() == data_dictionary(), "call `make reference`"


def test_every_table_is_in_the_dictionary_as_it_is(home: Home) -> None:
    written = DICTIONARY.read_text()
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        columns = reports.execute("select table_name, column_name from duckdb_columns() where schema_name = 'billing'").fetchall()
    for table, column in columns:
        section = written.split(f"### {table}\n")[1].split("\n### ")[0]
        assert f"| `{column}` |" in section, (table, column)


def test_a_table_is_queried_by_schema_and_name_as_soon_as_the_file_is_open(home: Home) -> None:
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        found = reports.execute("select distinct period from billing.invoices order by period").fetchall()
    assert found == [("2026-08",), ("2026-09",)]


def test_the_next_build_replaces_the_file_and_the_tables_of_an_earlier_version(home: Home, tmp_path: Path) -> None:
    copy = copy_home(home.path, tmp_path / "home")
    former = copy.path / "billing.duckdb"
    copy.analysts_file.rename(former)
    former_tables = [("monitoring", "sandbox_runs"), ("usage", "customer_terms")]
    with duckdb.connect(str(copy.warehouse)) as warehouse:
        warehouse.execute("create schema monitoring")
        for schema, table in former_tables:
            warehouse.execute(f"create table {schema}.{table} as select 1 as number")
    with duckdb.connect(str(former), read_only=True) as reader:
        build(copy, parse_instant("2026-09-05T00:00:00Z"))
        assert not former.exists()
        assert reader.execute("select count(*) from billing.billing.invoices").fetchone() == (3,)
    assert query(copy, "select count(*) from billing.invoices") == query(home, "select count(*) from billing.invoices")
    with duckdb.connect(str(copy.warehouse), read_only=True) as warehouse:
        tables = warehouse.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        assert ("customers", "customer_terms") in tables
        assert not set(former_tables) & set(tables)


def test_readers_and_builds_do_not_disturb_each_other(home: Home, tmp_path: Path) -> None:
    copy = copy_home(home.path, tmp_path / "home")
    as_of = parse_instant("2026-09-05T00:00:00Z")
    lines = "select count(*) from billing.invoice_lines"
    before = query(copy, lines)[0]["count_star()"]
    is_over = threading.Event()
    answers: list[object] = []

    def read() -> None:
        """One query after the other over one connection, from before the first build until after the last."""
        with duckdb.connect(str(copy.analysts_file), read_only=True) as reports:
            while not is_over.is_set():
                answers.append(reports.execute(f"{lines} cross join range(2000000)").fetchone())

    held = duckdb.connect(str(copy.analysts_file), read_only=True)
    mart = (copy.marts / "invoice_lines.parquet").open("rb")
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(2):
            name = f"new-{number}"
            more = event("start", f"2026-09-0{number + 3}T00:00:00Z", user=name, sandbox=name, vcpu_count=1)
            assert land_files(copy, [Path(write_jsonl(tmp_path / f"{name}.jsonl", [more]))]).problems == []
            build(copy, as_of)
    finally:
        is_over.set()
        reader.join()
    assert set(answers) == {(before * 2000000,)}
    assert held.execute(lines).fetchone() == (before,)
    assert mart.read(4) == b"PAR1"
    held.close()
    mart.close()
    assert query(copy, lines)[0]["count_star()"] > before
