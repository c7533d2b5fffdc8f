"""Nothing used goes unbilled, and no event without a trace: from the raw events to the lines. Billing rules, sections 3 and 4."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files
from pipeline.ledger.explain import explain
from pipeline.warehouse.build import build
from tests.models.test_against_reference import land_records, land_voids
from tests.reference import accept
from tests.reference.strategies import random_batch, to_jsonl_parts
from tests.support import billhouse, copy_home, event, failed_checks, query, write_jsonl

NOTHING = {"vcpu_count": 0, "memory_gb": 0, "storage_gb": 0}
MILLION = 1_000_000
"""Tokens of one package, which costs 2.00 USD on every plan."""


def subscription(customer: str, plan: str) -> dict[str, Any]:
    return {"customer_id": customer, "plan_id": plan, "effective_at": "2026-09-01T00:00:00Z"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """Quantities in every position, and events without effect: a customer each."""
    folder = tmp_path_factory.mktemp("conservation")
    home = copy_home(parsed_project, folder / "home")

    def day(what: str, time: str, customer: str, **more: Any) -> dict[str, Any]:
        return event(what, f"2026-09-10T{time}Z", user=customer, sandbox=customer, **more)

    usage = [
        day("start", "10:00:00", "late", **NOTHING),
        day("stop", "10:10:00", "late"),
        day("update", "10:10:00.250", "late", tokens=5 * MILLION),
        day("stop", "10:00:00", "alone", tokens=5 * MILLION),
        day("update", "10:00:00", "only", tokens=MILLION),
        day("usage", "10:00:00", "recorded", tokens=MILLION),
        # Hobby, at most an hour: an update says that it still runs, recorded usage does not.
        day("start", "10:00:00", "confirmed", vcpu_count=2),
        day("update", "12:30:00", "confirmed", tokens=1),
        day("start", "10:00:00", "unconfirmed", vcpu_count=2),
        day("usage", "12:30:00", "unconfirmed", tokens=1),
        day("usage", "10:30:00", "unconfirmed", tokens=7),
        day("start", "10:00:00", "twice", vcpu_count=2, event_id="twice-1"),
        day("start", "10:00:00", "twice", vcpu_count=4, event_id="twice-2"),
        day("stop", "11:00:00", "twice"),
        day("update", "11:00:01", "twice", vcpu_count=64, event_id="twice-late"),
        # An execution, and events that do not name it.
        day("start", "10:00:00", "mixed", execution_id="x", vcpu_count=2),
        day("update", "10:30:00", "mixed", vcpu_count=4),
        day("stop", "11:00:00", "mixed"),
        day("update", "11:30:00", "mixed", vcpu_count=64, tokens=7, event_id="mixed-late"),
        day("stop", "11:15:00", "mixed", execution_id="x", event_id="mixed-stop"),
        day("start", "10:00:00", "complete", vcpu_count=2, memory_gb=4, storage_gb=1),
        day("stop", "11:00:00", "complete"),
    ]
    plans = [subscription(customer, "pro") for customer in ("only", "recorded")]
    plans += [subscription(customer, "enterprise") for customer in ("late", "alone")]
    assert billhouse(home.path, "land", write_jsonl(folder / "usage.jsonl", usage)).code == 0
    assert billhouse(home.path, "land", "--kind", "subscriptions", write_jsonl(folder / "plans.jsonl", plans)).code == 0
    assert billhouse(home.path, "build", "--as-of", "2026-10-03T00:00:00Z").code == 0
    return home


def usage_amounts(home: Home, customer: str) -> dict[str, Decimal]:
    rows = query(home, "from invoice_lines where customer_id = ? and line_type = 'usage'", customer)
    return {row["meter_id"]: row["amount"] for row in rows}


def sessions(home: Home, customer: str) -> list[str]:
    rows = query(home, "from sessions where customer_id = ? order by started_at", customer)
    return [f"{row['started_at']:%H:%M}-{row['ended_at']:%H:%M} {row['end_reason']}" for row in rows]


def test_tokens_reported_after_the_stop_are_billed_five_packages_at_2_are_10(built: Home) -> None:
    assert usage_amounts(built, "late") == {"tokens": Decimal("10.00")}
    assert query(built, "from ignored_events where customer_id = 'late'") == []


def test_tokens_on_a_stop_without_a_start_are_billed_and_the_stop_is_listed_as_ignored(built: Home) -> None:
    assert usage_amounts(built, "alone") == {"tokens": Decimal("10.00")}
    (ignored,) = query(built, "from ignored_events where customer_id = 'alone'")
    assert (ignored["reason"], ignored["tokens"], ignored["is_quantity_billed"]) == ("stop_without_start", 5 * MILLION, True)
    assert (ignored["file_name"], ignored["file_row"]) == ("usage.jsonl", 4)


@pytest.mark.parametrize("customer", ["only", "recorded"])
def test_a_customer_with_tokens_alone_is_billed_2_for_them_and_no_sandbox(customer: str, built: Home) -> None:
    assert usage_amounts(built, customer) == {"tokens": Decimal("2.00")}
    assert sessions(built, customer) == []


def test_an_update_with_tokens_alone_confirms_a_session_and_recorded_usage_does_not(built: Home) -> None:
    assert sessions(built, "confirmed") == ["10:00-12:30 end_inferred"]
    assert sessions(built, "unconfirmed") == ["10:00-11:00 end_inferred"]


def test_the_session_that_runs_is_named_beside_recorded_usage(built: Home) -> None:
    (session,) = query(built, "from sessions where customer_id = 'unconfirmed'")
    assert session["tokens"] == 7
    (billed,) = query(
        built, "select sum(quantity) as tokens from usage_daily where customer_id = 'unconfirmed' and meter_id = 'tokens'"
    )
    assert billed["tokens"] == 8


def test_what_an_ignored_event_names_is_listed_with_its_reason(built: Home) -> None:
    ignored = query(built, "from ignored_events where customer_id = 'twice' order by event_at")
    assert [(row["event_id"], row["reason"], row["vcpu_count"]) for row in ignored] == [
        ("twice-1", "superseded", 2),
        ("twice-late", "update_after_stop", 64),
    ]
    # 4 vCPU for an hour, as the start with the highest event_id says: 4 x 3600 x 0.000014 = 0.2016.
    assert usage_amounts(built, "twice")["vcpu"] == Decimal("0.20")


def test_events_without_an_execution_belong_to_the_one_that_runs_and_are_listed_where_none_does(built: Home) -> None:
    assert sessions(built, "mixed") == ["10:00-11:00 stopped"]
    # Half an hour of 2 vCPU and half an hour of 4: 3 x 3600 x 0.000014 = 0.1512.
    assert usage_amounts(built, "mixed")["vcpu"] == Decimal("0.15")
    ignored = query(built, "from ignored_events where customer_id = 'mixed' order by event_at")
    assert [(row["event_id"], row["reason"], row["is_quantity_billed"]) for row in ignored] == [
        ("mixed-stop", "stop_without_start", False),
        ("mixed-late", "no_execution", True),
    ]
    (billed,) = query(
        built, "select sum(quantity) as tokens from usage_daily where customer_id = 'mixed' and meter_id = 'tokens'"
    )
    assert billed["tokens"] == 7


def test_an_invoice_of_tokens_alone_is_explained_down_to_the_event(built: Home) -> None:
    (invoice,) = query(built, "from invoices where customer_id = 'alone'")
    (line,) = query(built, "from invoice_lines where customer_id = 'alone'")
    (explained,) = explain(built, invoice["invoice_id"], line["line_id"]).lines
    (day,) = explained.days
    (share,) = day.sessions
    assert (share.end_reason, share.amount, share.sandbox_id) == ("no_session", Decimal("10.00"), "alone")
    assert [(event.event_type, event.named, event.file_row) for event in share.events] == [
        ("sandbox_stopped", "tokens 5000000", 4)
    ]


def test_a_session_whose_opening_names_too_little_says_that_the_default_sandbox_supplied_it(built: Home) -> None:
    rows = query(built, "select customer_id, has_defaulted_resources from sessions where customer_id in ('twice', 'complete')")
    assert {row["customer_id"]: row["has_defaulted_resources"] for row in rows} == {"twice": True, "complete": False}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (event("usage", "2026-09-10T10:00:00Z"), "missing_field"),
        (event("usage", "2026-09-10T10:00:00Z", tokens=1, vcpu_count=2), "bad_value"),
    ],
)
def test_recorded_usage_carries_quantities_and_nothing_else(row: dict[str, Any], reason: str, home: Home, tmp_path: Path) -> None:
    summary = land_files(home, [write_jsonl(tmp_path / "usage.jsonl", [row])])
    assert [file.by_reason for file in summary.files] == [{reason: 1}]


MODELS = {
    "staging.compacted_events": {"every_landed_event_is_counted"},
    "staging.assigned_events": {"every_event_acts_or_is_ignored"},
    "usage.sandbox_states": {"every_session_is_cut_without_loss"},
    "usage.sandbox_sessions": {"every_event_acts_or_is_ignored"},
    "usage.recorded_quantities": {"every_quantity_reaches_its_line"},
    "usage.ignored_events": {"every_event_acts_or_is_ignored"},
    "usage.session_pieces": {"every_session_is_cut_without_loss"},
    "usage.timelines": {"every_session_is_cut_without_loss"},
    "rating.usage_segments": {"every_quantity_reaches_its_line"},
    "rating.session_usage": {"segments_fill_their_sessions"},
    "rating.usage_totals": {"every_quantity_reaches_its_line"},
    "rating.usage_by_day": {"every_quantity_reaches_its_line"},
    "rating.due_lines": {"every_quantity_reaches_its_line"},
}
"""Every table between the raw events and the lines, and checks that must fail where one of its rows is gone."""

ROWS = {
    "usage.timelines": "event_count > 0",
    "rating.usage_segments": "list_amount > 0",
    "rating.due_lines": "line_type = 'usage' and quantity > 0",
}
"""Which rows of a table carry something; default: all."""


@pytest.mark.parametrize("table", MODELS)
def test_a_build_fails_where_any_model_on_the_way_drops_one_row(table: str, built: Home) -> None:
    checks = set().union(*MODELS.values())
    assert failed_checks(built, checks) == set()
    drop_one = f"delete from {table} where rowid = (select min(rowid) from {table} where {ROWS.get(table, 'true')})"
    assert MODELS[table] <= failed_checks(built, checks, drop_one)


def test_raw_events_added_by_hand_are_sessions_and_ignored_events_and_lines(home: Home, tmp_path: Path) -> None:
    """Of a random history, without the engine: tokens and events by addition, vCPU-seconds of sessions against lines."""
    batch = random_batch(Random(31), 40, vary_prices=False)
    land_files(home, to_jsonl_parts(batch, tmp_path, 2))
    land_records(batch, home, tmp_path, PROJECT_ROOT)
    land_voids(batch.event_voids, home, tmp_path, PROJECT_ROOT)
    build(home, batch.as_of)
    voided = {void.event_id for void in batch.event_voids if void.voided_at <= batch.as_of}
    seen = [row for row in accept(batch.events).events if row.event_at <= batch.as_of]
    counted = [row for row in seen if row.event_id not in voided]
    tokens: Counter[str] = Counter()
    for row in counted:
        tokens[row.user_id] += row.tokens or Decimal(0)  # type: ignore[assignment]
    billed = query(home, "select customer_id, sum(quantity) as tokens from usage_daily where meter_id = 'tokens' group by all")
    assert {row["customer_id"]: row["tokens"] for row in billed if row["tokens"]} == dict(+tokens)
    held = query(home, "select customer_id, sum(vcpu_seconds) as held from sessions group by all order by all")
    lines = query(
        home, "select customer_id, sum(quantity) as held from invoice_lines where meter_id = 'vcpu' group by all order by all"
    )
    assert [row for row in held if row["held"]] == [row for row in lines if row["held"]]
    ignored = {row["event_id"] for row in query(home, "from ignored_events")}
    assert {row.event_id for row in seen if row.event_id in voided} <= ignored
    with duckdb.connect(str(home.warehouse), read_only=True) as warehouse:
        acted = warehouse.execute(
            "select (select sum(event_count) from usage.sandbox_sessions)"
            " + (select sum(quantity_event_count) from usage.recorded_quantities)"
        ).fetchone()
    assert acted is not None
    assert acted[0] + len(ignored) == len(seen)


def void(event_id: str, at: str) -> dict[str, str]:
    return {"event_id": event_id, "voided_at": at, "reason": "sent by mistake"}


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> dict[str, Home]:
    """900 million tokens instead of 900 thousand, and a sandbox under the wrong customer.

    Of some customers, "open", that is corrected before the month is closed; of the others, "closed", after it.
    """
    folder = tmp_path_factory.mktemp("corrected")
    home = copy_home(parsed_project, folder / "home")

    def run(*words: object) -> None:
        outcome = billhouse(home.path, *words)
        assert outcome.code == 0, outcome.stderr

    def correct(when: str) -> None:
        """What was wrong is voided, and what is right lands."""
        wrong, right = f"wrong-{when}", f"right-{when}"
        voids = [void(f"{event_id}-{when}", "2026-10-04T00:00:00Z") for event_id in ("too-many", "b-start", "b-stop")]
        events = [
            event("usage", "2026-09-10T10:00:00Z", user=wrong, sandbox=f"a-{when}", tokens=900_000),
            event("start", "2026-09-10T10:00:00Z", user=right, sandbox=f"b-{when}", vcpu_count=100),
            event("stop", "2026-09-10T20:00:00Z", user=right, sandbox=f"b-{when}"),
        ]
        run("land", "--kind", "voids", write_jsonl(folder / f"voids-{when}.jsonl", voids))
        run("land", write_jsonl(folder / f"corrected-{when}.jsonl", events))
        run("build", "--as-of", "2026-10-05T00:00:00Z")

    usage, plans = [], []
    for when in ("open", "closed"):
        wrong, a, b = f"wrong-{when}", f"a-{when}", f"b-{when}"
        at, end = "2026-09-10T10:00:00Z", "2026-09-10T20:00:00Z"
        usage.append(event("usage", at, user=wrong, sandbox=a, tokens=900 * MILLION, event_id=f"too-many-{when}"))
        usage.append(event("start", at, user=wrong, sandbox=b, vcpu_count=100, event_id=f"b-start-{when}"))
        usage.append(event("stop", end, user=wrong, sandbox=b, event_id=f"b-stop-{when}"))
        plans += [subscription(customer, "enterprise") for customer in (wrong, f"right-{when}")]
    run("land", write_jsonl(folder / "usage.jsonl", usage))
    run("land", "--kind", "subscriptions", write_jsonl(folder / "plans.jsonl", plans))
    run("build", "--as-of", "2026-10-03T00:00:00Z")
    correct("open")
    homes = {"open": copy_home(home.path, folder / "open")}
    run("close", "2026-09")
    correct("closed")
    return homes | {"closed": home}


def amounts(home: Home, period: str, when: str) -> dict[tuple[str, str], Decimal]:
    """Of the customers whose usage was corrected then, by customer and meter."""
    rows = query(home, "from invoice_lines where meter_id in ('vcpu', 'tokens') and period = ?", period)
    ours = [row for row in rows if row["customer_id"].endswith(f"-{when}")]
    return {(row["customer_id"].removesuffix(f"-{when}"), row["meter_id"]): row["amount"] for row in ours if row["amount"]}


def test_a_voided_event_is_as_if_it_had_never_been_sent(corrected: dict[str, Home]) -> None:
    """One package of tokens is 2.00; 100 vCPU for ten hours are 100 x 36,000 x 0.000014 = 50.40, of the right customer."""
    home = corrected["open"]
    assert amounts(home, "2026-09", "open") == {("wrong", "tokens"): Decimal("2.00"), ("right", "vcpu"): Decimal("50.40")}
    voided = query(home, "from ignored_events where reason = 'voided' order by event_id")
    assert [(row["event_id"], row["void_reason"]) for row in voided] == [
        ("b-start-open", "sent by mistake"),
        ("b-stop-open", "sent by mistake"),
        ("too-many-open", "sent by mistake"),
    ]


def test_a_void_after_the_close_is_an_adjustment_on_the_next_invoice(corrected: dict[str, Home]) -> None:
    """900 packages at 2.00 were 1,800.00, and one is due: -1,798.00. The vCPU move from one customer to the other."""
    home = corrected["closed"]
    assert amounts(home, "2026-10", "closed") == {
        ("wrong", "tokens"): Decimal("-1798.00"),
        ("wrong", "vcpu"): Decimal("-50.40"),
        ("right", "vcpu"): Decimal("50.40"),
    }
    billed = {("wrong", "tokens"): Decimal("1800.00"), ("wrong", "vcpu"): Decimal("50.40")}
    assert amounts(home, "2026-09", "closed") == billed
    assert amounts(home, "2026-10", "open") == {}, "what was corrected before the close needs no adjustment"
