"""Limits and alerts: docs/reference/billing-rules.md, section 8. Each number can be calculated by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from tests.support import event, prepare, query

AS_OF = "2026-09-11T00:00:00Z"


def _crowd() -> Iterator[dict[str, object]]:
    """Twenty-one hobby sandboxes at once from 10:20 to 10:30 (twenty may run), one a minute from 10:00 on."""
    for number in range(21):
        yield event("start", f"2026-09-01T10:{number:02d}:00Z", user="crowd", sandbox=f"box-{number:02d}")
    for number in range(21):
        yield event("stop", "2026-09-01T10:30:00Z", user="crowd", sandbox=f"box-{number:02d}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    events = [
        *_crowd(),
        # Two executions of one sandbox at once are one sandbox.
        event("start", "2026-09-02T10:00:00Z", user="twice", sandbox="t", execution_id="a"),
        event("start", "2026-09-02T10:10:00Z", user="twice", sandbox="t", execution_id="b"),
        event("stop", "2026-09-02T10:20:00Z", user="twice", sandbox="t", execution_id="a"),
        event("stop", "2026-09-02T10:30:00Z", user="twice", sandbox="t", execution_id="b"),
        # Two hours on hobby, which allows one.
        event("start", "2026-09-03T10:00:00Z", user="long", sandbox="l"),
        event("stop", "2026-09-03T12:00:00Z", user="long", sandbox="l"),
        # 1,000 vCPU for an hour on each of two days: 2 x 50.40 USD.
        *[
            event(what, f"2026-09-0{day}T{hour}:00:00Z", user="rich", sandbox="r", vcpu_count=1000, memory_gb=0, storage_gb=0)
            for day in (4, 5)
            for what, hour in (("start", 10), ("stop", 11))
        ],
        # The same for one who has no card: 100.80 USD of use, 100.00 of credit.
        *[
            event(what, f"2026-09-0{day}T{hour}:00:00Z", user="poor", sandbox="p", vcpu_count=1000, memory_gb=0, storage_gb=0)
            for day in (4, 5)
            for what, hour in (("start", 10), ("stop", 11))
        ],
        event("start", "2026-09-10T23:30:00Z", user="now", sandbox="n"),
    ]
    records = {
        Kind.USAGE: events,
        Kind.CUSTOMERS: [{"customer_id": "rich", "monthly_spend_limit": "100.80", "created_at": "2026-09-01T00:00:00Z"}],
    }
    return Home(prepare(tmp_path_factory.mktemp("limits") / "home", parsed_project, records, ["build", "--as-of", AS_OF]))


def test_too_many_sandboxes_at_once_are_one_breach_for_as_long_as_they_run(home: Home) -> None:
    (breach,) = query(home, "from limit_breaches where limit_kind = 'concurrent_sandboxes'")
    assert (breach["customer_id"], breach["allowed"], breach["observed"]) == ("crowd", 20, 21)
    assert (f"{breach['first_at']:%H:%M}", f"{breach['last_at']:%H:%M}") == ("10:20", "10:30")


def test_a_days_concurrency_has_its_peak_and_the_time_above_the_limit(home: Home) -> None:
    (day,) = query(home, "from concurrency_daily where customer_id = 'crowd'")
    # Box n runs for 30 - n minutes.
    assert day["sandbox_seconds"] == sum(60 * (30 - number) for number in range(21))
    assert (day["peak_sandboxes"], day["over_limit_seconds"]) == (21, 600)
    assert query(home, "from concurrency_daily where customer_id = 'twice'")[0]["peak_sandboxes"] == 1


def test_a_session_beyond_its_plans_maximum_is_a_breach_from_the_moment_it_passes_it(home: Home) -> None:
    (breach,) = query(home, "from limit_breaches where limit_kind = 'session_length'")
    assert (breach["customer_id"], breach["allowed"], breach["observed"]) == ("long", 3600, 7200)
    assert (f"{breach['first_at']:%H:%M}", f"{breach['last_at']:%H:%M}") == ("11:00", "12:00")
    alerts = query(home, "from usage_alerts where customer_id = 'long' and limit_kind = 'session_length' order by reached_at")
    assert [f"{alert['threshold_percent']} {alert['reached_at']:%H:%M}" for alert in alerts] == [
        "50 10:30",
        "80 10:48",
        "100 11:00",
    ]


def test_a_spend_that_comes_to_the_limit_is_no_breach_but_every_alert(home: Home) -> None:
    assert query(home, "from limit_breaches where limit_kind = 'monthly_spend'") == []
    alerts = query(home, "from usage_alerts where limit_kind = 'monthly_spend' order by threshold_percent")
    assert [(alert["threshold_percent"], alert["reached_at"].day) for alert in alerts] == [(50, 5), (80, 6), (100, 6)]


def test_what_no_credit_covers_on_a_plan_without_a_card_is_a_breach(home: Home) -> None:
    breaches = query(home, "from limit_breaches where limit_kind = 'credit' order by customer_id")
    assert [(breach["customer_id"], breach["allowed"], breach["observed"]) for breach in breaches] == [
        ("poor", Decimal(100), Decimal("100.8")),
        ("rich", Decimal(100), Decimal("100.8")),
    ]
    assert breaches[0]["first_at"].day == 5


def test_alerts_come_once_for_each_customer_limit_month_and_threshold(home: Home) -> None:
    keys = query(home, "select customer_id, limit_kind, period, threshold_percent from usage_alerts")
    assert len(keys) == len({tuple(key.values()) for key in keys}) > 0


def test_a_balance_says_where_the_month_goes_and_who_must_stop(home: Home) -> None:
    balances = {row["customer_id"]: row for row in query(home, "from customer_balances")}
    rich = balances["rich"]
    assert (rich["month_to_date_amount"], rich["is_spend_limit_reached"], rich["standing"]) == (Decimal("100.8"), True, "stop")
    # First seen on the 4th at 10:00: 6 days and 14 hours gone, 20 days to come.
    assert rich["forecast_amount"] == Decimal("100.80") + (Decimal("100.80") * 480 / 158).quantize(Decimal("0.01"))
    assert (balances["poor"]["credit_left_amount"], balances["poor"]["standing"]) == (0, "stop")
    assert (balances["now"]["running_sandboxes"], balances["now"]["standing"]) == (1, "ok")


def test_a_gateway_can_poll_the_balances_as_one_file(home: Home) -> None:
    polled = json.loads((home.marts / "customer_balances.json").read_text())
    assert polled["customers"]["rich"]["month_to_date_amount"] == "100.800"
    assert polled["as_of"].startswith("2026-09-11 00:00:00")
