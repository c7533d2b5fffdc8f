"""Credit: expiry, scope, order, and voided grants. Billing rules, section 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from tests.support import Outcome, copy_home, event, prepare, query, write_jsonl

Run = Callable[..., Outcome]


def _ran(user: str, day: int) -> list[dict[str, Any]]:
    """1000 vCPU for an hour on a day of September: 3,600,000 vCPU-seconds x 0.000014 = 50.40 USD."""
    resources = {"vcpu_count": 1000, "memory_gb": 0, "storage_gb": 0}
    return [
        event("start", f"2026-09-{day:02d}T10:00:00Z", user=user, sandbox=f"{user}-{day}", **resources),
        event("stop", f"2026-09-{day:02d}T11:00:00Z", user=user, sandbox=f"{user}-{day}"),
    ]


def _grant(grant_id: str, customer_id: str, amount: int, **more: Any) -> dict[str, Any]:
    return {"grant_id": grant_id, "customer_id": customer_id, "amount": amount, "granted_at": "2026-09-01T00:00:00Z", **more}


def _void(grant_id: str, voided_at: str) -> dict[str, Any]:
    return {"grant_id": grant_id, "voided_at": voided_at, "reason": "a zero too many"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """Customers on Enterprise (no fee, no sign-up credit), each with 50.40 USD on some days of September."""
    days = {"september": [5], "end": [5], "middle": [14, 15], "noon": [14, 15], "room": [5, 20], "wrong": [5], "paid": [5]}
    usage = [row for user, on in days.items() for day in on for row in _ran(user, day)] + _ran("fees", 20)
    plans = [{"customer_id": user, "plan_id": "enterprise", "effective_at": "2026-09-01T00:00:00Z"} for user in [*days, "loyal"]]
    plans.append({"customer_id": "fees", "plan_id": "pro", "effective_at": "2026-09-16T00:00:00Z"})
    grants = [
        _grant("september", "september", 20, expires_at="2026-10-01T00:00:00Z"),
        _grant("end", "end", 20, expires_at="2026-09-30T23:59:59Z"),
        _grant("middle", "middle", 80, expires_at="2026-09-15T00:00:00Z"),
        _grant("noon", "noon", 110, expires_at="2026-09-15T12:00:00Z"),
        _grant("room-1", "room", 60, priority=1),
        _grant("room-2", "room", 60, priority=2, expires_at="2026-09-10T00:00:00Z"),
        _grant("fees", "fees", 500, expires_at="2026-09-16T00:00:00Z", priority=0),
        _grant("wrong", "wrong", 10_000),
        _grant("right", "wrong", 10),
        _grant("paid", "paid", 10_000),
    ]
    records: Mapping[Kind, Any] = {
        Kind.USAGE: usage,
        Kind.SUBSCRIPTIONS: plans,
        Kind.CREDIT_GRANTS: grants,
        Kind.VOIDS: [_void("wrong", "2026-09-20T00:00:00Z"), _void("signup-fees", "2026-09-20T00:00:00Z")],
    }
    return prepare(
        tmp_path_factory.mktemp("credits") / "home", parsed_project, records, ("build", "--as-of", "2026-10-05T00:00:00Z")
    )


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    return copy_home(built, tmp_path / "home")


def applied(home: Home, customer_id: str) -> dict[str, Decimal]:
    """What each grant of a customer pays of September's invoice."""
    rows = query(
        home, "select grant_id, amount from credit_applications where customer_id = ? and period = '2026-09'", customer_id
    )
    return {row["grant_id"]: row["amount"] for row in rows}


def rolled(home: Home, grant_id: str) -> dict[str, tuple[Decimal | int, ...]]:
    """A grant's months: opening, granted, applied, expired, of which voided, closing."""
    rows = query(home, "from credit_ledger where grant_id = ? order by period", grant_id)
    amounts = ("opening", "granted", "applied", "expired", "voided", "closing")
    return {row["period"]: tuple(row[f"{name}_amount"] for name in amounts) for row in rows}


def test_credit_for_a_month_that_expires_with_it_pays_for_it(home: Home) -> None:
    """20 of 50.40; what would be left is gone at the month's end."""
    assert applied(home, "september") == {"september": Decimal(20)}
    assert applied(home, "end") == {"end": Decimal(20)}
    assert rolled(home, "september")["2026-09"] == (0, 20, 20, 0, 0, 0)


