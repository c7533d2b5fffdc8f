"""`billhouse close --check`: each state of each item, and that the checklist takes no lock and writes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.ledger import closing_checklist as checklist
from pipeline.ledger.checklist_item import ChecklistItem, CheckState
from pipeline.ledger.closing_checklist import can_be_closed, closing_checklist
from pipeline.store.alert_log import OperationalAlert, raise_alert
from tests.support import billhouse, copy_home, event, write_jsonl

SEPTEMBER, OCTOBER = BillingPeriod(2026, 9), BillingPeriod(2026, 10)
AFTER_GRACE = datetime(2026, 10, 5, tzinfo=UTC)


@pytest.fixture
def home(two_months: Path, tmp_path: Path) -> Home:
    """August is closed; September is built after its end, and nothing is wrong with it but default resources."""
    return copy_home(two_months, tmp_path / "home")


def items(
    home: Home, period: BillingPeriod = SEPTEMBER, now: datetime = AFTER_GRACE, project: Path | None = None
) -> dict[str, ChecklistItem]:
    return {one.name: one for one in closing_checklist(home, period, now=now, project=project)}


def change(home: Home, sql: str) -> None:
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute(sql)


def adjust(home: Home, amount: str) -> None:
    """Add a line to customer-0's draft of September that corrects August, of which 0.06 was billed."""
    change(
        home,
        f"insert into invoice_lines select * replace ('2026-08' as service_period, {amount} as amount, true as is_adjustment)"
        " from invoice_lines where period = '2026-09' and customer_id = 'customer-0' and meter_id = 'vcpu'",
    )


def ignore(home: Home, reason: str) -> None:
    change(
        home,
        "insert into ignored_events (event_id, customer_id, event_at, reason)"
        f" values ('e', 'customer-0', '2026-09-12T00:00:00Z', '{reason}')",
    )


def test_a_month_of_which_nothing_is_wrong_can_be_closed(home: Home) -> None:
    change(home, "update sessions set has_defaulted_resources = false")
    found = items(home)
    assert list(found) == [
        "grace_period",
        "order",
        "last_build",
        "prices",
        "inbox",
        "feeds",
        "quarantine",
        "alerts",
        "drafts",
        "adjustments",
        "open_sessions",
        "inferred_ends",
        "defaulted_resources",
        "ignored_events",
        "stripe",
        "ledger",
    ]
    assert {one.state for one in found.values()} == {CheckState.OK}
    assert not any(one.next_step for one in found.values())
    assert can_be_closed(list(found.values()))


def test_sessions_and_events_that_a_person_should_look_at_are_counted(home: Home) -> None:
    change(home, "update sessions set end_reason = 'open' where sandbox_id = 'customer-3-09'")
    change(home, "update sessions set end_reason = 'end_inferred' where sandbox_id = 'customer-4-09'")
    change(home, "update sessions set end_reason = 'stop_missing' where sandbox_id = 'customer-5-08'")  # of another month
    ignore(home, "stop_without_start")
    found = items(home)
    assert {name for name, one in found.items() if one.state is CheckState.ATTENTION} == {
        "open_sessions",
        "inferred_ends",
        "defaulted_resources",
        "ignored_events",
    }
    assert all(found[name].next_step for name in found if found[name].state is CheckState.ATTENTION)
    assert "Longest: customer-3-09 of customer-3" in found["open_sessions"].detail
    assert found["inferred_ends"].detail == "1 sessions have no stop: end_inferred 1."
    assert found["defaulted_resources"].detail.startswith("20 sessions of 20 customers")
    assert found["ignored_events"].examples == ({"reason": "stop_without_start", "events": 1},)
    assert can_be_closed(list(found.values()))


def test_the_command_prints_the_items_exits_with_1_if_one_blocks_and_writes_nothing(home: Home) -> None:
    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(home.path.rglob("*")) if ".tmp" not in path.parts}

    ready = billhouse(home.path, "close", "2026-09", "--check", "--json")
    assert (ready.code, ready.json["can_be_closed"]) == (0, True)
    adjust(home, "5.04")
    before = state()
    with home.writing():  # as a build that runs: the checklist waits for no lock
        checked = billhouse(home.path, "close", "2026-09", "--check", "--json")
        printed = billhouse(home.path, "close", "2026-09", "--check")
    assert state() == before
    assert (checked.code, printed.code) == (1, 1)
    assert checked.json["can_be_closed"] is False
    assert [one["name"] for one in checked.json["items"]][:3] == ["grace_period", "order", "last_build"]
    assert "blocks    Adjustments of closed months" in printed.stdout
    assert "customer-0, 2026-08: 5.04 USD" in printed.stdout
    assert "billhouse close 2026-09 --accept-adjustments" in printed.stdout


def test_small_adjustments_need_attention_and_sessions_taken_back_are_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    adjust(home, "5.04")
    assert items(home)["adjustments"].state is CheckState.BLOCKS
    monkeypatch.setenv("BILLHOUSE_ADJUSTMENT_LIMIT_SHARE", "1000")
    ignore(home, "no_execution")
    found = items(home)["adjustments"]
    assert found.state is CheckState.ATTENTION
    assert found.examples[0]["adjustment_amount"] == "5.040"
    assert "1 events of all months have no execution" in found.detail


def test_rows_in_quarantine_that_landed_since_the_month_began_need_attention(home: Home, tmp_path: Path) -> None:
    bad = {**event("start", "2026-09-14T10:00:00Z", sandbox="bad"), "vcpu_count": "NaN"}
    billhouse(home.path, "land", write_jsonl(tmp_path / "bad.jsonl", [bad]))
    found = items(home)["quarantine"]
    assert (found.state, "bad_number (1)" in found.detail) == (CheckState.ATTENTION, True)
    assert items(home, BillingPeriod(9998, 1))["quarantine"].state is CheckState.OK


