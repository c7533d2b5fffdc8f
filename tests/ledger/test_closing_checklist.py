"""`billhouse close --check`: each state of each item, and that the checklist waits for no build and writes nothing."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing import waiting
from pipeline.ledger import closing_checklist as checklist
from pipeline.ledger.checklist_item import ChecklistItem, CheckState
from pipeline.ledger.closing_checklist import can_be_closed, closing_checklist
from pipeline.ledger.closing_usage import usage_item
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.publications import PUBLICATIONS
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


def adjust(home: Home, amount: str, customer: str = "customer-0") -> None:
    """Add a line to a customer's draft of September that corrects August; of customer-0's, 0.06 was billed."""
    change(
        home,
        f"insert into invoice_lines select * replace ('2026-08' as service_period, {amount} as amount, true as is_adjustment)"
        f" from invoice_lines where period = '2026-09' and customer_id = '{customer}' and meter_id = 'vcpu'",
    )


def ignore(home: Home, reason: str, at: str = "2026-09-12", customer: str = "customer-0") -> None:
    change(
        home,
        "insert into ignored_events (event_id, customer_id, event_at, reason)"
        f" values ('e', '{customer}', '{at}T00:00:00Z', '{reason}')",
    )


def test_a_month_of_which_nothing_is_wrong_can_be_closed(home: Home) -> None:
    change(home, "update sessions set has_defaulted_resources = false")
    change(home, "update landed_files set last_at = '2026-09-30T12:00:00Z'")
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
        "usage",
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
        "usage",
        "open_sessions",
        "inferred_ends",
        "defaulted_resources",
        "ignored_events",
    }
    assert all(found[name].next_step for name in found if found[name].state is CheckState.ATTENTION)
    assert found["usage"].detail.startswith("Last event: 2026-09-12 00:00 UTC. 18 days to the month's end have none.")
    assert "Longest: customer-3-09 of customer-3" in found["open_sessions"].detail
    assert "to its end, 0.21 USD at list prices since they started" in found["open_sessions"].detail
    assert found["inferred_ends"].detail == "1 sessions have no stop: no stop within the plan's limit (end_inferred): 1."
    assert found["defaulted_resources"].detail.startswith("20 sessions of 20 customers")
    assert found["ignored_events"].examples == ({"reason": "stop_without_start", "events": 1},)
    assert can_be_closed(list(found.values()))


def test_days_of_the_month_without_an_event_are_named_and_those_at_its_end_need_attention() -> None:
    with duckdb.connect() as reports:
        reports.execute("set TimeZone = 'UTC'")
        reports.execute(
            """
            create table sessions (started_at timestamptz, ended_at timestamptz, end_reason text, is_start_missing boolean);
            create table ignored_events (event_at timestamptz);
            create table landed_files (kind text, first_at timestamptz, last_at timestamptz);
            create table usage_daily (period text, usage_date date, quantity decimal(38, 12), unit text)"""
        )
        assert usage_item(reports, OCTOBER).detail == "No event of the month has landed."
        reports.execute(
            """
            insert into sessions values ('2026-10-01T09:00Z', '2026-10-02T09:00Z', 'stopped', false),
                ('2026-10-01T09:00Z', '2026-11-01T00:00Z', 'open', false),
                ('2026-09-30T09:00Z', '2026-10-20', 'no_stop', false);
            insert into ignored_events
                select unnest(generate_series(timestamptz '2026-10-05', '2026-10-14', interval 1 day));
            insert into usage_daily values ('2026-10', '2026-10-03', 5, 'token'), ('2026-10', '2026-10-25', 5, 'vCPU-second');
            insert into landed_files values ('usage', '2026-10-01T09:00Z', '2026-10-15T23:59Z'),
                ('usage', null, null), ('voids', '2026-10-28', '2026-10-28')"""
        )
        half = usage_item(reports, OCTOBER)
        assert (half.state, half.detail) == (
            CheckState.ATTENTION,
            "Last event: 2026-10-15 23:59 UTC. 16 days to the month's end have none."
            " Days before it on which no session starts or stops: 2026-10-04.",
        )
        reports.execute("update landed_files set last_at = '2026-10-30T23:59:59Z' where kind = 'usage' and last_at is not null")
        assert "1 day to the month's end has none." in usage_item(reports, OCTOBER).detail
        reports.execute("insert into ignored_events values ('2026-10-31T00:00:00Z')")
        whole = usage_item(reports, OCTOBER)
        assert whole.state is CheckState.OK and "2026-10-04, 2026-10-15 to 2026-10-29." in whole.detail


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
    assert "stops the close Adjustments of closed months" in printed.stdout
    assert "customer-0, 2026-08: 5.04 USD" in printed.stdout
    assert "billhouse close 2026-09 --accept-adjustments" in printed.stdout


def test_small_adjustments_need_attention_and_sessions_taken_back_are_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    adjust(home, "5.04")
    assert items(home)["adjustments"].state is CheckState.BLOCKS
    monkeypatch.setenv("BILLHOUSE_ADJUSTMENT_LIMIT_SHARE", "1000")
    ignore(home, "no_execution", "2026-08-10")
    found = items(home)["adjustments"]
    assert found.state is CheckState.ATTENTION
    assert found.examples[0]["adjustment_amount"] == "5.040"
    assert "execution" not in found.detail  # the customer is charged more
    adjust(home, "-0.06", "customer-1")
    ignore(home, "no_execution", "2026-08-10", "customer-1")
    ignore(home, "no_execution", "2026-09-10", "customer-1")  # of an open month
    assert "have 1 events in closed months without an execution: sessions that were billed for them may be" in (
        items(home)["adjustments"].detail
    )


def test_rows_in_quarantine_that_landed_since_the_month_began_need_attention(home: Home, tmp_path: Path) -> None:
    bad = {**event("start", "2026-09-14T10:00:00Z", sandbox="bad"), "vcpu_count": "NaN"}
    billhouse(home.path, "land", write_jsonl(tmp_path / "bad.jsonl", [bad]))
    found = items(home)["quarantine"]
    assert (found.state, "a number is not valid (bad_number): 1." in found.detail) == (CheckState.ATTENTION, True)
    assert items(home, BillingPeriod(9998, 1))["quarantine"].state is CheckState.OK
    assert billhouse(home.path, "quarantine", "--settle", "--file", "bad.jsonl", "--why", "sent again").code == 0
    assert items(home)["quarantine"].state is CheckState.OK


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
    later = items(home, OCTOBER)["order"]
    assert (later.state, later.next_step) == (CheckState.BLOCKS, "Close it first: billhouse close 2026-09")
    assert items(home, BillingPeriod(2026, 7))["order"].state is CheckState.BLOCKS
    change(home, "update invoices set status = 'draft' where period = '2026-08'")  # reports of before the close
    assert items(home)["order"].state is CheckState.OK
    closed = closing_checklist(home, BillingPeriod(2026, 8))
    assert [one.name for one in closed] == ["order", "ledger"] and "already closed" in closed[0].detail


def test_the_last_build_has_to_be_after_the_month_and_whole(home: Home, tmp_path: Path) -> None:
    early = items(home, OCTOBER, now=AFTER_GRACE)
    assert "the month was not over" in early["last_build"].detail
    assert early["last_build"].next_step.endswith(": billhouse build --as-of 2026-11-01T00:00:00Z")
    assert "--force" not in early["grace_period"].next_step
    later = items(home, BillingPeriod(2026, 11))
    assert all(
        (later[name].state, later[name].detail[:14]) == (CheckState.ATTENTION, "Not known yet:")
        for name in ("usage", "drafts", "adjustments", "open_sessions", "inferred_ends", "ignored_events")
    )
    landed = write_jsonl(tmp_path / "more.jsonl", [event("start", "2026-09-20T10:00:00Z", sandbox="c")])
    assert billhouse(home.path, "land", landed).code == 0
    assert items(home)["last_build"].state is CheckState.ATTENTION
    record = home.path / "build" / "last.json"
    record.write_text(record.read_text().replace('"inputs": {', '"inputs": {}, "were": {'))
    ended = items(home)["last_build"]
    assert (ended.state, "did not finish" in ended.detail) == (CheckState.ATTENTION, True)
    with home.writing():
        running = items(home)["last_build"]
    assert (running.state, "A build is running" in running.detail) == (CheckState.ATTENTION, True)


def test_a_home_without_a_build_needs_attention_since_a_close_builds_first(tmp_path: Path) -> None:
    found = items(Home.open(tmp_path / "new"), project=PROJECT_ROOT)
    assert {found[name].state for name in ("last_build", "order")} == {CheckState.ATTENTION}
    assert can_be_closed(list(found.values()))


def test_a_close_does_not_build_as_of_a_later_instant(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def found() -> tuple[CheckState, str]:
        one = items(home, now=datetime(2026, 10, 20, tzinfo=UTC))["last_build"]
        return one.state, one.next_step

    def land_void(id: str, at: str) -> None:
        row = {"event_id": id, "voided_at": at, "reason": "wrong"}
        assert billhouse(home.path, "land", write_jsonl(tmp_path / f"{id}.jsonl", [row]), "--kind", "voids").code == 0

    land_void("a", "2026-10-04T00:00:00Z")
    assert found() == (CheckState.ATTENTION, "A close does so itself; before it: billhouse build")
    monkeypatch.setenv("BILLHOUSE_CLOSE_GRACE_HOURS", "120")  # to October 6: the build is as of October 5
    assert found() == (CheckState.ATTENTION, "billhouse build")
    monkeypatch.delenv("BILLHOUSE_CLOSE_GRACE_HOURS")
    land_void("b", "2026-10-06T00:00:00Z")
    assert found() == (CheckState.ATTENTION, "billhouse build")
    assert "Voids of a later instant" in items(home, now=datetime(2026, 10, 20, tzinfo=UTC))["last_build"].detail


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
    length = file.stat().st_size
    file.write_text(file.read_text().replace("09-20T10", "09-20T11"))
    os.utime(file, (during, during))
    assert file.stat().st_size == length
    assert items(home)["inbox"].state is CheckState.BLOCKS, "a corrected file of the same name and length"


SOURCE = """-- description: mine
-- kind: usage
select file_row, row ->> '$.event_id' as event_id, row ->> '$.sandbox_id' as sandbox_id, row ->> '$.user_id' as user_id,
    row ->> '$.timestamp' as timestamp, row ->> '$.event_type' as event_type
