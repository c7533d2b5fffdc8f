"""What analysts are promised: questions that have answers, a dictionary that is current, tables that stay while a build runs."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest

from docs.generate.__main__ import DOCS
from docs.generate.data_dictionary import data_dictionary
from pipeline.core.home import Home
from pipeline.core.periods import parse_instant
from pipeline.landing import land_files
from pipeline.notebook.answers import Reports
from pipeline.warehouse.build import build
from pipeline.warehouse.snapshot import publish_snapshot
from tests.support import copy_home, event, query, write_jsonl

DICTIONARY = DOCS / "reference" / "data-dictionary.md"


@pytest.fixture(scope="module")
def home(analysts_home: Home) -> Home:
    return analysts_home


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


def test_the_file_can_be_read_by_duckdb_since_1_2_also_where_an_earlier_version_wrote_it(home: Home, tmp_path: Path) -> None:
    """Tools bring drivers of their own. 65 is the storage version of DuckDB 1.2 (https://duckdb.org/docs/stable/internals/storage)."""

    def number(file: Path) -> int:
        header = file.read_bytes()[:20]
        assert header[8:12] == b"DUCK"
        return int.from_bytes(header[12:20], "little")

    assert number(home.analysts_file) == 65
    copy = copy_home(home.path, tmp_path / "home")
    newer = tmp_path / "newer.duckdb"
    with duckdb.connect(str(newer)) as connection:
        connection.execute(f"attach '{copy.analysts_file}' as copied (read_only); copy from database copied to newer")
    assert number(newer) > 65
    newer.replace(copy.analysts_file)
    rows = publish_snapshot(copy, built=[])
    assert number(copy.analysts_file) == 65
    assert query(copy, "select count(*) as lines from invoice_lines") == [{"lines": rows["invoice_lines"]}]
    inode = copy.analysts_file.stat().st_ino
    publish_snapshot(copy, built=[])
    assert copy.analysts_file.stat().st_ino != inode and number(copy.analysts_file) == 65


def test_the_next_build_replaces_the_file_and_the_tables_of_an_earlier_version(home: Home, tmp_path: Path) -> None:
    copy = copy_home(home.path, tmp_path / "home")
    former = copy.path / "billing.duckdb"
    copy.analysts_file.rename(former)
    invoices = query(home, "select count(*) as invoices from invoices")[0]["invoices"]
    former_tables = [("monitoring", "sandbox_runs"), ("usage", "customer_terms")]
    with duckdb.connect(str(copy.warehouse)) as warehouse:
        warehouse.execute("create schema monitoring")
        for schema, table in former_tables:
            warehouse.execute(f"create table {schema}.{table} as select 1 as number")
    with duckdb.connect(str(former), read_only=True) as reader:
        build(copy, parse_instant("2026-09-05T00:00:00Z"))
        assert not former.exists()
        assert reader.execute("select count(*) from billing.billing.invoices").fetchone() == (invoices,)
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
    # By attaching it: a file that is opened by its path can be given the instance of a connection that is not collected yet.
    assert Reports(copy).answer(lines).rows[0]["count_star()"] > before
