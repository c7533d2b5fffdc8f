"""What finance gets for a period: a workbook and CSV files, safe to open and equal to the report tables."""

from __future__ import annotations

import csv
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest
from beancount import loader
from beancount.core.data import Transaction

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.exports import export_period
from pipeline.exports.table_definitions import EXPORT_TABLES, SHEETS
from pipeline.pricebook.spreadsheets import csv_text, money_format
from tests.exports.report_tables import FORMULA_NAMES, SEPTEMBER, write_reports


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "home")
    write_reports(home)
    return home


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def cells(sheet: Any) -> Iterator[Any]:
    return (cell for row in sheet.iter_rows() for cell in row if cell.value is not None)


def summary_block(sheet: Any, title: str) -> list[list[Any]]:
    """The rows under a title of the Summary, to the next empty row."""
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    start = next(place for place, row in enumerate(rows) if row[0] == title) + 2
    block = []
    for row in rows[start:]:
        if row[0] is None:
            break
        block.append(row)
    return block


def test_an_export_is_a_workbook_each_table_as_csv_and_parquet_and_a_journal(home: Home) -> None:
    result = export_period(home, SEPTEMBER)
    assert result.folder == home.exports / "2026-09"
    assert [file.name for file in result.files] == [
        "billhouse-2026-09.xlsx",
        *(f"{table.name}.csv" for table in EXPORT_TABLES),
        *(f"{table.name}.parquet" for table in EXPORT_TABLES),
        "journal.beancount",
    ]
    assert sorted(result.folder.iterdir()) == sorted([*result.files, result.folder / "statements"])
    assert result.statements == 7
    assert result.rows == {
        "invoices": 7,
        "invoice_lines": 13,
        "revenue": 5,
        "billed_usage_daily": 6,
        "credit_ledger": 2,
        "adjustments": 2,
        "receivables": 2,
        "stripe_reconciliation": 2,
        "journal": 4,
        "focus_1_2": 14,
    }
    assert result.as_dict()["totals"] == {
        "JPY": {
            "invoices": 1,
            "subtotal_amount": "22000.000",
            "credits_applied_amount": "0.000",
            "total_amount": "22000.000",
        },
        "USD": {
            "invoices": 6,
            "subtotal_amount": "900.600",
            "credits_applied_amount": "100.000",
            "total_amount": "800.600",
        },
    }


def test_csv_has_every_digit_and_instants_in_utc(home: Home) -> None:
    folder = export_period(home, SEPTEMBER).folder
    line = read_csv(folder / "invoice_lines.csv")[0]
    assert line["quantity"] == "7142.857142857143"
    assert (line["unit_amount"], line["amount"]) == ("0.000014000000", "0.100")
    assert (line["description"], line["is_adjustment"]) == ('vCPU, "on" Pro', "false")
    invoice = read_csv(folder / "invoices.csv")[0]
    assert (invoice["closed_at"], invoice["customer_email"]) == ("2026-10-03T00:00:00Z", "")
    assert read_csv(folder / "billed_usage_daily.csv")[0]["usage_date"] == "2026-09-30"
    raw = (folder / "invoices.csv").read_bytes()
    assert raw.count(b"\r\n") == 8 and "Zoë 株式会社".encode() in raw


def test_a_name_that_looks_like_a_formula_is_text(home: Home) -> None:
    folder = export_period(home, SEPTEMBER).folder
    names = [row["customer_name"] for row in read_csv(folder / "invoices.csv")]
    assert names[:6] == ["'" + name for name in FORMULA_NAMES]
    book = openpyxl.load_workbook(folder / "billhouse-2026-09.xlsx")
    written = [row[2] for row in book["Invoices"].iter_rows(min_row=2, max_row=5)]
    assert [cell.value for cell in written] == FORMULA_NAMES[:4]
    assert read_csv(folder / "adjustments.csv")[0]["memo"] == "'=too much"
    for table in SHEETS:
        assert not [cell for cell in cells(book[table.sheet]) if cell.data_type == "f"]


def test_a_negative_number_in_csv_gets_no_apostrophe() -> None:
    assert csv_text(Decimal("-1.500")) == "-1.500"
    assert csv_text(Decimal("0E-12")) == "0.000000000000"


def test_the_workbook_has_real_numbers_dates_and_currency_formats(home: Home) -> None:
    book = openpyxl.load_workbook(export_period(home, SEPTEMBER).files[0])
    assert book.sheetnames == ["Summary", "Charts", *(table.sheet for table in SHEETS)]
    invoices = book["Invoices"]
    subtotal, closed_at = invoices["J2"], invoices["O2"]
    assert (subtotal.value, subtotal.number_format) == (150.1, "[$USD] #,##0.00")
    assert (closed_at.value, closed_at.is_date) == (datetime(2026, 10, 3), True)
    yen = invoices["J8"]
    assert (yen.value, yen.number_format) == (22000, "[$JPY] #,##0")
    assert book["Usage"]["A2"].value == datetime(2026, 9, 30)
    assert book["Lines"]["R14"].value is True
    for table in SHEETS:
        assert book[table.sheet].freeze_panes == "A2"
        assert book[table.sheet].auto_filter.ref.startswith("A1:")
    assert invoices.auto_filter.ref == "A1:O8"


