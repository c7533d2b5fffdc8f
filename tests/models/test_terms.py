"""Plans, contracts, trials and the opening of the books, from files to invoices.

docs/reference/billing-rules.md, sections 2, 5 and 7.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import BillhouseError, PriceBookError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod, parse_instant
from pipeline.core.settings import Settings
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.close import close_period
from pipeline.ledger.price_check import check_prices
from pipeline.warehouse.build import build
from pipeline.warehouse.build_steps import BuildFailedError
from tests.support import Outcome, event, prepare, query, write_jsonl

Run = Callable[..., Outcome]
AS_OF = parse_instant("2026-10-03T00:00:00Z")
SEPTEMBER = BillingPeriod(2026, 9)


def own_price_book(folder: Path, **rows: str) -> Path:
    """A copy of the dbt project in which rows are added to files of the price book."""
    project = folder / "project"
    project.mkdir()
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    for file, text in rows.items():
        with (project / "seeds" / f"{file}.csv").open("a", encoding="utf-8") as lines:
            lines.write(text)
    return project


def land(home: Home, project: Path, records: dict[Kind, list[dict[str, Any]]], name: str = "rows") -> None:
    for kind, rows in records.items():
        path = write_jsonl(home.path.parent / f"{name}-{kind}.jsonl", rows)
        assert land_files(home, [path], kind, seeds=project / "seeds").problems == []


def lines(home: Home, customer: str, period: str = "2026-09") -> list[tuple[str, str, Decimal]]:
    rows = query(
        home,
        "select line_type, coalesce(meter_id, '') as meter_id, amount from invoice_lines"
        " where customer_id = ? and period = ? order by line_number",
        customer,
        period,
    )
    return [(row["line_type"], row["meter_id"], row["amount"]) for row in rows]


def invoice(home: Home, customer: str, period: str = "2026-09") -> tuple[str, str, Decimal]:
    (row,) = query(
        home, "select plan_id, collection, total_amount from invoices where customer_id = ? and period = ?", customer, period
    )
    return row["plan_id"], row["collection"], row["total_amount"]


def hours_of(user: str, day: str, hours: int = 10, vcpu: int = 2) -> list[dict[str, Any]]:
    """So many vCPU from midnight on, and nothing else."""
    at = {"user": user, "sandbox": f"{user}-{day}"}
    return [
        event("start", f"{day}T00:00:00Z", **at, vcpu_count=vcpu, memory_gb=0, storage_gb=0),
        event("stop", f"{day}T{hours:02d}:00:00Z", **at),
    ]


@pytest.fixture(scope="module")
def september(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """One build under the default price book, with the default first billing month, 2026-01."""

    def on(customer: str, plan: str, since: str, **more: Any) -> dict[str, Any]:
        return {"customer_id": customer, "plan_id": plan, "effective_at": since, **more}

    records: dict[Kind, list[dict[str, Any]]] = {
        Kind.USAGE: [
            *hours_of("leaver", "2026-09-10", vcpu=100),
            *hours_of("tried", "2026-09-10"),
            *hours_of("tried", "2026-09-20"),
            *hours_of("all-trial", "2026-09-10", vcpu=1000),
            *hours_of("free", "2026-09-10", vcpu=1000),
            event("start", "1970-01-01T00:00:00Z", user="zero", sandbox="z"),
            event("start", "2025-12-31T23:59:59.999999Z", user="early", sandbox="e"),
            event("start", "2026-01-01T00:00:00Z", user="first", sandbox="f"),
            event("stop", "2026-01-01T01:00:00Z", user="first", sandbox="f"),
        ],
        Kind.SUBSCRIPTIONS: [
            on("leaver", "pro", "2026-09-01T00:00:00Z"),
            on("leaver", "hobby", "2026-09-30T23:59:59Z"),
            on("tried", "pro", "2026-09-01T00:00:00Z", is_trial=True),
            on("tried", "pro", "2026-09-15T00:00:00Z", is_trial=False),
            on("all-trial", "pro", "2026-09-01T00:00:00Z", is_trial=True),
            on("always", "enterprise", "1970-01-01T00:00:00Z"),
            on("always", "pro", "2025-06-01T00:00:00Z"),
        ],
        Kind.CREDIT_GRANTS: [
            {"grant_id": "g-2025", "customer_id": "always", "amount": "10", "granted_at": "2025-03-01T00:00:00Z"},
            {
                "grant_id": "g-gone",
                "customer_id": "always",
                "amount": "10",
                "granted_at": "2025-03-01T00:00:00Z",
                "expires_at": "2026-01-01T00:00:00Z",
            },
        ],
    }
    with pytest.MonkeyPatch.context() as settings:
        settings.delenv("BILLHOUSE_FIRST_BILLING_MONTH")
        folder = tmp_path_factory.mktemp("september")
        return Home(prepare(folder / "home", parsed_project, records, ["build", "--as-of", "2026-10-03T00:00:00Z"]))


def test_pro_that_was_cancelled_in_the_last_second_of_its_month_is_collected(september: Home) -> None:
    """150.00 less one second of 2,592,000 is still 150.00; 100 vCPU x 36,000 s x 0.000014 = 50.40, which credit pays."""
    assert lines(september, "leaver") == [("usage", "vcpu", Decimal("50.40")), ("fee", "", Decimal("150.00"))]
    assert invoice(september, "leaver") == ("pro", "send_invoice", Decimal("150.00"))


def test_an_invoice_of_the_default_plan_alone_is_not_collected_and_what_credit_leaves_is_a_breach(september: Home) -> None:
    """1,000 vCPU x 36,000 s x 0.000014 = 504.00, less 100.00 of credit."""
    assert invoice(september, "free") == ("hobby", "none", Decimal("404.00"))
    assert query(september, "select observed from limit_breaches where customer_id = 'free' and limit_kind = 'credit'") == [
        {"observed": Decimal("504")}
    ]


def test_half_a_month_of_trial_owes_half_the_fee_and_the_usage_after_it(september: Home) -> None:
    """150 x 16 / 30 = 80.00; 72,000 of the 144,000 vCPU-seconds are billable: 72,000 x 0.000014 = 1.008."""
    assert lines(september, "tried") == [("usage", "vcpu", Decimal("1.01")), ("fee", "", Decimal("80.00"))]
    quantities = query(
        september, "select quantity, billable_quantity from invoice_lines where customer_id = 'tried' and period = '2026-09'"
    )
    assert [(int(row["quantity"]), int(row["billable_quantity"])) for row in quantities] == [
        (144_000, 72_000),
        (30 * 86_400, 16 * 86_400),
    ]
    days = query(september, "select usage_date::varchar as day, quantity, amount from usage_daily where customer_id = 'tried'")
    assert [(row["day"], int(row["quantity"]), row["amount"]) for row in days] == [
        ("2026-09-10", 72_000, Decimal("0.00")),
        ("2026-09-20", 72_000, Decimal("1.01")),
    ]
    assert query(september, "select list_amount from sessions where customer_id = 'tried' order by started_at") == [
        {"list_amount": Decimal("0")},
        {"list_amount": Decimal("1.008")},
    ]


def test_a_month_of_trial_shows_its_usage_and_fee_at_nothing(september: Home) -> None:
    assert lines(september, "all-trial") == [("usage", "vcpu", Decimal("0.00")), ("fee", "", Decimal("0.00"))]
    assert query(september, "select distinct is_trial from subscriptions where customer_id = 'all-trial'") == [{"is_trial": True}]


def test_an_event_before_the_books_open_is_quarantined_and_says_so(september: Home) -> None:
    rows = query(september, "select reason, detail from quarantined_events order by file_row")
    assert [row["reason"] for row in rows] == ["before_books_open"] * 2
    assert all("2026-01 (the setting BILLHOUSE_FIRST_BILLING_MONTH)" in row["detail"] for row in rows)
    assert query(september, "select count(*) as sessions from sessions where customer_id in ('zero', 'early')") == [
        {"sessions": 0}
    ]


def test_the_first_microsecond_of_the_first_month_is_billed(september: Home) -> None:
    """An hour of the default sandbox: 0.1008 + 0.0081, lines of 0.10 and 0.01."""
    amounts = {meter: amount for _, meter, amount in lines(september, "first", "2026-01")}
    assert (amounts["vcpu"], amounts["memory"]) == (Decimal("0.10"), Decimal("0.01"))


def test_a_plan_record_from_before_the_books_open_counts_from_their_opening_and_the_latest_of_them_wins(september: Home) -> None:
    """Pro, of 2025, and not enterprise, of 1970: 150.00 for each of January to October, less a grant that counts from January."""
    rows = query(
        september, "select period, subtotal_amount, credits_applied_amount from invoices where customer_id = 'always' order by 1"
    )
    assert [row["period"] for row in rows] == [f"2026-{month:02d}" for month in range(1, 11)]
    assert {row["subtotal_amount"] for row in rows} == {Decimal("150.000")}
    assert [row["credits_applied_amount"] for row in rows[:2]] == [Decimal("10.000"), Decimal("0.000")]


CONTRACTS = (
    "nouse-2026,nouse,No use,2026-09-01T00:00:00Z,2027-09-01T00:00:00Z,USD,,500,,,,,\n"
    "norecord-2026,norecord,No record,2026-09-01T00:00:00Z,,USD,,500,,,,,\n"
    "much-2026,much,Much,2026-09-01T00:00:00Z,2026-09-16T00:00:00Z,USD,,500,,,,,\n"
)


def test_a_contract_is_billed_and_collected_without_an_event_or_a_plan_record(home: Home, tmp_path: Path) -> None:
    """The default plan is called otherwise here: no plan's name is in code."""
    project = own_price_book(tmp_path, contracts=CONTRACTS)
    for file in ("plans", "plan_fees", "rates", "signup_credits"):
        path = project / "seeds" / f"{file}.csv"
        text = path.read_text().replace("hobby,", "free,").replace(",Hobby,", ",Free,").replace("\nhobby-", "\nfree-")
        path.write_text(text)
    usage = [*hours_of("norecord", "2026-09-10", vcpu=1000), *hours_of("much", "2026-09-10", vcpu=2000)]
    land(home, project, {Kind.USAGE: usage})
    build(home, AS_OF, project=project)
    assert lines(home, "nouse") == [("commitment", "", Decimal("500.00"))]
    assert invoice(home, "nouse") == ("free", "send_invoice", Decimal("500.00"))
    # 1,000 vCPU x 36,000 s x 0.000014 = 504.00 is over the commitment; 100.00 of sign-up credit pays for usage.
    assert lines(home, "norecord") == [("usage", "vcpu", Decimal("504.00"))]
    assert invoice(home, "norecord") == ("free", "send_invoice", Decimal("404.00"))
    # Half a month of contract: the usage of that month is of a customer with a contract, and is collected.
    assert invoice(home, "much") == ("free", "send_invoice", Decimal("908.00"))
    assert query(home, "select customer_id from credit_grants where source = 'signup' order by 1") == [
        {"customer_id": "much"},
        {"customer_id": "norecord"},
    ]


