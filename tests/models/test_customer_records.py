"""Customer records: what they change, what they leave, and from when on a currency is in force. Billing rules, section 5."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from tests.support import Outcome, billhouse, copy_home, event, prepare, query, write_jsonl

Run = Callable[..., Outcome]
EURO = {"customer_id": "eva", "name": "Eva GmbH", "email": "eva@example.com", "currency": "EUR", "monthly_spend_limit": "5000"}


def _ran(user: str, month: str, day: int = 10) -> list[dict[str, Any]]:
    """1000 vCPU for an hour: 3,600,000 vCPU-seconds at 0.000014 USD or 0.000013 EUR."""
    at, resources = f"2026-{month}-{day:02d}T10:00:00Z", {"vcpu_count": 1000, "memory_gb": 0, "storage_gb": 0}
    box = f"{user}-{month}-{day}"
    return [
        event("start", at, user=user, sandbox=box, **resources),
        event("stop", at.replace("T10", "T11"), user=user, sandbox=box),
    ]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """Eva's record says EUR, Ulf has none; both on Enterprise, September closed. Lena spends all on September's last day."""
    plans = [{"customer_id": user, "plan_id": "enterprise", "effective_at": "2026-09-01T00:00:00Z"} for user in ("eva", "ulf")]
    return prepare(
        tmp_path_factory.mktemp("customers") / "home",
        parsed_project,
        {
            Kind.USAGE: _ran("eva", "09") + _ran("ulf", "09") + _ran("eva", "10") + _ran("ulf", "10") + _ran("lena", "09", 30),
            Kind.SUBSCRIPTIONS: plans,
            Kind.CUSTOMERS: [EURO, {"customer_id": "lena", "monthly_spend_limit": 20}],
        },
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
    )


@pytest.fixture
def home(closed: Path, tmp_path: Path) -> Home:
    return copy_home(closed, tmp_path / "home")


@pytest.fixture
def land(run: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Land customer records from a file of their own."""
    numbers = iter(range(1, 100))

    def land(*rows: dict[str, Any]) -> dict[str, Any]:
        return run("land", "--kind", "customers", write_jsonl(tmp_path / f"c{next(numbers)}.jsonl", rows), "--json").json

    return land


def account(home: Home, customer_id: str = "eva") -> tuple[Any, ...]:
    (row,) = query(home, "from customers where customer_id = ?", customer_id)
    return (row["name"], row["email"], row["currency"], row["monthly_spend_limit_amount"])


def totals(home: Home, customer_id: str) -> dict[tuple[str, str], Decimal]:
    """By month and currency."""
    rows = query(home, "select period, currency, subtotal_amount from invoices where customer_id = ?", customer_id)
    return {(row["period"], row["currency"]): row["subtotal_amount"] for row in rows}


