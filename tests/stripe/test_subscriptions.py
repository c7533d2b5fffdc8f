"""The plan that a Stripe subscription gives its customer, and when: every status, all items, past and current events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from pipeline.core.home import Home
from pipeline.stripe.mirror import sync_stripe
from pipeline.stripe_emulator.server import running_emulator
from pipeline.warehouse.build import build
from tests.reference.stripe_subscriptions import MEMORY, State, given_plan
from tests.stripe.publisher import post, quick_connection
from tests.stripe.subscriptions import Row, event, project_with, seconds, subscription, write_sync
from tests.support import billhouse, copy_home, query

PRICES = {"price_pro": "pro", "price_pro_yearly": "pro", "price_ent": "enterprise", "price_addon": ""}
EARLIER_SYNC, LATER_SYNC = "2026-06-01T00:00:00", "2026-06-10T00:00:00"
"""Before a gap that is longer than Stripe keeps events: a full sync, then one of the changes."""
FIRST_SYNC = "2026-11-20T12:00:00"
PlanRecord = tuple[str, str, bool]
"""(plan, effective instant, whether it is a trial)"""


@dataclass
class Case:
    """What Stripe has for one customer (`events` in order of time), and the expected plan records."""

    subscriptions: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    earlier: list[Row] = field(default_factory=list)
    """Subscriptions in the earlier full sync."""
    later_events: list[Row] = field(default_factory=list)
    """Events in the sync after it, which listed only events."""
    is_customer_deleted: bool = False
    records: list[PlanRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def old(name: str, status: str, *prices: str, start: str = "2026-08-01", **more: Any) -> Row:
    """A subscription older than the events that Stripe still has at the first sync."""
    return subscription(f"sub_{name}", name, status, *(prices or ("price_pro",)), start=start, **more)


def _paused(at: str) -> Row:
    instant = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())
    return {"status_details": {"paused": {"transitioned_at": instant, "type": "subscription"}}}


def _cases() -> dict[str, Case]:
    cases = {
        # Older than the events at the first sync: every status in Stripe's documentation.
        "active_since_its_start": Case([old("active_since_its_start", "active")], records=[("pro", "2026-08-01", False)]),
        "past_due_is_still_on_the_plan": Case(
            [old("past_due_is_still_on_the_plan", "past_due")], records=[("pro", "2026-08-01", False)]
        ),
        "trialing_is_a_trial": Case(
            [old("trialing_is_a_trial", "trialing", trial_start="2026-08-01", trial_end="2026-12-01")],
            records=[("pro", "2026-08-01", True), ("pro", "2026-12-01", False)],
        ),
        "trial_that_has_ended": Case(
            [old("trial_that_has_ended", "active", trial_start="2026-08-01", trial_end="2026-08-15")],
            records=[("pro", "2026-08-01", True), ("pro", "2026-08-15", False)],
        ),
        "canceled_until_it_ended": Case(
            [old("canceled_until_it_ended", "canceled", ended_at="2026-09-10T06:00:00", canceled_at="2026-09-01")],
            records=[("pro", "2026-08-01", False), ("hobby", "2026-09-10T06:00:00", False)],
        ),
        "canceled_in_its_trial": Case(
            [
                old(
                    "canceled_in_its_trial",
                    "canceled",
                    trial_start="2026-08-01",
                    trial_end="2026-08-15",
                    ended_at="2026-08-10",
                )
            ],
            records=[("pro", "2026-08-01", True), ("hobby", "2026-08-10", False)],
        ),
        "paused_since_the_transition": Case(
            [old("paused_since_the_transition", "paused", **_paused("2026-09-20T00:00:00"))],
            records=[("pro", "2026-08-01", False), ("hobby", "2026-09-20", False)],
        ),
        "paused_when_its_trial_ended": Case(
            [
                old(
                    "paused_when_its_trial_ended",
                    "paused",
                    trial_start="2026-08-01",
                    trial_end="2026-08-15",
                    **_paused("2026-08-15T00:00:00"),
                )
            ],
            records=[("pro", "2026-08-01", True), ("hobby", "2026-08-15", False)],
        ),
        "unpaid_since_the_sync_that_saw_it": Case(
            [old("unpaid_since_the_sync_that_saw_it", "unpaid")],
            records=[("pro", "2026-08-01", False), ("hobby", FIRST_SYNC, False)],
        ),
        "incomplete_gives_no_plan": Case([old("incomplete_gives_no_plan", "incomplete")]),
        "incomplete_expired_gives_no_plan": Case([old("incomplete_expired_gives_no_plan", "incomplete_expired")]),
        "to_be_canceled_is_not_canceled": Case(
            [old("to_be_canceled_is_not_canceled", "active", cancel_at="2026-12-24", canceled_at="2026-11-01")],
            records=[("pro", "2026-08-01", False)],
        ),
        # Items.
        "add_on_first_plan_second": Case(
            [old("add_on_first_plan_second", "active", "price_addon", "price_unlisted", "price_pro")],
            records=[("pro", "2026-08-01", False)],
        ),
        "two_items_of_one_plan": Case(
            [old("two_items_of_one_plan", "active", "price_pro", "price_pro_yearly")], records=[("pro", "2026-08-01", False)]
        ),
        "two_plans_are_a_problem": Case(
            [old("two_plans_are_a_problem", "active", "price_pro", "price_ent")], problems=["two_plans"]
        ),
        "no_plan_is_a_problem": Case([old("no_plan_is_a_problem", "active", "price_unlisted")], problems=["no_plan"]),
        "known_add_on_alone_gives_no_plan": Case([old("known_add_on_alone_gives_no_plan", "active", "price_addon")]),
        "an_unknown_status": Case([old("an_unknown_status", "hibernating")], problems=["unknown_status"]),
    }

    # Events begin after the subscription: a renewal ten days ago changes nothing.
    name = "renewal_of_an_old_one"
    now = old(name, "active")
    cases[name] = Case(
        [now], [event("updated", "2026-11-10", now, {"current_period_end": 1})], records=[("pro", "2026-08-01", False)]
    )
    name = "first_event_ends_a_trial"
    now = old(name, "active", start="2026-10-11", trial_start="2026-10-11", trial_end="2026-11-10")
    cases[name] = Case(
        [now],
        [event("updated", "2026-11-10", now, {"status": "trialing"})],
        records=[("pro", "2026-10-11", True), ("pro", "2026-11-10", False)],
    )
    name = "first_event_cancels"
    now = old(name, "canceled", ended_at="2026-11-10")
    cases[name] = Case(
        [now],
        [event("deleted", "2026-11-10", now)],
        records=[("pro", "2026-08-01", False), ("hobby", "2026-11-10", False)],
    )
    name = "first_event_changes_the_plan"
    now = old(name, "active", "price_ent")
    cases[name] = Case(
        [now],
        [event("updated", "2026-11-10", now, {"items": {"data": [{"price": {"id": "price_pro"}}]}})],
        records=[("pro", "2026-08-01", False), ("enterprise", "2026-11-10", False)],
    )

    # The whole history is in events.
    name = "incomplete_then_paid"
    one, two = old(name, "incomplete", start="2026-11-01"), old(name, "active", start="2026-11-01")
    cases[name] = Case(
        [two],
        [event("created", "2026-11-01", one), event("updated", "2026-11-01T00:03:00", two, {"status": "incomplete"})],
        records=[("pro", "2026-11-01T00:03:00", False)],
    )
    name = "unpaid_then_paid"
    steps = [old(name, status, start="2026-11-01") for status in ("active", "past_due", "unpaid", "active")]
    cases[name] = Case(
        [steps[-1]],
        [
            event("created", "2026-11-01", steps[0]),
            event("updated", "2026-11-02", steps[1], {"status": "active"}),
            event("updated", "2026-11-03", steps[2], {"status": "past_due"}),
            event("updated", "2026-11-04", steps[3], {"status": "unpaid"}),
        ],
        records=[("pro", "2026-11-01", False), ("hobby", "2026-11-03", False), ("pro", "2026-11-04", False)],
    )
    name = "events_of_one_second"
    steps = [old(name, status, start="2026-11-01") for status in ("incomplete", "active", "past_due", "unpaid")]
    cases[name] = Case(
        [steps[-1]],
        [
            event("created", "2026-11-01", steps[0], id="evt_one_d"),
            event("updated", "2026-11-01", steps[1], {"status": "incomplete"}, id="evt_one_c"),
            event("updated", "2026-11-01", steps[2], {"status": "active"}, id="evt_one_b"),
            event("updated", "2026-11-02", steps[3], {"status": "past_due"}, id="evt_one_a"),
        ],
        records=[("pro", "2026-11-01", False), ("hobby", "2026-11-02", False)],
    )
    name = "ambiguous_for_an_hour"
    steps = [
        old(name, "active", *prices, start="2026-11-01")
        for prices in (("price_pro",), ("price_pro", "price_ent"), ("price_ent",))
    ]
    cases[name] = Case(
        [steps[-1]],
        [
            event("created", "2026-11-01", steps[0]),
            event("updated", "2026-11-02T00:00:00", steps[1], {"items": steps[0]["items"]}),
            event("updated", "2026-11-02T01:00:00", steps[2], {"items": steps[1]["items"]}),
        ],
        records=[("pro", "2026-11-01", False), ("enterprise", "2026-11-02T01:00:00", False)],
        problems=["two_plans"],
    )

    # Two subscriptions of one customer: the later one wins while it gives a plan; they end independently.
    name = "the_later_of_two"
    first = subscription(f"sub_1{name}", name, "active", "price_pro", start="2026-08-01")
    second = subscription(f"sub_0{name}", name, "canceled", "price_ent", start="2026-09-01", ended_at="2026-10-01")
    cases[name] = Case(
        [first, second],
        records=[("pro", "2026-08-01", False), ("enterprise", "2026-09-01", False), ("pro", "2026-10-01", False)],
    )
    name = "replaced_by_another"
    first = subscription(f"sub_1{name}", name, "canceled", "price_pro", start="2026-08-01", ended_at="2026-09-05")
    second = subscription(f"sub_0{name}", name, "active", "price_pro_yearly", start="2026-09-01")
    third = subscription(f"sub_2{name}", name, "incomplete_expired", "price_ent", start="2026-09-03")
    cases[name] = Case([first, second, third], records=[("pro", "2026-08-01", False)])

    # Mirrored before a gap in the events.
    name = "unpaid_in_the_gap"
    cases[name] = Case(
        [old(name, "unpaid", start="2026-05-01")],
        earlier=[old(name, "active", start="2026-05-01")],
        records=[("pro", "2026-05-01", False), ("hobby", FIRST_SYNC, False)],
    )
    name = "canceled_in_the_gap"
    cases[name] = Case(
        [old(name, "canceled", start="2026-05-01", ended_at="2026-09-10")],
        earlier=[old(name, "active", start="2026-05-01")],
        records=[("pro", "2026-05-01", False), ("hobby", "2026-09-10", False)],
    )
    name = "another_plan_in_the_gap"
    cases[name] = Case(
        [old(name, "active", "price_ent", start="2026-05-01")],
        earlier=[old(name, "active", start="2026-05-01")],
        records=[("pro", "2026-05-01", False), ("enterprise", FIRST_SYNC, False)],
    )
    name = "an_event_after_the_first_sync_keeps_what_was_before_it"
    now = old(name, "active", "price_ent", start="2026-03-01")
    cases[name] = Case(
        [now],
        earlier=[old(name, "active", start="2026-03-01")],
        later_events=[event("updated", "2026-06-07", now, {"items": {"data": [{"price": {"id": "price_pro"}}]}})],
        records=[("pro", "2026-03-01", False), ("enterprise", "2026-06-07", False)],
    )
    name = "a_deleted_customer_keeps_its_history"
    cases[name] = Case(
        [old(name, "canceled", start="2026-05-01", ended_at="2026-09-10")],
        earlier=[old(name, "active", start="2026-05-01")],
        is_customer_deleted=True,
        records=[("pro", "2026-05-01", False), ("hobby", "2026-09-10", False)],
    )
    return cases


CASES = _cases()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """All cases, each with its own customer, mirrored by one sync and built."""
    folder = tmp_path_factory.mktemp("subscriptions")
    home = copy_home(parsed_project, folder / "home")
    not_linked = old("not_linked", "active")
    write_sync(home, EARLIER_SYNC, subscriptions=[one for case in CASES.values() for one in case.earlier], customers=CASES)
    write_sync(home, LATER_SYNC, events=[one for case in CASES.values() for one in case.later_events], is_full=False)
    write_sync(
        home,
        FIRST_SYNC,
        events=[one for case in CASES.values() for one in case.events],
        subscriptions=[one for case in CASES.values() for one in case.subscriptions] + [not_linked],
        customers=[name for name, case in CASES.items() if not case.is_customer_deleted],
    )
    build(home, datetime(2026, 12, 2, tzinfo=UTC), project=project_with(folder / "project", PRICES))
    return home


def records(home: Home, customer: str) -> list[PlanRecord]:
    """The plan records from Stripe."""
    with duckdb.connect(str(home.warehouse), read_only=True) as warehouse:
        rows = warehouse.execute(
            "select plan_id, effective_at, is_trial from customers.plan_records where customer_id = ? and source = 'stripe'"
            " order by effective_at",
            [customer],
        ).fetchall()
    return [(plan, at.isoformat(), is_trial) for plan, at, is_trial in rows]


@pytest.mark.parametrize("name", CASES)
def test_a_subscription_gives_the_expected_plan(home: Home, name: str) -> None:
    expected = [(plan, datetime.fromisoformat(at).isoformat(), is_trial) for plan, at, is_trial in CASES[name].records]
    assert records(home, name) == expected
    states = query(home, "from stripe_subscriptions where customer_id = ? and problem <> 'none'", name)
    assert [row["problem"] for row in states] == CASES[name].problems


def test_a_subscription_of_an_unknown_customer_is_a_problem(home: Home) -> None:
    (row,) = query(home, "from stripe_subscriptions where stripe_customer_id = 'cus_not_linked'")
    assert (row["customer_id"], row["plan_id"], row["problem"]) == (None, "pro", "unknown_customer")


def test_a_sync_mirrors_all_items_and_every_change_of_status(tmp_path: Path, parsed_project: Path) -> None:
    """Twelve items with the plan last (Stripe returns ten), a trial, a pause, a first payment, a deleted customer."""
    home = copy_home(parsed_project, tmp_path / "home")
    with running_emulator(home.stripe_emulator) as address, quick_connection(address) as connection:
        v1: Any = connection.client.v1
        pro, *addons = (v1.prices.create({"currency": "usd", "unit_amount": 0, "product": "prod_x"}).id for _ in range(12))
        customers = {name: v1.customers.create({"metadata": {"billhouse_customer_id": name}}).id for name in "abcde"}

        def subscribe(name: str, *prices: str, **more: Any) -> Any:
            return v1.subscriptions.create({"customer": customers[name], "items": [{"price": one} for one in prices], **more})

        many = subscribe("a", *addons, pro)
        assert (len(many["items"].data), many["items"].has_more) == (10, True)
        subscribe("b", pro, trial_period_days=10)
        v1.subscriptions.pause(subscribe("c", pro).id)
        incomplete = subscribe("d", pro, payment_behavior="default_incomplete")
        assert incomplete.status == "incomplete"
        subscribe("e", pro)
        sync_stripe(home, client=connection)
        post(f"{address}/emulator/subscriptions", json.dumps({"id": incomplete.id, "status": "active"}))
        v1.customers.delete(customers["e"])
        sync_stripe(home, client=connection)
        sync_stripe(home, client=connection, full=True)
    next_year = datetime(datetime.now(UTC).year + 1, 6, 1, tzinfo=UTC)
    build(home, next_year, project=project_with(tmp_path / "project", {pro: "pro"}))
    plans = {name: [(plan, is_trial) for plan, _, is_trial in records(home, name)] for name in customers}
    assert plans["a"] == [("pro", False)]
    assert plans["b"] == [("pro", True), ("pro", False)]
    assert plans["c"] in ([("pro", False), ("hobby", False)], [])  # empty if paused in the second in which it began
    assert plans["d"] == [("pro", False)]
    assert plans["e"] in ([("pro", False), ("hobby", False)], [])
    states = {row["customer_id"]: row for row in query(home, "from stripe_subscriptions where is_current")}
    assert (states["a"]["item_count"], states["a"]["plan_item_count"]) == (12, 1)
    assert {name: row["stripe_status"] for name, row in states.items()} == {
        "a": "active",
        "b": "active",
        "c": "paused",
        "d": "active",
        "e": "canceled",
    }
    outcome = billhouse(home.path, "reconcile")
    assert outcome.code == 0, outcome.stdout


def test_reconcile_lists_subscriptions_that_do_not_identify_their_plan(home: Home) -> None:
    outcome = billhouse(home.path, "reconcile", "--json")
    assert outcome.code == 1
    found = {row["stripe_subscription_id"]: row["problem"] for row in outcome.json["subscriptions"]}
    assert found == {
        "sub_two_plans_are_a_problem": "two_plans",
        "sub_no_plan_is_a_problem": "no_plan",
        "sub_an_unknown_status": "unknown_status",
        "sub_not_linked": "unknown_customer",
    }
    assert "unknown_customer" in billhouse(home.path, "reconcile").stdout


SYNCED_AT = datetime.fromisoformat(FIRST_SYNC)
HISTORIES = 150


def random_history(random: Random) -> list[State]:
    """The states of a subscription: perhaps a trial, then failed payments, pauses, other plans, an end."""
    at = SYNCED_AT - timedelta(hours=random.randrange(1, 120 * 24))
    plan = random.choice(("pro", "enterprise"))
    trial = (at, at + timedelta(days=random.randrange(2, 40))) if random.random() < 0.4 else (None, None)
    status = "trialing" if trial[0] else random.choice(("active", "active", "incomplete"))
    life = [State(at, status, plan, trial[0], trial[1])]
    while len(life) < 8:
        last = life[-1]
        if last.status == "trialing" and random.random() < 0.8:
            assert last.trial_ends_at is not None
            at, status = last.trial_ends_at, "active"
        else:
            at = last.at + timedelta(hours=random.randrange(1, 25 * 24))
            status = random.choice(NEXT[last.status])
            if last.status == "trialing" and last.trial_ends_at is not None and at >= last.trial_ends_at:
                continue
        if at >= SYNCED_AT - timedelta(hours=2):
            break
        if status == last.status:
            plan = "pro" if plan == "enterprise" else "enterprise"
        paused_at = (last.paused_at or at) if status == "paused" else None
        life.append(State(at, status, plan, trial[0], trial[1], paused_at))
        if status in ("canceled", "incomplete_expired"):
            break
    return life


NEXT = {
    "trialing": ("trialing", "canceled"),
    "incomplete": ("active", "incomplete_expired"),
    "active": ("active", "past_due", "paused", "canceled"),
    "past_due": ("active", "unpaid", "canceled"),
    "unpaid": ("active", "unpaid", "canceled"),
    "paused": ("active", "paused", "canceled"),
}
"""Possible next statuses; the same status means another plan."""
PRICE_OF = {"pro": "price_pro", "enterprise": "price_ent"}


def as_stripe_returns(name: str, number: int, life: list[State], state: State) -> Row:
    """The subscription as Stripe returns it in a state."""
    more: dict[str, Any] = {"trial_start": state.trial_starts_at, "trial_end": state.trial_ends_at}
    if state.paused_at is not None:
        more |= _paused(state.paused_at.isoformat())
    if state.status in ("canceled", "incomplete_expired"):
        more["ended_at"] = state.at
    prices = ("price_addon", PRICE_OF[state.plan_id])
    return subscription(f"sub_{name}_{number}", name, state.status, *prices, start=life[0].at, **more)


def events_of(name: str, number: int, life: list[State]) -> list[Row]:
    """The events that Stripe still lists."""
    events = []
    for previous, state in zip([None, *life], life, strict=False):
        body = as_stripe_returns(name, number, life, state)
        if previous is None:
            events.append(event("created", state.at, body))
        elif state.status == "canceled":
            events.append(event("deleted", state.at, body))
        else:
            before = as_stripe_returns(name, number, life, previous)
            events.append(
                event("updated", state.at, body, {key: before.get(key) for key in before if before[key] != body.get(key)})
            )
    return [one for one in events if one["created"] > seconds(SYNCED_AT - MEMORY)]


def test_random_histories_give_the_plans_of_the_reference(tmp_path: Path, parsed_project: Path) -> None:
    random = Random(16)
    lives = {f"r{number}": [random_history(random) for _ in range(random.choice((1, 1, 2)))] for number in range(HISTORIES)}
    everything = [(name, number, life) for name, own in lives.items() for number, life in enumerate(own)]
    events = [one for item in everything for one in events_of(*item)]
    home = copy_home(parsed_project, tmp_path / "home")
    write_sync(
        home,
        FIRST_SYNC,
        events=sorted(events, key=lambda one: int(one["created"])),
        subscriptions=[as_stripe_returns(name, number, life, life[-1]) for name, number, life in everything],
        customers=lives,
    )
    build(home, datetime(2026, 12, 31, tzinfo=UTC), project=project_with(tmp_path / "project", PRICES))
    for name, own in lives.items():
        found = [(datetime.fromisoformat(at), (plan, is_trial)) for plan, at, is_trial in records(home, name)]
        edges = {state.at for life in own for state in life} | {SYNCED_AT} | {at for at, _ in found}
        edges |= {end for life in own for state in life if (end := state.trial_ends_at) is not None}
        for edge in sorted(edges):
            for at in (edge - timedelta(seconds=1), edge):
                in_force = max((one for one in found if one[0] <= at), default=None, key=lambda one: one[0])
                mine = None if in_force is None or in_force[1][0] == "hobby" else in_force[1]
                by_start = sorted(enumerate(own), key=lambda item: (item[1][0].at, item[0]), reverse=True)
                given = [plan for _, life in by_start if (plan := given_plan(life, SYNCED_AT, at)) is not None]
                assert mine == (given[0] if given else None), (name, at, own, found)