GOLD = "gold,{0},Gold,send_invoice,,,4,4,5\n"
GOLD_RATES = "".join(
    f"gold-{meter}-{currency}-1,gold,,{meter},{currency},1970-01-01T00:00:00Z,per_unit,0.1,,0,\n"
    for meter in ("vcpu", "memory", "storage", "gpu", "tokens")
    for currency in ("USD", "EUR", "JPY")
)


def test_a_record_older_than_its_plan_is_quarantined_and_the_detail_says_from_when_the_plan_exists(
    home: Home, tmp_path: Path
) -> None:
    project = own_price_book(tmp_path, plans=GOLD.format("2026-09-15T00:00:00Z"), rates=GOLD_RATES)
    rows = [
        {"customer_id": "ada", "plan_id": "gold", "effective_at": "2026-09-14T23:59:59Z"},
        {"customer_id": "bob", "plan_id": "gold", "effective_at": "2026-09-15T00:00:00Z"},
    ]
    summary = land_files(home, [write_jsonl(tmp_path / "plans.jsonl", rows)], Kind.SUBSCRIPTIONS, seeds=project / "seeds")
    assert (summary.accepted, summary.by_reason) == (1, {"unknown_plan": 1})
    build(home, AS_OF, project=project)
    (row,) = query(home, "select detail from quarantined_events")
    assert "the price book has this plan from 2026-09-15T00:00:00Z on" in row["detail"]