def test_the_summary_is_formulas_with_their_values_stored(home: Home) -> None:
    path = export_period(home, SEPTEMBER).files[0]
    values = openpyxl.load_workbook(path, data_only=True)["Summary"]
    formulas = openpyxl.load_workbook(path)["Summary"]
    assert [row[4:9] for row in summary_block(values, "Key figures")] == [
        [1, 22000, 0, 22000, 0],
        [6, 900.6, 100, 800.6, 0],
    ]
    assert [row[5:10] for row in summary_block(values, "From revenue to receivable")] == [
        [22000, 0, 0, 0, 22000],
        [900.6, -100, 0, -800.6, 0],
    ]
    by_plan = [row[:8] for row in summary_block(values, "Invoices")]
    assert by_plan[-3:] == [
        ["USD", "closed", "hobby", None, 3, 450.3, 0, 450.3],
        ["USD", "closed", "pro", None, 3, 450.3, 100, 350.3],
        ["USD total", None, None, None, 6, 900.6, 100, 800.6],
    ]
    revenue = [row[:6] for row in summary_block(values, "Revenue before credits")]
    assert revenue[-2:] == [["USD", "pro", "usage", "vcpu", 3, 0.3], ["USD total", None, None, None, 12, 900.6]]
    assert summary_block(values, "Usage by day")[0][:6] == ["USD", datetime(2026, 9, 30), None, None, 6, 0.6]
    assert summary_block(values, "Credit roll-forward")[-1][4:10] == [2, 30, 107.5, 100, 10, 27.5]
    assert [row[1] for row in summary_block(values, "Receivables by age")] == ["1_to_30_days", "not_due", None]
    assert [row[1] for row in summary_block(values, "Reconciliation with Stripe")] == ["agrees", "missing_in_stripe", None]
    total = summary_block(formulas, "Invoices")[-1]
    assert (total[4], total[7]) == ("=SUM(E20:E21)", "=SUM(H20:H21)")
    usd = summary_block(formulas, "Key figures")[1]
    assert usd[4].startswith("=COUNTIFS(Invoices!$F$2:$F$8,$A")
    assert usd[5].startswith("=SUMIFS(Invoices!$J$2:$J$8,Invoices!$F$2:$F$8,$A")
    assert "1 of 7 invoices are drafts" in formulas["A4"].value


def test_the_charts_show_revenue_by_month_plan_and_meter_and_the_largest_customers(home: Home) -> None:
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute(
            "insert into invoice_lines select * replace ('INV-2026-08-1' as invoice_id, '2026-08' as period, 7 as amount)"
            " from invoice_lines where line_id = 'INV-2026-09-1-b'"
        )
    sheet = openpyxl.load_workbook(export_period(home, SEPTEMBER).files[0])["Charts"]
    rows = [(first.value, second.value) for first, second in sheet.iter_rows(max_col=2)]
    titles = [label for label, _ in rows if label and label.endswith(", USD")]
    assert titles == [
        "Revenue by month, 12 months to 2026-09, USD",
        "Revenue by month and plan, 12 months to 2026-09, USD",
        "Revenue by plan, 2026-09, USD",
        "Revenue by meter and kind of line, 2026-09, USD",
        "The 10 largest customers, 2026-09, USD",
    ]
    assert len(sheet._charts) == 10, "as many for yen"
    assert {(chart.y_axis.scaling.min, chart.x_axis.scaling.min) for chart in sheet._charts} == {(0, None)}
    first = rows.index((titles[0], None))
    assert rows[first + 2 : first + 4] == [("2026-08", 7), ("2026-09", 900.6)]
    meters = rows.index((titles[3], None))
    assert rows[meters + 2 : meters + 4] == [("Flat fees", 900), ("vCPU", 0.6)]
    customers = [label for label, _ in rows[rows.index((titles[4], None)) + 2 :] if label]
    assert customers[:4] == FORMULA_NAMES[:4]
    assert not [cell for cell in cells(sheet) if cell.data_type == "f"], "a name is never a formula"


