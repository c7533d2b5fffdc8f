"""`pipeline.read`: report tables as DataFrames whose decimals and instants are exact."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import pipeline
from pipeline.core.errors import BillhouseError
from pipeline.core.home import PROJECT_ROOT, Home

LONGEST = Decimal("12345678901234567890123456.123456789012")
"""38 digits; a float holds 15."""
NEGATIVE = LONGEST.copy_negate()  # unary minus would round to the 28 digits of Python's context


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "home")
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("set TimeZone = 'UTC'")
        reports.execute(
            "create schema billing;"
            " create table billing.invoices (invoice_id varchar, period varchar, currency varchar, plan_id varchar,"
            " quantity decimal(38,12), total_amount decimal(18,3), closed_at timestamptz, closed_date date, is_paid boolean,"
            " status varchar);"
            f" insert into billing.invoices values"
            f" ('a', '2026-08', 'USD', 'pro', {LONGEST}, 0.1, '2026-09-01T00:00:00.123456Z', '2026-09-01', true, 'paid'),"
            f" ('b', '2026-09', 'USD', null, {NEGATIVE}, 0.2, null, null, null, 'draft'),"
            " ('c', '2026-09', 'EUR', 'hobby', 0.000000000001, 999999999999999.999, null, null, false, 'open');"
            " create table billing.plans (plan_id varchar, plan_name varchar)"
        )
    return home


def test_no_decimal_becomes_a_float_whatever_its_length(home: Home) -> None:
    frame = pipeline.read("invoices", home=home)
    assert list(frame["quantity"]) == [LONGEST, NEGATIVE, Decimal("0.000000000001")]
    assert str(frame["quantity"].dtype) == "decimal128(38, 12)[pyarrow]"
    assert "float" not in {dtype.kind for dtype in frame.dtypes} | {str(dtype) for dtype in frame.dtypes}
    assert frame["quantity"].sum() == Decimal("0.000000000001")
    sums = frame.groupby("currency")["total_amount"].sum()
    assert dict(sums) == {"EUR": Decimal("999999999999999.999"), "USD": Decimal("0.300")}
    assert isinstance(sums["USD"], Decimal)
    doubled = frame["total_amount"] * 2
    assert doubled[2] == Decimal("1999999999999999.998") and isinstance(doubled[2], Decimal)
    merged = frame.merge(frame[["invoice_id", "quantity"]], on="invoice_id", suffixes=("", "_again"))
    assert (merged["quantity"] == merged["quantity_again"]).all()
    assert frame.sort_values("quantity")["invoice_id"].to_list() == ["b", "c", "a"]


def test_instants_are_timestamps_in_utc_and_nulls_stay_nulls(home: Home) -> None:
    frame = pipeline.read("invoices", home=home)
    assert str(frame["closed_at"].dtype) == "timestamp[us, tz=UTC][pyarrow]"
    assert frame["closed_at"][0] == datetime(2026, 9, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert frame["closed_date"][0] == date(2026, 9, 1)
    assert frame[["closed_at", "closed_date", "is_paid"]].isna().iloc[1].all()
    assert bool(frame["is_paid"][0]) is True


def test_rows_are_chosen_by_period_and_by_values_of_columns(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(**filters: object) -> list[str]:
        found: pd.DataFrame = pipeline.read("invoices", home=home.path, **filters)  # type: ignore[arg-type]
        return sorted(found["invoice_id"])

    assert ids(period="2026-09") == ["b", "c"]
    assert ids(period="2026-09", currency="USD") == ["b"]
    assert ids(plan_id=["pro", "hobby"]) == ["a", "c"]
    assert ids(plan_id=None) == ["b"]
    assert ids(plan_id=[]) == []
    assert ids(quantity=LONGEST) == ["a"]
    assert ids(currency="' or true --") == []
    monkeypatch.setenv("BILLHOUSE_HOME", str(home.path))
    assert len(pipeline.read("invoices")) == 3


def test_an_error_names_the_tables_and_columns_that_exist(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BillhouseError, match=r"no report table 'invoces'.* Did you mean invoices\? .*invoices, plans"):
        pipeline.read("invoces", home=home)
    with pytest.raises(BillhouseError, match=r"plans has no column period.*plan_id, plan_name"):
        pipeline.read("plans", home=home, period="2026-09")
    with pytest.raises(BillhouseError, match=r"invoices has no column customer.*invoice_id, period"):
        pipeline.read("invoices", home=home, customer="ada")
    with pytest.raises(BillhouseError, match="September"):
        pipeline.read("invoices", home=home, period="September")
    with pytest.raises(BillhouseError, match="Nothing has been built"):
        pipeline.read("invoices", home=tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()


def test_the_documented_example_runs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (page,) = (PROJECT_ROOT / "docs").rglob("questions.md")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("BILLHOUSE_HOME", str(home.path))
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["invoiced"]["hobby", "EUR"] == Decimal("999999999999999.999")
    assert list(names["drafts"]["invoice_id"]) == ["b"]


def test_importing_pipeline_imports_neither_pandas_nor_duckdb() -> None:
    code = "import pipeline, sys; print(sorted({'pandas', 'duckdb', 'pyarrow', 'dbt'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