def test_a_build_whose_price_book_lost_a_plan_fails_and_names_customer_instant_and_plan(home: Home, tmp_path: Path) -> None:
    project = own_price_book(tmp_path, plans=GOLD.format("2026-09-01T00:00:00Z"), rates=GOLD_RATES)
    records = [{"customer_id": "ada", "plan_id": "gold", "effective_at": "2026-09-01T00:00:00Z"}]
    land(home, project, {Kind.SUBSCRIPTIONS: records, Kind.USAGE: hours_of("ada", "2026-09-10")})
    plans = project / "seeds" / "plans.csv"
    plans.write_text(plans.read_text().replace(GOLD.format("2026-09-01T00:00:00Z"), GOLD.format("2026-09-15T00:00:00Z")))
    with pytest.raises(BuildFailedError) as failed:
        build(home, AS_OF, project=project)
    message = str(failed.value)
    assert "every_customer_has_terms" in message
    assert "customer_id ada, plan_id gold, starts_at 2026-09-01 00:00:00" in message
    assert not home.analysts_file.exists()


def test_a_contract_in_another_currency_than_its_customers_is_refused_by_the_check_and_by_the_build(
    home: Home, tmp_path: Path
) -> None:
    project = own_price_book(tmp_path, contracts="eurco-2026,eurco,Eurco,2026-09-01T00:00:00Z,,USD,0.10,1000,,,,,\n")
    assert check_prices(home, seeds=project / "seeds").problems == []
    land(home, project, {Kind.CUSTOMERS: [{"customer_id": "eurco", "currency": "EUR"}]})
    (problem,) = check_prices(home, seeds=project / "seeds").problems
    assert (problem.file, problem.line) == ("seeds/contracts.csv", 2)
    with pytest.raises(PriceBookError, match="eurco-2026 is in USD, but its customer eurco is billed in EUR"):
        build(home, AS_OF, project=project)