from rows
"""


def test_a_file_that_landed_with_a_source_has_landed(home: Home) -> None:
    home.sources.mkdir(exist_ok=True)
    (home.sources / "mine.sql").write_text(SOURCE)
    folder = home.inbox / "mine"
    folder.mkdir()
    file = write_jsonl(folder / "a.jsonl", [event("start", "2026-09-20T10:00:00Z", sandbox="s")])
    assert billhouse(home.path, "land", file, "--source", "mine").code == 0
    assert items(home)["inbox"].detail == "1 files, all landed."
    (home.sources / "mine.sql").unlink()
    assert "1 files wait" in items(home)["inbox"].detail


def test_a_file_that_lands_meanwhile_does_not_wait(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.inbox / "usage").mkdir(parents=True, exist_ok=True)
    file = write_jsonl(home.inbox / "usage" / "moved.jsonl", [event("start", "2026-09-20T10:00:00Z", sandbox="m")])
    monkeypatch.setattr(waiting, "files_in_inbox", lambda *_: [file.with_name("gone.jsonl"), file])
    assert "1 files wait" in items(home)["inbox"].detail


def test_reports_that_cannot_be_read_are_an_error_in_one_sentence(home: Home) -> None:
    home.analysts_file.chmod(0o600)
    home.analysts_file.write_bytes(b"no database" * 1000)
    with pytest.raises(BillhouseError, match="cannot be read"):
        items(home)


def test_it_writes_nothing_in_a_home_without_zero_row_files(home: Home) -> None:
    raise_alert(home, OperationalAlert("drift", "Stripe", "differs"), ["slack"])
    for file in home.path.rglob("_schema*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in home.path.rglob("*") if path.suffix != ".lock"}

    before = state()
    assert items(home)["alerts"].state is CheckState.ATTENTION
    assert items(home, OCTOBER)["quarantine"].state is CheckState.OK
    assert state() == before


def test_a_feed_that_has_not_run_since_the_month_ended_needs_attention(home: Home) -> None:
    home.collecting.mkdir(exist_ok=True)
    position = home.collecting / "events.json"
    position.write_text("{}")
    assert items(home)["feeds"].state is CheckState.OK
    os.utime(position, (datetime(2026, 9, 20, tzinfo=UTC).timestamp(),) * 2)
    found = items(home)["feeds"]
    assert (found.state, found.examples[0]["feed"]) == (CheckState.ATTENTION, "events")
    assert "events (not in feeds.toml): last at" in found.detail


def test_a_configured_feed_that_never_ran_needs_attention(home: Home) -> None:
    home.collecting.mkdir(exist_ok=True)
    (home.collecting / "events.json").write_text("{}")
    home.feeds.write_text(
        '[feeds.orders]\ncommand = "consume kafka"\nservers = "k:1"\n[feeds.events]\ncommand = "collect"\nurl = "https://x"\n'
    )
    found = items(home)["feeds"]
    assert (found.state, "1 of 2 configured have never run" in found.detail) == (CheckState.ATTENTION, True)
    assert found.examples == ({"feed": "orders", "last_position_at": None, "is_configured": True},)
    (home.collecting / "orders.json").write_text("{}")
    (home.collecting / "former.json").write_text("{}")
    found = items(home)["feeds"]
    assert (found.state, "1 of them are not in feeds.toml" in found.detail) == (CheckState.OK, True)


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


def test_published_invoices_that_were_never_compared_with_stripe_need_attention(home: Home) -> None:
    assert items(home)["stripe"].detail == "Nothing is published: nothing to compare."
    row = {"invoice_id": "INV-1", "period": "2026-08", "livemode": False}
    pq.write_table(pa.Table.from_pylist([row], schema=PUBLICATIONS.schema), PUBLICATIONS.path(home) / "run.parquet")
    found = items(home)["stripe"]
    assert (found.state, found.next_step) == (CheckState.ATTENTION, "billhouse sync-stripe; billhouse reconcile")


def test_inferred_ends_are_listed_once_per_reason_and_by_currency_in_the_examples(home: Home) -> None:
    change(home, "update sessions set end_reason = 'end_inferred' where sandbox_id in ('customer-4-09', 'customer-5-09')")
    change(home, "update sessions set currency = 'EUR' where sandbox_id = 'customer-4-09'")
    found = items(home)["inferred_ends"]
    assert found.detail == "2 sessions have no stop: no stop within the plan's limit (end_inferred): 2."
    assert [one["currency"] for one in found.examples] == ["EUR", "USD"]


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