def test_a_month_is_not_closed_before_its_grace_period_ends_or_before_the_books_open(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = items(home, now=AFTER_GRACE - timedelta(days=3))["grace_period"]
    assert (early.state, early.detail) == (
        CheckState.BLOCKS,
        "It ends at 2026-10-03 00:00 UTC: late events have until then.",
    )
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-10")
    assert "The books open with 2026-10" in items(home)["grace_period"].detail


def test_months_close_in_order(home: Home) -> None:
    change(home, "update invoices set status = 'draft' where period = '2026-08'")
    later = items(home, OCTOBER)["order"]
    assert (later.state, later.next_step) == (CheckState.BLOCKS, "Close it first: billhouse close 2026-08")
    assert items(home, BillingPeriod(2026, 7))["order"].state is CheckState.BLOCKS
    closed = closing_checklist(home, BillingPeriod(2026, 8))
    assert [one.name for one in closed] == ["order", "ledger"] and "was closed at" in closed[0].detail


def test_the_last_build_has_to_be_after_the_month_and_whole(home: Home, tmp_path: Path) -> None:
    assert "the month was not over" in items(home, OCTOBER)["last_build"].detail
    landed = write_jsonl(tmp_path / "more.jsonl", [event("start", "2026-09-20T10:00:00Z", sandbox="c")])
    assert billhouse(home.path, "land", landed).code == 0
    assert items(home)["last_build"].state is CheckState.ATTENTION
    record = home.path / "build" / "last.json"
    record.write_text(record.read_text().replace('"inputs": {', '"inputs": {}, "were": {'))
    assert (items(home)["last_build"].state, items(home)["last_build"].next_step) == (CheckState.BLOCKS, "billhouse build")


def test_a_home_without_a_build_is_blocked_by_that(tmp_path: Path) -> None:
    found = items(Home.open(tmp_path / "new"), project=PROJECT_ROOT)
    assert {name for name, one in found.items() if one.state is CheckState.BLOCKS} == {"last_build"}
    assert found["order"].state is CheckState.ATTENTION


def test_files_in_the_inbox_block_if_they_waited_since_the_grace_period(home: Home, tmp_path: Path) -> None:
    (home.inbox / "usage").mkdir(parents=True, exist_ok=True)
    file = write_jsonl(home.inbox / "usage" / "september.jsonl", [event("start", "2026-09-20T10:00:00Z", sandbox="d")])
    assert items(home)["inbox"].state is CheckState.ATTENTION
    during = datetime(2026, 10, 2, tzinfo=UTC).timestamp()
    os.utime(file, (during, during))
    found = items(home)["inbox"]
    assert (found.state, "1 files wait" in found.detail) == (CheckState.BLOCKS, True)
    assert billhouse(home.path, "land", file).code == 0
    assert items(home)["inbox"].detail == "1 files, all landed."


def test_a_feed_that_has_not_run_since_the_month_ended_needs_attention(home: Home) -> None:
    home.collecting.mkdir(exist_ok=True)
    position = home.collecting / "events.json"
    position.write_text("{}")
    assert items(home)["feeds"].state is CheckState.OK
    os.utime(position, (datetime(2026, 9, 20, tzinfo=UTC).timestamp(),) * 2)
    found = items(home)["feeds"]
    assert (found.state, found.examples[0]["feed"]) == (CheckState.ATTENTION, "events")


def test_an_invalid_price_book_blocks(home: Home, tmp_path: Path) -> None:
    seeds = tmp_path / "project" / "seeds"
    seeds.mkdir(parents=True)
    for file in (PROJECT_ROOT / "seeds").iterdir():
        (seeds / file.name).write_bytes(file.read_bytes())
    rates = seeds / "rates.csv"
    rates.write_text(rates.read_text().replace("0.000014,", "-1,", 1))
    (found,) = [checklist._prices(home, seeds)]
    assert (found.state, found.next_step) == (CheckState.BLOCKS, "billhouse check-prices")


def test_alerts_that_are_not_delivered_need_attention(home: Home) -> None:
    raise_alert(home, OperationalAlert("drift", "Stripe", "differs"), ["slack"])
    assert items(home)["alerts"].state is CheckState.ATTENTION


def test_differences_with_stripe_need_attention(home: Home) -> None:
    columns: dict[str, Any] = {"invoice_id": "'INV-1'", "difference": "'amount'", "synced_at": "'2026-10-04'::timestamptz"}
    change(home, f"insert into stripe_reconciliation ({', '.join(columns)}) values ({', '.join(columns.values())})")
    found = items(home)["stripe"]
    assert (found.state, found.examples[0]["difference"]) == (CheckState.ATTENTION, "amount")
    change(home, "update stripe_reconciliation set difference = 'none'")
    assert items(home)["stripe"].state is CheckState.OK


def test_a_month_without_drafts_needs_attention(home: Home) -> None:
    change(home, "delete from invoices where period = '2026-09'")
    assert items(home)["drafts"].state is CheckState.ATTENTION


def test_a_changed_ledger_blocks(home: Home) -> None:
    file = home.closes / "2026-08" / "invoices.parquet"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b" ")
    assert items(home)["ledger"].state is CheckState.BLOCKS


def test_the_checks_of_a_close_cannot_be_forced(home: Home) -> None:
    assert billhouse(home.path, "close", "2026-09", "--check", "--force").code == 2