def test_credit_that_expires_on_the_15th_at_midnight_pays_what_was_used_through_the_14th(home: Home) -> None:
    """50.40 of the 14th of 80; the 29.60 that are left expire."""
    assert applied(home, "middle") == {"middle": Decimal("50.40")}
    assert rolled(home, "middle")["2026-09"] == (0, 80, Decimal("50.40"), Decimal("29.60"), 0, 0)


def test_credit_that_expires_on_the_15th_at_noon_pays_for_the_15th(home: Home) -> None:
    """That day had begun: 50.40 + 50.40 = 100.80 of 110."""
    assert applied(home, "noon") == {"noon": Decimal("100.80")}


def test_a_grant_that_is_used_earlier_makes_room_for_one_that_expires_earlier(home: Home) -> None:
    """60 by priority, then what the second may pay: the 50.40 of the 5th, of which 100.80 - 60 = 40.80 are unpaid."""
    assert applied(home, "room") == {"room-1": Decimal(60), "room-2": Decimal("40.80")}


def test_a_fee_counts_as_used_on_the_first_day_that_it_is_due_for(home: Home) -> None:
    """Half a month of Pro from the 16th: credit that expires at its first instant pays nothing of it."""
    assert applied(home, "fees") == {}
    assert rolled(home, "fees")["2026-09"] == (0, 500, 0, 500, 0, 0)


def test_a_grant_that_is_voided_before_any_close_pays_nothing_and_the_right_one_pays(home: Home) -> None:
    assert applied(home, "wrong") == {"right": Decimal(10)}
    assert rolled(home, "wrong")["2026-09"] == (0, 10_000, 0, 10_000, 10_000, 0)
    (grant,) = query(home, "from credit_grants where grant_id = 'wrong'")
    assert (str(grant["voided_at"])[:10], grant["void_reason"]) == ("2026-09-20", "a zero too many")


def test_a_sign_up_grant_is_voided_like_any_other(home: Home) -> None:
    """50.40 of usage and 75.00 of fee stay due."""
    (invoice,) = query(home, "from invoices where customer_id = 'fees' and period = '2026-09'")
    assert invoice["total_amount"] == Decimal("125.40")


def test_what_a_voided_grant_takes_back_is_booked_where_the_grant_was(home: Home) -> None:
    rows = query(home, "select account, amount from journal where entry_kind = 'credit_voided' and customer_id = 'wrong'")
    assert {row["account"]: row["amount"] for row in rows} == {
        "Liabilities:CustomerCredit": Decimal(10_000),
        "Income:CreditsGranted": Decimal(-10_000),
    }


def test_what_a_voided_grant_has_paid_of_closed_months_stays_and_the_rest_is_gone_in_the_first_open_month(
    home: Home, run: Run, tmp_path: Path
) -> None:
    """10,000 less 50.40 of September, closed: 9,949.60 go in October, although the void is dated in September."""
    assert run("close", "2026-09").code == 0
    run("land", "--kind", "voids", write_jsonl(tmp_path / "void.jsonl", [_void("paid", "2026-09-25T00:00:00Z")]))
    run("land", write_jsonl(tmp_path / "late.jsonl", _ran("paid", 7)))
    assert run("build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    months: dict[str, tuple[Decimal | int, ...]] = {
        "2026-09": (0, 10_000, Decimal("50.40"), 0, 0, Decimal("9949.60")),
        "2026-10": (Decimal("9949.60"), 0, 0, Decimal("9949.60"), Decimal("9949.60"), 0),
        "2026-11": (0, 0, 0, 0, 0, 0),
    }
    assert rolled(home, "paid") == months
    (october,) = query(home, "from invoices where customer_id = 'paid' and period = '2026-10'")
    assert october["total_amount"] == Decimal("50.40"), "the late correction is due"
    assert run("close", "2026-10", "--accept-adjustments").code == 0
    assert run("build", "--as-of", "2026-12-05T00:00:00Z").code == 0
    assert {period: row for period, row in rolled(home, "paid").items() if period in months} == months
    assert run("verify").code == 0


def test_a_void_counts_from_its_instant_on(home: Home, run: Run) -> None:
    assert run("build", "--as-of", "2026-09-19T00:00:00Z").code == 0
    assert applied(home, "wrong") == {"right": Decimal(10), "wrong": Decimal("40.40")}