def test_one_chart_stacks_the_plans_of_each_month(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute(
            "insert into invoice_lines select * replace ('INV-2026-08-1' as invoice_id, '2026-08' as period, 'pro' as plan_id,"
            " 7 as amount) from invoice_lines where line_id = 'INV-2026-09-1-b';"
            "insert into invoice_lines select * replace ('2025-09' as period) from invoice_lines where period = '2026-08'"
        )
    sheet = openpyxl.load_workbook(export_period(home, SEPTEMBER).files[0])["Charts"]
    rows = [tuple(cell.value for cell in row) for row in sheet.iter_rows(max_col=3)]
    top = rows.index(("Revenue by month and plan, 12 months to 2026-09, USD", None, None))
    assert rows[top + 1 : top + 7] == [
        ("Month", "Before credit", "Plan"),
        ("2026-08", 7, "Pro"),
        ("2026-09", 450.3, "Pro"),
        ("2026-08", 0, "hobby"),
        ("2026-09", 450.3, "hobby"),
        (None, None, None),
    ]
    (stacked,) = (chart for chart in sheet._charts if chart.grouping == "stacked" and len(chart.ser) == 2)
    assert [series.tx.strRef.f for series in stacked.ser] == [f"Charts!$C${top + 3}", f"Charts!$C${top + 5}"]
    assert [series.val.numRef.f for series in stacked.ser] == [
        f"Charts!$B${top + 3}:$B${top + 4}",
        f"Charts!$B${top + 5}:$B${top + 6}",
    ]
    monkeypatch.setattr("pipeline.exports.charts_sheet._PLAN_COLORS", ("#000000",))
    sheet = openpyxl.load_workbook(export_period(home, SEPTEMBER).files[0])["Charts"]
    rows = [tuple(cell.value for cell in row) for row in sheet.iter_rows(max_col=3)]
    assert rows[top + 2 : top + 5] == [("2026-08", 7, "Other plans"), ("2026-09", 900.6, "Other plans"), (None, None, None)]


def test_a_table_too_long_for_a_sheet_is_only_in_its_csv_file(home: Home) -> None:
    result = export_period(home, SEPTEMBER, rows_per_sheet=10)
    book = openpyxl.load_workbook(result.files[0])
    assert "Lines" not in book.sheetnames
    assert "Lines: 13 rows are too many for a sheet. They are in invoice_lines.csv." in [
        cell.value for cell in cells(book["Summary"])
    ]
    revenue = summary_block(book["Summary"], "Revenue before credits")
    assert revenue[-2][:6] == ["USD", "pro", "usage", "vcpu", 3, 0.3]
    assert len(read_csv(result.folder / "invoice_lines.csv")) == 13


def test_parquet_has_the_rows_of_the_csv_with_their_types(home: Home) -> None:
    folder = export_period(home, SEPTEMBER).folder
    for table in EXPORT_TABLES:
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'America/New_York'")
            found = connection.execute(f"from read_parquet('{folder}/{table.name}.parquet')").fetchall()
        written = [[csv_text(value) for value in row] for row in found]
        assert written == [list(row.values()) for row in read_csv(folder / f"{table.name}.csv")], table.name


def test_a_closed_months_tables_do_not_change_with_stripe(home: Home) -> None:
    before = {file.name: file.read_bytes() for file in export_period(home, SEPTEMBER).files}
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute("update invoices set status = 'paid', stripe_invoice_id = 'in_x' where status <> 'draft'")
        reports.execute("update receivables set open_amount = 0, paid_amount = total_amount, age = 'settled'")
    after = {file.name: file.read_bytes() for file in export_period(home, SEPTEMBER).files}
    changed = {name.partition(".")[0] for name in before if before[name] != after[name]}
    assert changed == {"billhouse-2026-09", "receivables"}


def test_the_focus_file_sums_to_the_invoices_and_has_the_columns_that_focus_requires(home: Home) -> None:
    folder = export_period(home, SEPTEMBER).folder
    rows = read_csv(folder / "focus_1_2.csv")
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["BillingCurrency"]] = sums.get(row["BillingCurrency"], Decimal(0)) + Decimal(row["BilledCost"])
    assert sums == {"JPY": Decimal("22000"), "USD": Decimal("800.6")}
    assert list(rows[0]) == sorted(rows[0])
    never_null = set(rows[0]) - {"BillingAccountName", "ChargeClass", "ConsumedQuantity", "ConsumedUnit", "PricingQuantity"}
    for row in rows:
        assert all(row[column] for column in never_null - {"PricingUnit", "SkuId", "SkuPriceId"}), row
        assert row["ChargeCategory"] in {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
        assert row["ChargeClass"] in {"", "Correction"}
        assert row["ChargeFrequency"] in {"One-Time", "Recurring", "Usage-Based"}
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z")
        assert bool(row["ConsumedQuantity"]) == (row["ChargeCategory"] == "Usage") == bool(row["ConsumedUnit"])
        assert bool(row["PricingQuantity"]) == (row["ChargeCategory"] in {"Usage", "Purchase"}) == bool(row["PricingUnit"])


def test_beancount_accepts_the_journal(home: Home) -> None:
    path = export_period(home, SEPTEMBER).folder / "journal.beancount"
    entries, errors, options = loader.load_file(str(path))
    assert errors == []
    assert options["operating_currency"] == ["USD"]
    found = [entry for entry in entries if isinstance(entry, Transaction)]
    assert [(entry.flag, entry.payee) for entry in found] == [("*", None), ("*", 'c"1'), ("!", "c1")]
    assert {posting.account: posting.units and posting.units.number for posting in found[0].postings} == {
        "Assets:Receivable": 40,
        "Liabilities:CustomerCredit": -30,
        "Equity:OpeningBalances": -10,
    }
    assert found[2].postings[1].account == "Income:Usage:Agent-runs"
    wrong = path.with_name("wrong.beancount")
    wrong.write_text(path.read_text().replace("-107.5", "-107.4"))
    assert loader.load_file(str(wrong))[1], "a journal that does not balance is refused"


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice (soffice) is not on this machine")
def test_libreoffice_opens_the_workbook_and_calculates_the_same_values(home: Home, tmp_path: Path) -> None:
    path = export_period(home, SEPTEMBER).files[0]
    settings = tmp_path / "office" / "user" / "registrymodifications.xcu"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry">'
        '<item oor:path="/org.openoffice.Office.Calc/Formula/Load"><prop oor:name="OOXMLRecalcMode" oor:op="fuse">'
        "<value>0</value></prop></item></oor:items>"
    )
    converted = subprocess.run(
        [
            "soffice",
            f"-env:UserInstallation=file://{tmp_path}/office",
            "--headless",
            *("--convert-to", "xlsx"),
            *("--outdir", str(tmp_path / "out"), str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    warnings = [line for line in converted.stderr.splitlines() if "javaldx" not in line]  # Java is optional
    assert warnings == []
    converted_book = openpyxl.load_workbook(tmp_path / "out" / path.name, data_only=True)
    assert len(converted_book["Charts"]._charts) == 10, "LibreOffice has read and written every chart"
    calculated = converted_book["Summary"]
    stored = openpyxl.load_workbook(path, data_only=True)["Summary"]
    formulas = openpyxl.load_workbook(path)["Summary"]
    compared = 0
    for cell in cells(formulas):
        if cell.data_type == "f":
            assert calculated[cell.coordinate].value == pytest.approx(stored[cell.coordinate].value), cell.coordinate
            compared += 1
    assert compared > 60


def test_exporting_twice_gives_the_same_bytes(home: Home, tmp_path: Path) -> None:
    first = all_bytes(export_period(home, SEPTEMBER).folder)
    other = Home.open(tmp_path / "other")
    write_reports(other)
    for again in (home, other):
        assert all_bytes(export_period(again, SEPTEMBER).folder) == first


def test_exports_are_for_their_owner_alone(home: Home) -> None:
    result = export_period(home, SEPTEMBER)
    assert stat.S_IMODE(result.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in result.files} == {0o600}
    assert list(home.exports.iterdir()) == [result.folder]


def test_a_failed_export_leaves_the_last_one_unchanged(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.read_bytes() for file in export_period(home, SEPTEMBER).files}
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("update billing.invoices set total_amount = 1")

    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.exports.workbook.PeriodWorkbook.close", fail)
    with pytest.raises(BillhouseError, match="The disk is full"):
        export_period(home, SEPTEMBER)
    after = {file: file.read_bytes() for file in (home.exports / "2026-09").iterdir() if file.is_file()}
    assert after == before
    assert [folder.name for folder in home.exports.iterdir()] == ["2026-09"]


def test_an_error_for_a_period_without_invoices_lists_the_periods_that_have_some(home: Home) -> None:
    with pytest.raises(BillhouseError, match=r"2026-08 has no invoices\. Periods with invoices: 2026-09, 2026-10\."):
        export_period(home, BillingPeriod(2026, 8))
    assert not (home.exports / "2026-08").exists()


def test_an_error_for_missing_or_unreadable_reports_says_to_build(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    with pytest.raises(BillhouseError, match="Run `billhouse build` first"):
        export_period(home, SEPTEMBER)
    home.analysts_file.write_text("not a database")
    with pytest.raises(BillhouseError, match="cannot be read"):
        export_period(home, SEPTEMBER)
    home.analysts_file.unlink()
    duckdb.connect(str(home.analysts_file)).close()
    with pytest.raises(BillhouseError, match="Run `billhouse build` to rebuild them"):
        export_period(home, SEPTEMBER)


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("USD", "[$USD] #,##0.00"), ("JPY", "[$JPY] #,##0"), ("KWD", "[$KWD] #,##0.000"), ('X"]', "#,##0.00")],
)
def test_amounts_are_shown_with_the_currencys_decimals(currency: str, expected: str) -> None:
    assert money_format(currency) == expected