@pytest.fixture(scope="module")
def changed(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Changes of Eva's record, and the first records of Nora, who was never billed, each landed by itself; built for November."""
    home = copy_home(closed, tmp_path_factory.mktemp("changed") / "home")
    files: list[list[dict[str, Any]]] = [
        [{"customer_id": "eva", "email": "new@example.com", "monthly_spend_limit": 7}],
        [{"customer_id": "eva", "monthly_spend_limit": None, "name": ""}],
        [{"customer_id": "nora", "currency": "USD"}, {"customer_id": "nora", "currency": "EUR"}],
    ]
    assert billhouse(home.path, "land", write_jsonl(home.path.parent / "new.jsonl", _ran("nora", "10"))).code == 0
    for number, rows in enumerate(files):
        path = write_jsonl(home.path.parent / f"c{number}.jsonl", rows)
        assert billhouse(home.path, "land", "--kind", "customers", path, "--json").json["accepted"] == len(rows)
    assert billhouse(home.path, "build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    return home


def test_a_record_changes_what_it_names_leaves_the_rest_and_bills_nothing_again(changed: Home, tmp_path: Path) -> None:
    """An absent key and an empty text name nothing, a null takes a value away; what is named last counts."""
    assert account(changed) == ("Eva GmbH", "new@example.com", "EUR", None)
    assert totals(changed, "eva") == {("2026-09", "EUR"): Decimal("46.80"), ("2026-10", "EUR"): Decimal("46.80")}
    assert billhouse(copy_home(changed.path, tmp_path / "copy").path, "close", "2026-10").code == 0


def test_before_anything_is_billed_a_record_sets_the_currency_from_the_beginning(changed: Home) -> None:
    assert {currency for _, currency in totals(changed, "nora")} == {"EUR"}


@pytest.mark.parametrize(
    ("row", "help"),
    [
        ({"customer_id": "eva", "currency": "USD"}, "the customer's is EUR"),
        ({"customer_id": "ulf", "currency": "EUR"}, "the customer's is USD"),
        ({"customer_id": "eva", "currency": None}, "the customer's is EUR"),
        ({"customer_id": "eva", "currency": "USD", "effective_at": "2026-09-01T00:00:00Z"}, "Write 2026-10-01T00:00:00Z"),
        ({"customer_id": "eva", "currency": "USD", "effective_at": "2026-10-01T00:00:01Z"}, "the first instant of a month"),
    ],
)
def test_a_currency_is_not_changed_in_what_is_closed(
    row: dict[str, Any], help: str, home: Home, land: Callable[..., Any]
) -> None:
    assert land(row)["by_reason"] == {"currency_change": 1}
    with duckdb.connect() as connection:
        details = connection.execute(f"select detail from read_parquet('{home.raw}/quarantine/*.parquet')").fetchall()
    assert [help in detail for (detail,) in details] == [True]


def test_a_date_without_a_currency_dates_nothing(home: Home, land: Callable[..., Any]) -> None:
    assert land({"customer_id": "eva", "name": "E", "effective_at": "2026-11-01T00:00:00Z"})["by_reason"] == {"missing_field": 1}


def test_a_record_that_repeats_the_currency_in_force_lands(home: Home, land: Callable[..., Any]) -> None:
    assert land({"customer_id": "eva", "currency": "EUR"}, {"customer_id": "ulf", "currency": "USD"})["accepted"] == 2


def test_a_currency_changes_on_the_first_instant_of_an_open_month(home: Home, run: Run, land: Callable[..., Any]) -> None:
    """Eva's September stays 46.80 EUR, October is 50.40 USD; the other way round for Ulf. What comes late for September is in its
    own currency, on an invoice of its own.
    """
    assert run("build", "--as-of", "2026-10-20T00:00:00Z").code == 0
    rows = [
        {"customer_id": "eva", "currency": "USD", "effective_at": "2026-10-01T00:00:00Z"},
        {"customer_id": "ulf", "currency": "EUR", "effective_at": "2026-10-01T00:00:00Z"},
        # Judged after the rows above it: in force at last, so that it changes nothing.
        {"customer_id": "ulf", "currency": "EUR"},
    ]
    assert land(*rows)["accepted"] == 3
    run("land", write_jsonl(home.path.parent / "late.jsonl", _ran("ulf", "09", 11)))
    assert run("build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    assert totals(home, "eva") == {("2026-09", "EUR"): Decimal("46.80"), ("2026-10", "USD"): Decimal("50.40")}
    assert totals(home, "ulf") == {
        ("2026-09", "USD"): Decimal("50.40"),
        ("2026-10", "USD"): Decimal("50.40"),
        ("2026-10", "EUR"): Decimal("46.80"),
    }
    assert account(home)[2] == "USD"
    sessions = query(home, "select currency, list_amount from sessions where customer_id = 'eva' order by started_at")
    assert [(row["currency"], row["list_amount"]) for row in sessions] == [("EUR", Decimal("46.8")), ("USD", Decimal("50.4"))]
    before = {path.name: path.read_bytes() for path in home.marts.glob("invoice*.parquet")}
    home.warehouse.unlink()
    assert run("build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    assert {path.name: path.read_bytes() for path in home.marts.glob("invoice*.parquet")} == before, "as built from scratch"
    assert run("close", "2026-10", "--accept-adjustments").code == 0
    assert land(rows[0])["duplicates"] == 1, "the same change again is no change of a closed month"


def test_a_record_of_before_this_rule_changes_nothing_of_what_is_closed(home: Home, run: Run) -> None:
    """A raw file that landed when nothing was refused: the months that are closed, and those after it, stay in EUR."""
    landed = min(home.raw.glob("landed_files/0*"), key=lambda path: str(pq.read_table(path)["kind"][0].as_py()))
    assert pq.read_table(landed)["kind"].to_pylist() == ["customers"]
    row = pq.read_table(landed).to_pylist()[0]
    old = row | {"file_id": "old", "landed_sequence": 99}
    pq.write_table(pa.Table.from_pylist([old], pq.read_schema(landed)), landed.with_name("00000099-old.parquet"))
    record = {"customer_id": "eva", "name": None, "currency": "USD", "file_id": "old", "file_row": 1}
    schema = pa.schema({name: pa.int64() if name == "file_row" else pa.string() for name in record})
    pq.write_table(pa.Table.from_pylist([record], schema), home.raw / "customers" / "old.parquet")
    assert run("build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    assert account(home) == ("Eva GmbH", "eva@example.com", "EUR", Decimal(5000))
    assert totals(home, "eva") == {("2026-09", "EUR"): Decimal("46.80"), ("2026-10", "EUR"): Decimal("46.80")}


def test_a_spend_limit_that_is_passed_on_the_last_day_of_a_month_is_a_breach_of_that_month(home: Home) -> None:
    """50.40 of 20.00 on the 30th, known when the day is over: at the first instant of October."""
    (breach,) = query(home, "from limit_breaches where customer_id = 'lena' and limit_kind = 'monthly_spend'")
    assert (breach["period"], breach["observed"], f"{breach['first_at']:%m-%d}") == ("2026-09", Decimal("50.40"), "10-01")
