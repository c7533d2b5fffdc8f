"""Amounts in Stripe's units for every kind of currency; taxes, balances and discounts that were set in Stripe."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.approvals import approve
from pipeline.ledger.close import close_period
from pipeline.ledger.closed_invoices import ClosedInvoice
from pipeline.ledger.price_check import check_prices
from pipeline.pricebook.stripe_currencies import from_stripe, to_stripe
from pipeline.stripe.client import local_emulator
from pipeline.stripe.mirror import sync_stripe
from pipeline.stripe.publish import publish_period
from pipeline.stripe.publisher import InvoicePublisher
from pipeline.stripe.requests import invoice_request, line_requests
from pipeline.warehouse.build import build
from tests.stripe.subscriptions import project_with
from tests.support import copy_home, query, write_jsonl


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("12.34", "USD", 1234),
        ("22000.000", "JPY", 22000),  # no digits
        ("27200", "ISK", 2720000),  # no digits; Stripe requires two that are 00
        ("730000", "UGX", 73000000),
        ("60.60", "KWD", 60600),  # three digits; Stripe requires the last to be 0
        ("-1.50", "EUR", -150),
        ("10.55", "HUF", 1055),  # has no digits only in payouts, which Billhouse does not make
    ],
)
def test_an_amount_is_converted_to_stripes_units_and_back(amount: str, currency: str, written: int) -> None:
    assert to_stripe(Decimal(amount), currency) == written
    assert from_stripe(written, currency.lower()) == Decimal(amount)


@pytest.mark.parametrize(("amount", "currency"), [("60.603", "KWD"), ("27200.5", "ISK"), ("0.005", "USD"), ("1.5", "JPY")])
def test_an_amount_that_stripe_cannot_represent_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(BillhouseError, match="in steps of"):
        to_stripe(Decimal(amount), currency)


def test_a_currency_that_stripe_does_not_support_is_refused() -> None:
    with pytest.raises(BillhouseError, match="Stripe does not support IRR"):
        to_stripe(Decimal(1), "IRR")


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("1234.5", "USD", "1,234.50 USD"),
        ("-1234.500", "EUR", "-1,234.50 EUR"),
        ("22000.000", "JPY", "22,000 JPY"),
        ("27200.000", "ISK", "27,200 ISK"),
        ("60.603", "KWD", "60.603 KWD"),
        ("60.6", "KWD", "60.600 KWD"),
        ("0.125", "USD", "0.125 USD"),  # not rounded
    ],
)
def test_an_amount_is_formatted_with_the_digits_of_its_currency(amount: str, currency: str, shown: str) -> None:
    assert format_money(Decimal(amount), currency) == shown


def price_book(folder: Path, *currencies: str) -> Path:
    """A copy of the price book with more currencies that have the prices of EUR."""
    for file in (PROJECT_ROOT / "seeds").iterdir():
        (folder / file.name).write_text(file.read_text())
    for row in currencies:
        code = row.partition(",")[0]
        (folder / "currencies.csv").write_text((folder / "currencies.csv").read_text() + row + "\n")
        for name in ("rates.csv", "plan_fees.csv"):
            lines = (folder / name).read_text().splitlines()
            lines += [line.replace("EUR", code).replace("-eur-", f"-{code.lower()}-") for line in lines if ",EUR," in line]
            (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_a_currency_that_cannot_be_published_is_refused_by_check_prices(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    problems = check_prices(
        Home.open(tmp_path / "home"), seeds=price_book(seeds, "KWD,3", "ISK,2", "IRR,2", "UGX,0", "OMR,2")
    ).problems
    assert [(problem.file, problem.line) for problem in problems] == [("seeds/currencies.csv", line) for line in (5, 6, 7)]
    kwd, isk, irr = map(str, problems)
    assert "pro (seeds/plan_fees.csv" in kwd and "in steps of 0.01" in kwd and "Write 2 as its minor_unit_digits" in kwd
    assert "in steps of 1 " in isk and "Write 0 as its minor_unit_digits" in isk
    assert "Stripe does not support IRR" in irr


def closed(currency: str, digits: int, *amounts: str) -> ClosedInvoice:
    """A closed invoice with lines of these amounts."""
    lines = [
        {
            **dict.fromkeys(("meter_id", "plan_id", "quantity", "unit", "unit_amount")),
            "line_id": f"LIN-{number}",
            "amount": Decimal(amount),
            "description": "Usage",
            "service_period": "2026-09",
            "line_type": "usage",
        }
        for number, amount in enumerate(amounts)
    ]
    total = sum(map(Decimal, amounts), Decimal(0))
    invoice = {
        "invoice_id": "INV",
        "customer_id": "ada",
        "period": "2026-09",
        "currency": currency,
        "minor_unit_digits": digits,
        "total_amount": total,
        "carried_forward_amount": Decimal(0),
    }
    return ClosedInvoice(invoice, lines, [])


@pytest.mark.parametrize(
    ("invoice", "written"),
    [
        (closed("ISK", 0, "7200.000", "20000.000"), [720000, 2000000]),
        (closed("UGX", 0, "180000.000", "550000.000"), [18000000, 55000000]),
        (closed("KWD", 2, "15.480", "45.120"), [15480, 45120]),
        (closed("JPY", 0, "23000.000"), [23000]),
    ],
)
def test_lines_have_amounts_in_stripes_units(invoice: ClosedInvoice, written: list[int]) -> None:
    assert [line["amount"] for line in line_requests(invoice).values()] == written


def test_a_line_that_stripe_cannot_represent_is_refused_before_a_draft_is_created() -> None:
    with pytest.raises(BillhouseError, match=r"in steps of 0\.01 only, not 45\.123"):
        line_requests(closed("KWD", 3, "15.480", "45.123"))


def test_defaults_of_the_account_and_the_customer_are_overridden() -> None:
    request = invoice_request(closed("USD", 2, "1.00"), "cus_x")
    assert request["automatic_tax"] == {"enabled": False}
    assert request["discounts"] == ""  # no inherited discounts
    assert request["auto_advance"] is False
    assert request["pending_invoice_items_behavior"] == "exclude"


SEPTEMBER, AS_OF = BillingPeriod.parse("2026-09"), datetime(2026, 10, 5, tzinfo=UTC)
CUSTOMERS = {"ada": "USD", "bob": "USD", "cyd": "USD", "dan": "USD", "eve": "USD", "fay": "USD", "ida": "ISK"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """September in Stripe after changes made there. Each customer owes only the fee of Pro: 150.00 USD, or 20,000 ISK.

    ada, bob and cyd: 19 % tax, 28.50, was added to the draft. ada paid, bob did not, cyd's invoice was voided. eve: a tax that
    the price includes was added, so less than 150.00 is without tax. dan had a balance of 50.00 in Stripe and paid the rest.
    fay had a balance of 50.00, too, and her invoice was voided. ida paid.
    """
    folder = tmp_path_factory.mktemp("money")
    home, project = copy_home(parsed_project, folder / "home"), project_with(folder / "project", {})
    price_book(project / "seeds", "ISK,0")
    fees = project / "seeds" / "plan_fees.csv"
    fees.write_text(fees.read_text().replace("ISK,1970-01-01T00:00:00Z,arrears,140.00", "ISK,1970-01-01T00:00:00Z,arrears,20000"))
    plans = [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS]
    people = [{"customer_id": name, "currency": currency} for name, currency in CUSTOMERS.items()]
    for kind, rows in ((Kind.SUBSCRIPTIONS, plans), (Kind.CUSTOMERS, people)):
        land_files(home, [write_jsonl(folder / f"{kind}.jsonl", rows)], kind=kind, seeds=project / "seeds")
    build(home, AS_OF, project=project)
    close_period(home, SEPTEMBER, project=project)
    build(home, AS_OF, project=project)
    approve(home, SEPTEMBER, everything=True, by="cfo")
    with local_emulator(home) as stripe_connection:
        v1: Any = stripe_connection.client.v1
        for name in ("dan", "fay"):
            customer = v1.customers.create({"metadata": {"billhouse_customer_id": name}})
            v1.customers.balance_transactions.create(customer.id, {"amount": -5000, "currency": "usd"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InvoicePublisher, "_finalize", _leave_a_draft)
            publish_period(home, SEPTEMBER, client=stripe_connection)
        names = {row["invoice_id"]: row["customer_id"] for row in query(home, "from invoices")}
        drafts = {names[one.metadata["billhouse_invoice_id"]]: one.id for one in v1.invoices.list({"limit": 100}).data}
        rates = {
            is_included: v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": is_included}).id
            for is_included in (True, False)
        }
        for name in ("ada", "bob", "cyd", "eve"):
            v1.invoices.update(drafts[name], {"default_tax_rates": [rates[name == "eve"]]})
        result = publish_period(home, SEPTEMBER, client=stripe_connection)
        (problem,) = result.problems
        assert "Stripe's total without tax is 126.05 USD, ours is 150.00 USD" in problem.reason  # 150 / 1.19
        assert result.counts["published"] == 6
        for name in ("ada", "dan", "ida"):
            v1.invoices.pay(drafts[name])
        for name in ("cyd", "fay"):
            v1.invoices.void_invoice(drafts[name])
        written = {name: (v1.invoices.retrieve(id).total, v1.invoices.retrieve(id).amount_due) for name, id in drafts.items()}
        assert written == {
            "ada": (17850, 17850),
            "bob": (17850, 17850),
            "cyd": (17850, 17850),
            "dan": (15000, 10000),
            "eve": (15000, 15000),
            "fay": (15000, 10000),
            "ida": (2000000, 2000000),
        }
        sync_stripe(home, client=stripe_connection)
    build(home, AS_OF, project=project)
    return home


def _leave_a_draft(*_: Any) -> None:
    raise BillhouseError("left as a draft")


def test_receivables_include_tax_and_exclude_what_the_balance_paid(home: Home) -> None:
    found = {
        row["customer_id"]: [row[f"{name}_amount"] for name in ("total", "tax", "paid", "balance_applied", "written_off", "open")]
        for row in query(home, "from receivables")
    }
    expected = {
        "ada": ["150", "28.50", "178.50", "0", "0", "0"],
        "bob": ["150", "28.50", "0", "0", "0", "178.50"],
        "cyd": ["150", "28.50", "0", "0", "178.50", "0"],
        "dan": ["150", "0", "100", "50", "0", "0"],
        "eve": ["150", "0", "0", "0", "0", "150"],
        "fay": ["150", "0", "0", "0", "150", "0"],
        "ida": ["20000", "0", "20000", "0", "0", "0"],
    }
    assert found == {name: [Decimal(amount) for amount in amounts] for name, amounts in expected.items()}


def test_the_journal_has_tax_as_a_liability_and_reduces_the_customer_balance(home: Home) -> None:
    sums = {
        (row["account"], row["currency"]): row["amount"]
        for row in query(home, "select account, currency, sum(amount) as amount from journal where not is_draft group by all")
    }
    assert sums["Liabilities:TaxCollected", "USD"] == Decimal("-57.00")  # of ada and bob
    assert sums["Liabilities:CustomerBalance", "USD"] == Decimal(50)  # of dan; fay's was restored
    assert sums["Assets:Stripe", "USD"] == Decimal("278.50")
    assert sums["Assets:Stripe", "ISK"] == Decimal(20000)
    assert sums["Income:Voided", "USD"] == Decimal(300)  # of cyd and fay
    assert sums["Assets:Receivable", "USD"] == Decimal("328.50")  # of bob and eve


def test_totals_are_compared_without_tax(home: Home) -> None:
    found = {
        row["customer_id"]: (row["difference"], row["stripe_total_amount"], row["stripe_tax_amount"])
        for row in query(home, "from stripe_reconciliation where total_amount is not null")
    }
    assert found == {
        "ada": ("none", Decimal(150), Decimal("28.50")),
        "bob": ("none", Decimal(150), Decimal("28.50")),
        "cyd": ("status", Decimal(150), Decimal("28.50")),
        "dan": ("none", Decimal(150), Decimal(0)),
        "fay": ("status", Decimal(150), Decimal(0)),
        "ida": ("none", Decimal(20000), Decimal(0)),
    }


@pytest.mark.parametrize(
    ("currency", "refused", "accepted"), [("isk", 2720050, 2720000), ("ugx", 1, 100), ("kwd", 60603, 60600), ("jpy", None, 1)]
)
def test_the_emulator_accepts_the_amounts_that_stripe_accepts(
    home: Home, currency: str, refused: int | None, accepted: int
) -> None:
    with local_emulator(home) as connection:
        v1: Any = connection.client.v1
        customer = v1.customers.create({})
        item = {"customer": customer.id, "currency": currency}
        assert v1.invoice_items.create({**item, "amount": accepted}).amount == accepted
        if refused is not None:
            with pytest.raises(stripe.InvalidRequestError, match="evenly divisible"):
                v1.invoice_items.create({**item, "amount": refused})
