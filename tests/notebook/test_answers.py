"""Each query sees the build that is there now; values of data are text."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.notebook import serve
from pipeline.notebook.answers import Answer, NothingBuiltError, Reports
from pipeline.notebook.formats import heading, html_sql, html_table, html_title, shown
from pipeline.notebook.questions import questions
from tests.analysts_home import HOSTILE

NUMBER = "select number from billing.numbers"


def publish(home: Home, number: int) -> None:
    """Replace the analysts' file as a build does: by rename."""
    home.path.mkdir(exist_ok=True)
    file = home.path / f"next-{number}.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("create schema billing")
        connection.execute(f"create table billing.numbers as select {number} as number")
    file.replace(home.analysts_file)


def test_without_a_build_there_is_no_version_and_no_answer(tmp_path: Path) -> None:
    reports = Reports(Home(tmp_path))
    assert reports.version() is None
    with pytest.raises(NothingBuiltError):
        reports.answer(NUMBER)


def test_the_query_after_a_build_sees_it_also_while_others_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    publish(home, 0)
    reports = Reports(home)
    is_over = threading.Event()
    seen: list[int] = []

    def read() -> None:
        long = f"{NUMBER} cross join (select max(range) from range(300000))"
        while not is_over.is_set():
            seen.append(reports.answer(f"select number from ({long}) -- {len(seen)}").rows[0]["number"])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 6):
            publish(home, number)
            assert reports.answer(NUMBER).rows == [{"number": number}]
            assert reports.answer(NUMBER) is reports.answer(NUMBER), "not run again"
    finally:
        is_over.set()
        for reader in readers:
            reader.join(timeout=60)
    assert seen and set(seen) <= set(range(6))


def test_a_query_can_change_nothing_and_read_no_other_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    publish(home, 1)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    reports = Reports(home)
    for sql in (
        "insert into billing.numbers values (2)",
        f"select * from read_csv('{tmp_path}/secret.csv')",
        f"attach '{tmp_path}/other.duckdb' as other",
        "set enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            reports.answer(sql)
    assert reports.answer(NUMBER).rows == [{"number": 1}]


def test_a_text_of_data_is_never_markup() -> None:
    rows = [{"customer_id": HOSTILE, HOSTILE: "<b>", "amount": Decimal(1)}]
    for html in (
        html_table(Answer(list(rows[0]), rows), link_customers=True),
        html_sql(questions()["customer_invoices"].sql(customer_id=HOSTILE)),
        html_title(HOSTILE, HOSTILE),
    ):
        assert "<img" not in html and "<b>" not in html
        assert 'onerror="' not in html


def test_a_text_is_long_by_its_letters_and_not_by_its_link() -> None:
    short, long = ({"customer_id": "c" * letters} for letters in (40, 41))
    tables = [html_table(Answer(["customer_id"], [row]), link_customers=True) for row in (short, long)]
    assert ["bh-long" in table for table in tables] == [False, True]


def test_a_parameter_is_a_literal_of_sql() -> None:
    with duckdb.connect() as connection:
        sql = questions()["customer_invoices"].sql(customer_id=HOSTILE)
        literal = sql.partition("customer_id = ")[2].partition("\n")[0]
        assert connection.execute(f"select {literal}").fetchall() == [(HOSTILE,)]


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("total_amount", Decimal("1234567.5"), "1,234,567.50"),
        ("vcpu_hours", Decimal("55837.71"), "55,837.7"),
        ("sessions", 101133, "101,133"),
        ("could_save_percent", Decimal("12.34"), "12.3 %"),
        ("revenue_per_vcpu_hour", 0.0504, "0.0504"),
        ("reached_at", datetime(2026, 9, 1, 10, 30, 59, tzinfo=UTC), "2026-09-01 10:30"),
        ("runs_out_this_month", True, "yes"),
        ("customer_id", "a\u202eb", "a\\u202eb"),
        ("allowed", None, "–"),  # noqa: RUF001
    ],
)
def test_values_are_in_units_and_forms_that_people_read(column: str, value: object, text: str) -> None:
    assert shown(column, value) == text


def test_amounts_have_the_digits_of_their_currency() -> None:
    assert [shown("amount", Decimal("1234.5"), currency) for currency in ("JPY", "KWD")] == ["1,234", "1,234.500"]
    assert heading("average_vcpus_held") == "average vCPUs held"


def test_a_missing_package_and_a_used_port_are_errors_with_a_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import sys

    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BillhouseError, match=r"Port \d+ is in use\."):
        serve.serve(Home(tmp_path), other.getsockname()[1])
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.chdir(tmp_path)
    for name in ("BILLHOUSE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, "")  # restored at the end
    with pytest.raises(BillhouseError, match="needs the Python package altair") as raised:
        serve.application(Home(tmp_path), "token", tmp_path)
    assert "billhouse[notebook]" in raised.value.next_step
