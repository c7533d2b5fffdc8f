"""The statement of an invoice: what it shows, in English and German, as HTML and PDF; exact, and safe with hostile names."""

from __future__ import annotations

import re
import shutil
import stat
import string
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from pipeline.core.home import Home
from pipeline.core.languages import LANGUAGES
from pipeline.core.periods import BillingPeriod
from pipeline.exports import export_period
from pipeline.exports.statements.arithmetic import LinePrices, steps_of
from pipeline.exports.statements.changes import difference
from pipeline.exports.statements.formats import Formats
from pipeline.exports.statements.texts import TEXTS, Texts
from tests.exports.report_tables import SEPTEMBER, write_reports
from tests.orchestration.serving import CHROMIUM, CHROMIUM_ARGUMENTS

HOSTILE = '= Head *b* #image("/etc/passwd") $x$ <script>alert(1)</script> שלום مرحبا 株式会社 😀 \u202egnp.exe ' + "W" * 200
ENGLISH, GERMAN = Formats(Texts("en")), Formats(Texts("de"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "home")
    write_reports(home)
    return home


def change(home: Home, sql: str, *values: object) -> None:
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute(sql, list(values))


def statements(home: Home, period: BillingPeriod = SEPTEMBER) -> Path:
    return export_period(home, period).folder / "statements"


def text_of(page: Path) -> str:
    """The text of a page without its markup, with single spaces, which may break."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text().partition("</style>")[2]).split()).replace("\u2011", "-")


def test_a_statement_shows_its_invoice_and_a_name_is_never_markup(home: Home) -> None:
    change(home, "update invoices set customer_name = '<script>alert(1)</script>' where customer_id = 'c1'")
    folder = statements(home)
    assert len(list(folder.glob("*.html"))) == len(list(folder.glob("*.pdf"))) == 7
    assert {stat.S_IMODE(page.stat().st_mode) for page in folder.iterdir()} == {0o600}
    page = (folder / "INV-2026-09-1.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for text in (
        "Statement for September 2026",
        "September 1, 2026 to September 30, 2026 (UTC)",
        "Plan: Pro",
        "USD 150.10",
        "USD -100.00",
        "USD 50.10",
        "USD 20.00",
        "vCPU, Pro",
        "Sep\xa030: USD 0.10",
        "<td>Sep\xa030,\xa02026</td>",
        "vCPU 1.98\xa0vCPU\u2011hours",
        "This statement explains invoice INV-2026-09-1; it is not a tax invoice.",
        "Sep\xa01,\xa02026 to Sep\xa030,\xa02026",
        "Promotional credit",
        "USD 100.00 granted, pays for usage only, expires on",
        "2.0 vCPU-hours",
        "7,142.857142857143 vCPU-seconds",
        "30 days",
        "2,592,000 seconds",
        "Flat fee, Pro",
        "expires on January 1, 2027",
        "There is no invoice for August 2026 to compare with.",
        "How this is calculated",
        "up to 1,000,000: 7,142.857142857143 vCPU-seconds × USD 0.000014",
        "USD 150.00 a month, for 2,592,000 of the month&#39;s 2,592,000 seconds",
    ):
        assert text in page, text
    assert "://" not in page, "a page loads nothing"
    yen = (folder / "INV-2026-09-9.html").read_text()
    assert "JPY 22,000" in yen and "Draft" in yen and "Corrections of earlier invoices" in yen
    assert "Usage by day" not in yen


def test_a_statement_is_in_the_customers_language_and_number_format(home: Home) -> None:
    change(home, "insert into customers values ('c1', 'de'), ('c2', 'en'), ('c3', null)")
    folder = statements(home)
    german = text_of(folder / "INV-2026-09-1.html")
    for text in (
        "Abrechnung für September 2026",
        "1. September 2026 bis 30. September 2026 (UTC)",
        "Tarif: Pro",
        "150,10 USD",
        "-100,00 USD",
        "2,0 vCPU-Stunden 7.142,857142857143 vCPU-Sekunden",
        "30 Tage 2.592.000 Sekunden",
        "30. Sept. 2026",
        "Aktionsguthaben",
        "In diesem Monat verwendet Insgesamt verwendet Übrig",
        "gilt nur für Nutzung",
        "1. Sept. 2026 bis 30. Sept. 2026",
        "sie ist keine Rechnung",
        "verfällt am 1. Januar 2027",
        "So wird gerechnet",
        "bis 1.000.000: 7.142,857142857143 vCPU-Sekunden × 0,000014 USD",
    ):
        assert text in german, text
    assert not re.search(r"\b(Charges|Total|Credit|Usage|Subtotal|seconds|hours)\b", german)
    for other in ("2", "3"):
        assert "Statement for September 2026" in text_of(folder / f"INV-2026-09-{other}.html")


def test_a_statement_names_the_issuer_that_the_settings_name(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    change(home, "insert into customers values ('c1', 'de')")
    without = statements(home)
    assert "Tax ID" not in text_of(without / "INV-2026-09-2.html")
    assert '<div class="issuer">' not in (without / "INV-2026-09-2.html").read_text()
    pdf_without = (without / "INV-2026-09-2.pdf").read_bytes()
    monkeypatch.setenv("BILLHOUSE_ISSUER_NAME", " Muster & <b>Söhne</b> GmbH ")
    monkeypatch.setenv("BILLHOUSE_ISSUER_ADDRESS", 'Musterstraße 1;  10115 Berlin;; #image("x") ')
    monkeypatch.setenv("BILLHOUSE_ISSUER_TAX_ID", "DE123456789")
    folder = statements(home)
    page = (folder / "INV-2026-09-2.html").read_text()
    assert "<bdi>Muster &amp; &lt;b&gt;Söhne&lt;/b&gt; GmbH</bdi>" in page
    for line in ("Musterstraße 1", "10115 Berlin", "#image(&#34;x&#34;)", "Tax ID: DE123456789"):
        assert f"<p><bdi>{line}</bdi></p>" in page, line
    assert page.count("<p><bdi>") == 4, "an empty line of the address is left out"
    assert "Steuernummer / USt-IdNr.: DE123456789" in text_of(folder / "INV-2026-09-1.html")
    assert (folder / "INV-2026-09-2.pdf").read_bytes() != pdf_without
    monkeypatch.delenv("BILLHOUSE_ISSUER_NAME")
    monkeypatch.delenv("BILLHOUSE_ISSUER_ADDRESS")
    only_tax_id = (statements(home) / "INV-2026-09-2.html").read_text()
    assert only_tax_id.count("<bdi>") == page.count("<bdi>") - 4 and "Tax ID: DE123456789" in only_tax_id


@pytest.mark.parametrize(
    ("status", "due_at", "is_shown"),
    [
        ("open", "2026-11-02T01:00:00+05:00", True),  # November 1 in UTC
        ("paid", "2026-11-01T23:59:59Z", True),
        ("draft", "2026-11-01T12:00:00Z", False),  # Stripe sets it when it finalizes the invoice
        ("void", "2026-11-01T12:00:00Z", False),
        ("published", None, False),  # not mirrored yet
    ],
)
def test_the_due_date_is_the_one_that_stripe_says(home: Home, status: str, due_at: str | None, is_shown: bool) -> None:
    change(home, "insert into customers values ('c3', 'de')")
    change(home, "update receivables set status = ?, due_at = ? where invoice_id = 'INV-2026-09-2'", status, due_at)
    change(
        home,
        "insert into receivables select * replace ('INV-2026-09-3' as invoice_id) from receivables"
        " where stripe_invoice_id = 'in_2'",
    )
    folder = export_period(home, SEPTEMBER, with_pdf=False).folder / "statements"
    assert ("Due date: November 1, 2026" in text_of(folder / "INV-2026-09-2.html")) is is_shown
    assert ("Fällig am 1.\xa0November 2026" in (folder / "INV-2026-09-3.html").read_text()) is is_shown
    assert ("due-date" in (folder / "INV-2026-09-2.html").read_text().partition("</style>")[2]) is is_shown


def test_a_draft_and_an_invoice_that_is_not_in_stripe_have_no_due_date(home: Home) -> None:
    change(
        home,
        "insert into receivables select * replace ('INV-2026-09-9' as invoice_id, 'open' as status, timestamptz"
        " '2026-11-01T12:00:00Z' as due_at) from receivables where stripe_invoice_id = 'in_2'",
    )
    folder = export_period(home, SEPTEMBER, with_pdf=False).folder / "statements"
    for invoice in ("INV-2026-09-9", "INV-2026-09-1"):
        assert "Due date" not in text_of(folder / f"{invoice}.html")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext on this machine: apt-get install poppler-utils")
def test_the_pdf_has_the_issuer_and_the_due_date_in_both_languages(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ISSUER_NAME", "Muster GmbH")
    monkeypatch.setenv("BILLHOUSE_ISSUER_ADDRESS", "Musterstraße 1; 10115 Berlin")
    monkeypatch.setenv("BILLHOUSE_ISSUER_TAX_ID", "DE123456789")
    change(home, "update receivables set status = 'open', due_at = '2026-11-01T12:00:00Z'")
    for language, tax_id, due in (
        ("en", "Tax ID: DE123456789", "Due date: November 1, 2026"),
        ("de", "Steuernummer / USt-IdNr.: DE123456789", "Fällig am 1. November 2026"),
    ):
        change(home, "delete from customers")
        change(home, "insert into customers values ('c2', ?)", language)
        pdf = statements(home) / "INV-2026-09-2.pdf"
        shown = " ".join(subprocess.run(["pdftotext", str(pdf), "-"], capture_output=True, text=True, check=True).stdout.split())
        for text in ("Muster GmbH", "Musterstraße 1 10115 Berlin", tax_id, due):
            assert text in shown, text


def test_a_fee_of_a_part_of_the_month_shows_its_days_if_they_are_certain(home: Home) -> None:
    change(home, "update invoice_lines set quantity = 86400 * 11 where invoice_id = 'INV-2026-09-1' and line_type = 'fee'")
    change(home, "insert into subscriptions values ('c1', 'pro', false, '2026-09-20T00:00:00Z', null)")
    page = statements(home) / "INV-2026-09-1.html"
    assert "Sep 20, 2026 to Sep 30, 2026" in text_of(page)
    assert "g&#34;1" not in page.read_text(), "a grant's id is not for customers"
    change(home, "insert into subscriptions values ('c1', 'pro', false, '2026-09-02T00:00:00Z', '2026-09-03T00:00:00Z')")
    assert "Sep 20, 2026 to" not in text_of(statements(home) / "INV-2026-09-1.html")


def test_every_text_is_in_every_language_with_the_same_values() -> None:
    for key, texts in TEXTS.items():
        assert set(texts) == set(LANGUAGES), key
        assert all(text.strip() for text in texts.values()), key
        values = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts.values()]
        assert all(names == values[0] for names in values), key


def test_numbers_amounts_and_quantities_are_shown_in_full_and_in_the_units_that_people_use() -> None:
    big = Decimal("12345678901234567890123456.123456789012")
    assert ENGLISH.number(big) == "12,345,678,901,234,567,890,123,456.123456789012"
    assert GERMAN.number(big) == "12.345.678.901.234.567.890.123.456,123456789012"
    assert ENGLISH.quantity(Decimal(201015720), "vCPU-second") == "55,837.7 vCPU-hours"
    assert GERMAN.quantity(Decimal(201015720), "vCPU-second") == "55.837,7 vCPU-Stunden"
    assert ENGLISH.quantity(Decimal(12345678), "token") == "12.3 M tokens"
    assert GERMAN.quantity(Decimal(12345678), "token") == "12,3 Mio. Token"
    assert ENGLISH.quantity(Decimal(1800), "GB-second") == "1,800 GB-seconds"
    assert (ENGLISH.hours(Decimal(1818), "GB-second"), GERMAN.hours(Decimal(3), "token")) == ("0.51 GB-hours", "3 Token")
    assert (ENGLISH.quantity(Decimal(3), "image"), GERMAN.quantity(Decimal(3), "image")) == ("3 images", "3 image")
    assert (ENGLISH.money(Decimal("-1234.5"), "USD"), GERMAN.money(Decimal("-1234.5"), "USD")) == (
        "USD -1,234.50",
        "-1.234,50 USD",
    )
    assert (ENGLISH.money(Decimal(22000), "JPY"), ENGLISH.signed_money(Decimal("0.6"), "KWD")) == ("JPY 22,000", "KWD +0.600")
    assert (ENGLISH.percent(Decimal("0.125")), GERMAN.percent(Decimal("0.125"))) == ("12.5%", "12,5\xa0%")
    day = Decimal(86400)
    assert (ENGLISH.quantity(day, "second"), GERMAN.quantity(day, "second")) == ("1 day", "1 Tag")
    assert (ENGLISH.quantity(2 * day, "second"), GERMAN.quantity(day / 2, "second")) == ("2 days", "0,5 Tage")
    assert (ENGLISH.exact(Decimal(1), "second"), GERMAN.exact(Decimal(1), "second")) == ("1 second", "1 Sekunde")
    assert (ENGLISH.short_day(date(2026, 9, 3)), GERMAN.day(date(2026, 9, 3))) == (
        "Sep\xa03",
        "3.\xa0September 2026",
    )


def test_what_changed_names_each_meter_fee_and_credit_and_sums_to_the_difference(home: Home) -> None:
    change(
        home,
        "insert into invoices values ('INV-2026-08-1', 'c1', '2026-08', 'USD', 'closed', 'pro', 'none', 160, 0, 0, 160, 2, 'c',"
        " null, null, null, '2026-09-03T00:00:00Z', null)",
    )
    change(
        home,
        "insert into rates values ('cheap', 'per_unit', 0.00001, null, 0);"
        "insert into invoice_lines values ('INV-2026-08-1', 'x', 1, 'c1', '2026-08', '2026-08', 'usage', 'pro', 'vcpu', 'cheap',"
        " 1000000, 'vCPU-second', 0.00001, 1000000, 10, 'USD', 'vCPU', false),"
        " ('INV-2026-08-1', 'z', 2, 'c1', '2026-08', '2026-08', 'fee', 'pro', null, 'f', 2678400, 'second', 150, 2678400, 150,"
        " 'USD', 'Fee', false)",
    )
    shown = text_of(statements(home) / "INV-2026-09-1.html")
    # 10.00 at 0.00001: 7,142.86 units are worth 0.07, so 9.93 less; the price, now 0.000014, adds the rest to -9.90.
    assert "Total for August 2026 USD 160.00 Credit used from USD 0.00 to USD -100.00 USD -100.00 vCPU: less used" in shown
    assert "vCPU: less used from 277.8 vCPU-hours to 2.0 vCPU-hours USD -9.93" in shown
    assert "vCPU: higher price on average from USD 0.036 to USD 0.0504 per vCPU-hour USD +0.03" in shown
    assert "Total for September 2026 USD 50.10" in shown


_AMOUNTS = st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents).scaleb(-2))
_QUANTITIES = st.integers(0, 10**15).map(lambda units: Decimal(units).scaleb(-6))


@st.composite
def _invoices(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = [
        {
            "line_type": draw(st.sampled_from(("usage", "usage", "usage", "fee", "discount", "commitment", "carry_forward"))),
            "is_adjustment": draw(st.booleans()),
            "meter_id": draw(st.sampled_from(("vcpu", "memory"))),
            "unit": "second",
            "rate_id": draw(st.sampled_from(("a", "b", "unknown"))),
            "billable_quantity": draw(_QUANTITIES),
            "amount": draw(_AMOUNTS),
        }
        for _ in range(draw(st.integers(0, 6)))
    ]
    credit, carried = draw(_AMOUNTS), draw(_AMOUNTS)
    total = sum((line["amount"] for line in lines), Decimal(0)) - credit - carried
    return {"credits_applied_amount": credit, "carried_forward_amount": carried, "total_amount": total}, lines


@settings(max_examples=200, deadline=None)
@given(_invoices(), _invoices())
def test_the_effects_of_any_two_invoices_sum_exactly_to_the_difference_of_their_totals(
    before: tuple[dict[str, Any], list[dict[str, Any]]], after: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    compared = difference(*before, *after, {"a": 1, "b": 2}, 2)
    assert sum((effect.amount for effect in compared.effects), Decimal(0)) == after[0]["total_amount"] - before[0]["total_amount"]
    assert all(effect.amount == round(effect.amount, 2) for effect in compared.effects), "whole cents"


def test_where_the_price_list_is_the_same_the_whole_difference_is_due_to_the_quantity() -> None:
    line: dict[str, Any] = {"line_type": "usage", "is_adjustment": False, "meter_id": "vcpu", "unit": "vCPU-second"}
    invoice: dict[str, Any] = {"credits_applied_amount": Decimal(0), "carried_forward_amount": Decimal(0)}
    # 3 x 0.005 is 0.015, rounded 0.02; 6 x 0.005 is 0.03: at an average of 0.0066 a price effect of -0.01 would appear.
    old = [{**line, "rate_id": "hobby", "billable_quantity": Decimal(3), "amount": Decimal("0.02")}]
    new = [{**line, "rate_id": "pro", "billable_quantity": Decimal(6), "amount": Decimal("0.03")}]
    totals = [{**invoice, "total_amount": lines[0]["amount"]} for lines in (old, new)]
    compared = difference(totals[0], old, totals[1], new, {"hobby": "0.005", "pro": "0.005"}, 2)
    assert [(effect.kind, effect.amount) for effect in compared.effects] == [("quantity", Decimal("0.01"))]


@pytest.mark.parametrize(
    ("amounts", "effects"),
    [
        # Three times 0.04 is 0.12; the lines were rounded from 0.0217 and 0.0217 each.
        (("0.02", "0.02", "0.06", "0.07"), [("quantity", "0.09")]),
        # More of it is now used at the lower of the two prices: not rounding.
        (("9.00", "1.00", "3.00", "9.00"), [("quantity", "20.00"), ("price", "-18.00")]),
    ],
)
def test_where_two_price_lists_are_the_same_rounding_is_no_price_effect(
    amounts: tuple[str, ...], effects: list[tuple[str, str]]
) -> None:
    invoice: dict[str, Any] = {"credits_applied_amount": Decimal(0), "carried_forward_amount": Decimal(0)}
    line: dict[str, Any] = {"line_type": "usage", "is_adjustment": False, "meter_id": "vcpu", "unit": "vCPU-second"}
    lines = [
        {**line, "rate_id": rate_id, "billable_quantity": Decimal(quantity), "amount": Decimal(amount)}
        for rate_id, quantity, amount in zip("abab", (10, 10, 30, 30), amounts, strict=True)
    ]
    old, new = lines[:2], lines[2:]
    totals = [{**invoice, "total_amount": sum(line["amount"] for line in lines)} for lines in (old, new)]
    compared = difference(totals[0], old, totals[1], new, {"a": 1, "b": 2}, 2)
    assert [(effect.kind, str(effect.amount)) for effect in compared.effects] == effects


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (
            "of which 4 above the allowance",
            "10 GB-seconds used, of which 4 GB-seconds above the free 10 GB of storage are charged",
        ),
        ("of which 4 outside the trial and above the allowance", "10 GB-seconds used, of which 4 GB-seconds are charged"),
    ],
)
def test_usage_in_a_trial_is_not_said_to_be_within_the_allowance(description: str, text: str) -> None:
    line = {
        "line_type": "usage",
        "is_adjustment": False,
        "meter_id": "storage",
        "unit": "GB-second",
        "currency": "USD",
        "quantity": Decimal(10),
        "billable_quantity": Decimal(4),
        "unit_amount": Decimal(1),
        "amount": Decimal(4),
        "description": description,
    }
    rate = {"charge_model": "per_unit", "allowance_level": Decimal(10)}
    assert steps_of(line, LinePrices(rate, [], Decimal(0), "Pro", 2), ENGLISH)[0].text == text


GRADUATED = (("0", "10", "10", "2"), ("10", "20", "5", "3"), ("20", None, "5", "3"))


@pytest.mark.parametrize(
    ("model", "charged", "amount", "steps"),
    [
        ("per_unit", "1000000.5", "14.00", ["1,000,000.5 tokens × USD 0.000014"]),
        ("per_unit", "1000000.5", "15.00", ["by the prices of Pro"]),  # the price was corrected since: no false equation
        ("package", "1000001", "28.00", ["2 packages of 1,000,000 tokens × USD 14"]),
        ("graduated", "0", "2.00", ["up to 10: 0 tokens × USD 10 + flat USD 2.00"]),
        (
            "graduated",
            "11",
            "110.00",
            ["up to 10: 10 tokens × USD 10 + flat USD 2.00", "above 10, up to 20: 1 token × USD 5 + flat USD 3.00"],
        ),
        ("volume", "10", "102.00", ["up to 10: 10 tokens × USD 10 + flat USD 2.00"]),
        ("volume", "21", "108.00", ["above 20: 21 tokens × USD 5 + flat USD 3.00"]),
    ],
)
def test_how_a_line_is_calculated_is_an_equation_that_gives_its_amount(
    model: str, charged: str, amount: str, steps: list[str]
) -> None:
    price = {"per_unit": Decimal("0.000014"), "package": Decimal(14)}.get(model)
    names = ("above_quantity", "up_to_quantity", "unit_amount", "flat_amount")
    tiers = [{name: value and Decimal(value) for name, value in zip(names, tier, strict=True)} for tier in GRADUATED]
    rate = {"charge_model": model, "package_size": Decimal(1_000_000), "allowance_level": Decimal(0)}
    line = {
        "line_type": "usage",
        "is_adjustment": False,
        "unit": "token",
        "currency": "USD",
        "quantity": Decimal(charged),
        "billable_quantity": Decimal(charged),
        "unit_amount": price,
        "amount": Decimal(amount),
    }
    found = steps_of(line, LinePrices(rate, tiers, Decimal(0), "Pro", 2), ENGLISH)
    assert [step.text for step in found] == steps


@pytest.fixture
def hostile(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The statement of a customer whose texts are hostile in every markup that is used, and so are the issuer's."""
    for name in ("NAME", "ADDRESS", "TAX_ID"):
        monkeypatch.setenv(f"BILLHOUSE_ISSUER_{name}", HOSTILE)
    change(home, "update invoices set customer_name = ?, customer_email = ? where customer_id = 'c1'", HOSTILE, HOSTILE)
    change(home, "update credit_ledger set source = ? where customer_id = 'c1'", HOSTILE)
    change(home, "update credit_applications set source = ?", HOSTILE)
    change(home, "update plans set plan_name = ?", HOSTILE)
    return statements(home) / "INV-2026-09-1.html"


def test_hostile_names_are_text_in_the_page_and_in_the_pdf(hostile: Path) -> None:
    page, pdf = hostile.read_text(), hostile.with_suffix(".pdf").read_bytes()
    assert "<script" not in page and "<img" not in page and "\u202e" not in page
    assert "&lt;script&gt;" in page and "株式会社" in page and "\\u202egnp.exe" in page
    assert pdf.startswith(b"%PDF-")
    assert b"/Subtype /Image" not in pdf and b"/URI" not in pdf and b"/JavaScript" not in pdf
    assert b"/CreationDate" not in pdf and b"/ModDate" not in pdf


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
@pytest.mark.slow
def test_a_page_fits_a_phone_and_asks_for_nothing(hostile: Path) -> None:
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: requests.append(request.url))
        for file in (hostile, hostile.with_name("INV-2026-09-9.html")):
            page.goto(file.as_uri())
            for width in (390, 820, 1280):
                page.set_viewport_size({"width": width, "height": 844})
                assert page.evaluate("document.documentElement.scrollWidth") == width, file.name
        browser.close()
    assert requests == [hostile.as_uri(), hostile.with_name("INV-2026-09-9.html").as_uri()]


def test_without_pdf_only_pages_are_written(home: Home) -> None:
    folder = export_period(home, SEPTEMBER, with_pdf=False).folder / "statements"
    assert {file.suffix for file in folder.iterdir()} == {".html"}