def test_a_contract_in_euros_for_a_customer_of_whom_no_record_says_so_fails_the_build(home: Home, tmp_path: Path) -> None:
    """Without a record a customer is billed in USD."""
    project = own_price_book(tmp_path, contracts="eurco-2026,eurco,Eurco,2026-09-01T00:00:00Z,,EUR,0.10,1000,,,,,\n")
    assert check_prices(home, seeds=project / "seeds").problems == []
    with pytest.raises(BuildFailedError, match=r"customer_id eurco, contract_id eurco-2026.*EUR, customer_currency USD"):
        build(home, AS_OF, project=project)


def test_the_books_cannot_open_after_a_closed_month_and_a_month_before_them_cannot_close(
    home: Home, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        run("land", write_jsonl(tmp_path / "usage.jsonl", [*hours_of("ada", "2026-08-10"), *hours_of("ada", "2026-09-10")])).code
        == 0
    )
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-09")
    assert run("build", "--as-of", "2026-10-03").code == 0
    # August's event landed under an earlier setting, and is not billed.
    assert query(home, "select distinct period from invoices") == [{"period": "2026-09"}]
    refused = run("close", "2026-08", "--force")
    assert refused.code == 1 and "the books open with 2026-09" in refused.stderr
    assert run("close", "2026-09", "--force").code == 0
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-10")
    refused = run("build", "--as-of", "2026-10-03")
    assert refused.code == 1 and "Set BILLHOUSE_FIRST_BILLING_MONTH to 2026-09 or an earlier month" in refused.stderr
    with pytest.raises(BillhouseError, match="but 2026-09 is closed"):
        close_period(home, BillingPeriod(2026, 10), force=True)


def test_the_first_billing_month_is_2026_01_unless_set_and_must_be_a_month(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BILLHOUSE_FIRST_BILLING_MONTH")
    assert Settings.load().books_open_at == parse_instant("2026-01-01T00:00:00Z")
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-13")
    with pytest.raises(BillhouseError, match="Invalid setting BILLHOUSE_FIRST_BILLING_MONTH"):
        Settings.load()


def test_is_trial_is_true_or_false(run: Run, home: Home, tmp_path: Path) -> None:
    rows = [
        {"customer_id": f"c{number}", "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z", "is_trial": value}
        for number, value in enumerate((True, False, "TRUE", "perhaps"))
    ]
    landed = run("land", "--json", "--kind", "subscriptions", write_jsonl(tmp_path / "plans.jsonl", rows)).json
    assert (landed["accepted"], landed["by_reason"]) == (3, {"bad_value": 1})
