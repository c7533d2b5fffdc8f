"""The start page says what needs a person, escapes everything, and changes nothing."""

from __future__ import annotations

import os
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration import closing_check
from orchestration.lib import due
from orchestration.ui import closing_text
from orchestration.ui.dagster_state import DagsterState, Work, read_dagster_state
from orchestration.ui.home_state import HomeState, Item, read_home_state
from orchestration.ui.start_page import links, render_start_page
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.ledger.checklist_item import CheckState, item
from pipeline.monitoring.command_reports import set_aside
from pipeline.store.quarantine_settlements import SETTLEMENTS
from tests.landing.raw import event_line, land, write_lines

NOW = datetime(2026, 9, 5, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J"
_TABLES = """
    create schema billing;
    create table billing.invoices as select * from (values
        ('INV-1', '2026-08', 'USD', 'closed', 'send_invoice', 12.5::decimal(18, 3)),
        ('INV-2', '2026-08', 'USD', 'closed', 'send_invoice', 1.5::decimal(18, 3)),
        ('INV-3', '2026-08', 'USD', 'closed', 'none', 7::decimal(18, 3)),
        ('INV-4', '2026-08', 'EUR', 'approved', 'send_invoice', 3::decimal(18, 3)),
        ('INV-5', '2026-09', 'USD', 'draft', 'send_invoice', 4::decimal(18, 3))
    ) as rows(invoice_id, period, currency, status, collection, total_amount);
    create table billing.quarantined_events as select * from (values
        ('missing_field', $hostile, now(), 'a.jsonl', 1), ('missing_field', 'b', now(), 'a.jsonl', 2),
        ('unreadable', 'c', now(), 'a.jsonl', 3)
    ) as rows(reason, detail, landed_at, file_name, file_row), (select 'a1' as file_id);
    create table billing.landed_files as select null::varchar as file_id where false;
    create table billing.stripe_reconciliation as select 'voided in Stripe' as difference;
    create table billing.stripe_subscriptions as select true as is_current, 'no plan' as problem;
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an analysts' file of a few rows."""
    home = Home.open(tmp_path / "home")
    write_reports(home)
    return home


def write_reports(home: Home, tables: str = _TABLES) -> None:
    new = home.path / "new.duckdb"
    with duckdb.connect(str(new)) as connection:
        for statement in tables.split(";"):
            if statement.strip():
                connection.execute(statement, {"hostile": HOSTILE} if "$hostile" in statement else None)
    new.replace(home.analysts_file)


def test_what_needs_a_person_is_listed_with_numbers_and_links_and_nothing_is_written(home: Home) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in home.path.rglob("*"))
    state = read_home_state(home, NOW)
    assert sorted((path, path.stat().st_mtime_ns) for path in home.path.rglob("*")) == before
    titles = {item.title: item for item in state.needs}
    assert list(titles) == [
        "2 invoices of 2026-08 wait for approval",
        "3 rows in quarantine: not billed",
        "1 invoice differs from Stripe: voided in Stripe",
        "1 subscription in Stripe: no plan",
    ]
    approval = titles["2 invoices of 2026-08 wait for approval"]
    assert "14.00 USD" in approval.text
    ((_, address), _) = links(approval, "orchestration.definitions")
    assert address.startswith("/locations/orchestration.definitions/jobs/approve_invoices/playground/setup?config=ops%3A")
    assert "missing_field (2)" in titles["3 rows in quarantine: not billed"].text
    assert [item.title for item in state.due][-2:] == [
        "1 approved invoice of 2026-08 to publish",
        "2026-09 can be closed from 2026-10-03 00:00 UTC",
    ]
    assert {(row["status"], row["total"]) for row in state.months} >= {("approved", "3.00 EUR"), ("draft", "4.00 USD")}


def test_settled_rows_wait_no_longer_also_before_a_build(home: Home) -> None:
    row = {"file_id": "a1", "file_row": 1, "settled_at": NOW, "settled_by": "ann"}
    SETTLEMENTS.path(home).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row], schema=SETTLEMENTS.schema), SETTLEMENTS.path(home) / "1.parquet")
    assert "2 rows in quarantine: not billed" in {item.title for item in read_home_state(home, NOW).needs}


@pytest.mark.parametrize(
    ("states", "title", "text"),
    [
        ({}, "2026-09 can be closed", "Its grace period is over, and the reports contain all of it."),
        ({"usage": CheckState.ATTENTION}, "2026-09 can be closed", "To look at first: usage."),
        (
            {"inbox": CheckState.BLOCKS, "prices": CheckState.BLOCKS, "usage": CheckState.ATTENTION},
            "2026-09 cannot be closed yet",
            "Stops the close: inbox. Of inbox. Also: prices. To look at first: usage.",
        ),
    ],
)
def test_what_stops_a_close_is_shown_once_the_grace_period_is_over(
    states: dict[str, CheckState], title: str, text: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(name, name, state, f"Of {name}.") for name, state in {"order": CheckState.OK, **states}.items()]
    monkeypatch.setattr(closing_text, "closing_checklist", lambda *_, with_ledger, **__: [] if with_ledger else items)
    record = SimpleNamespace(as_of=datetime(2026, 10, 1, tzinfo=UTC), inputs={"a": "b"})
    monkeypatch.setattr(due, "last_build", lambda _: record)
    shown = {one.title: one for one in read_home_state(home, datetime(2026, 10, 4, tzinfo=UTC)).needs}
    assert shown[title].text == text
    assert shown[title].command == f"billhouse close 2026-09{' --check' if states else ''}"
    assert shown[title].job == ("" if "cannot" in title else "close_month")
    # In the grace period, what is left to do is beside the instant from which the month can be closed.
    during = {one.title: one for one in read_home_state(home, datetime(2026, 10, 2, tzinfo=UTC)).due}
    assert during["2026-09 can be closed from 2026-10-03 00:00 UTC"].text == (text if states else "")


def test_a_month_that_is_not_over_costs_no_checklist(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the checklist was read")

    monkeypatch.setattr(closing_text, "closing_checklist", read)
    monkeypatch.setattr(closing_check, "closing_checklist", read)
    assert "2026-09 can be closed from 2026-10-03 00:00 UTC" in {one.title for one in read_home_state(home, NOW).due}
    checked = closing_check.checked_month(home, NOW)
    assert checked.passed
    assert checked.metadata["month"].value == "none: no open month is over"


@pytest.mark.parametrize(("name", "passed"), [("inbox", False), ("grace_period", True), ("last_build", True)])
def test_the_check_of_the_close_fails_for_what_does_not_end_by_itself(
    name: str, passed: bool, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(name, "Title", CheckState.BLOCKS, HOSTILE, "Do it."), item("usage", "Usage", CheckState.ATTENTION, "None.")]
    monkeypatch.setattr(closing_check, "closing_checklist", lambda *_, **__: items)
    checked = closing_check.checked_month(home, datetime(2026, 10, 4, tzinfo=UTC))
    assert (checked.passed, checked.metadata["month"].value) == (passed, "2026-09")
    shown = checked.metadata["checklist"].value
    assert isinstance(shown, str)
    assert "| Title | stops the close |" in shown and "| Usage | look first | None. |  |" in shown
    assert shown.count("<script>") == shown.count("\\<script>"), "Markdown of the UI shows it as text"


def test_the_page_works_while_a_build_replaces_the_reports_and_with_reports_of_an_earlier_version(home: Home) -> None:
    write_reports(home, _TABLES.replace("'INV-2', '2026-08', 'USD', 'closed'", "'INV-2', '2026-08', 'USD', 'published'"))
    assert read_home_state(home, NOW).needs[0].title == "1 invoice of 2026-08 waits for approval"
    write_reports(home, "create schema billing")
    state = read_home_state(home, NOW)
    assert [item.title for item in (*state.needs, *state.due)].count("The reports are of an earlier version.") == 1
    assert read_home_state(Home.open(home.path.parent / "empty"), NOW).needs == []


def test_hostile_names_are_text(home: Home) -> None:
    state = read_home_state(home, NOW)
    state.needs.append(Item(HOSTILE, HOSTILE, run=HOSTILE, asset=("billing", HOSTILE), job=HOSTILE, command=HOSTILE))
    state.months.append({"period": HOSTILE, "status": HOSTILE, "invoices": 1, "total": HOSTILE})
    dagster = DagsterState(
        work=[Work(HOSTILE, ("a", HOSTILE), NOW, HOSTILE, HOSTILE, HOSTILE)],
        runs=[{"id": HOSTILE, "job": HOSTILE, "status": HOSTILE, "partition": HOSTILE, "at": NOW}],
        automation=[HOSTILE],
        location=HOSTILE,
    )
    page, headers = render_start_page(home, state, dagster, NOW)
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert all(address.startswith("/") and " " not in address for address in re.findall(r'href="([^"]*)"', page))


def test_a_page_without_anything_to_do_says_so_only_where_the_checks_were_read(tmp_path: Path) -> None:
    def page(dagster: DagsterState) -> str:
        return render_start_page(Home(tmp_path), HomeState(), dagster, NOW)[0]

    assert "Nothing: no approval" in page(DagsterState(location="orchestration.definitions"))
    assert "failed check" not in page(DagsterState())
    assert "Dagster is loading: its checks are not read yet." in page(DagsterState())
    broken = page(DagsterState(load_error="No module named 'x'"))
    assert "failed check" not in broken
    assert "could not be loaded" in broken
    assert "No module named &#39;x&#39;" in broken


def test_invoices_below_the_limit_wait_for_no_person(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "10"}')
    state = read_home_state(home, NOW)
    assert "1 invoice of 2026-08 waits for approval" in {item.title for item in state.needs}
    (automatic,) = [item for item in state.due if "automatically" in item.title]
    assert automatic.title == "1 invoice of 2026-08 to approve automatically and publish"
    assert automatic.text.startswith("1.50 USD")
    assert not any(home.path.rglob("approvals")), "the page writes nothing"


def test_the_approval_that_the_page_opens_needs_a_name_and_a_reason(home: Home) -> None:
    (approval,) = [item for item in read_home_state(home, NOW).needs if item.job == "approve_invoices"]
    assert approval.config == 'ops:\n  approve:\n    config:\n      month: "2026-08"\n      everything: true\n'


def test_files_of_the_inbox_that_have_not_landed_are_counted(home: Home) -> None:
    for folder in ("usage", "e2b-events", "unknown"):
        (home.inbox / folder).mkdir(parents=True)
        (home.inbox / folder / "a.jsonl").write_text(f'"{folder}"')
    waiting = next(item for item in read_home_state(home, NOW).due if "inbox" in item.title)
    assert waiting.title == "3 files in the inbox to land"
    assert waiting.text.startswith("unknown/a.jsonl is in no folder of a kind or source")
    land_files(home, [write_lines(home.inbox / "usage" / "a.jsonl", [event_line("a")])])
    assert "2 files in the inbox to land" in {item.title for item in read_home_state(home, NOW).due}


def test_rows_that_landed_since_the_build_are_found_without_a_lock_and_not_by_the_time_of_files(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def titles() -> set[str]:
        return {item.title for item in read_home_state(home, NOW).due}

    landed = [land(home, write_lines(tmp_path / f"{name}.jsonl", [event_line(name)])).file_id for name in "abc"]
    assert "Rows have landed since the last build" in titles()
    ids = ", ".join(f"('{file_id}')" for file_id in landed)
    write_reports(
        home, _TABLES.replace("select null::varchar as file_id where false", f"select * from (values {ids}) as t(file_id)")
    )
    assert "Rows have landed since the last build" not in titles()
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    os.utime(home.analysts_file, (1, 1))
    assert merge_raw_files(home).merged_files
    assert "Rows have landed since the last build" not in titles(), "merging lands nothing"
    land(home, write_lines(tmp_path / "d.jsonl", [event_line("d")]))
    os.utime(home.analysts_file)

    def locked(*_: object, **__: object) -> None:
        raise AssertionError("the page takes a lock")

    monkeypatch.setattr("pipeline.store.raw.lock_manifest", locked)
    monkeypatch.setattr(Home, "writing", locked)
    assert "Rows have landed since the last build" in titles()


def test_commands_that_are_not_recorded_are_shown(home: Home) -> None:
    (home.command_reports).mkdir(parents=True)
    (home.command_reports / "1.json").write_text("[]")
    set_aside(home, home.command_reports / "1.json", f"It is no report. {HOSTILE}")
    (item,) = [item for item in read_home_state(home, NOW).needs if "history" in item.title]
    assert item.title == "1 command is not in Dagster's history"
    assert "It is no report." in item.text


def record_run(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus, partition: str = "") -> None:
    tags = {"dagster/partition": partition} if partition else {}
    instance.add_run(dg.DagsterRun(job_name=job, run_id=dg_run_id(), status=status, tags=tags))


def dg_run_id() -> str:
    return str(uuid.uuid4())


def test_failed_runs_of_each_month_are_shown_until_that_month_succeeds() -> None:
    failed, succeeded = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
    with dg.DagsterInstance.ephemeral() as instance:
        record_run(instance, "publish_month", failed, "2026-08")
        record_run(instance, "publish_month", failed, "2026-07")
        record_run(instance, "publish_month", succeeded, "2026-07")
        record_run(instance, "land_and_build", failed, "2026-09-01")
        for day in range(1, 29):
            record_run(instance, "land_and_build", succeeded, f"2026-09-{day:02}")
        context = SimpleNamespace(instance=instance, code_locations=[], code_location_errors=list)
        state = read_dagster_state(context, datetime.now(UTC))  # type: ignore[arg-type]
    assert [(item.title, item.text) for item in state.needs] == [("The last run of publish_month failed", "Partition 2026-08.")]
    assert len(state.runs) == 6


def test_what_ran_shows_when_the_command_finished() -> None:
    finished = datetime(2026, 9, 4, 12, tzinfo=UTC)
    times = {"finished_at": dg.MetadataValue.timestamp(finished)}
    with dg.DagsterInstance.ephemeral() as instance:
        for key, extra in (("closed_invoices", {"command": "billhouse close"}), ("month_export", {"history": "files"})):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2026-08", metadata={**times, **extra}))
        context = SimpleNamespace(instance=instance, code_locations=[], code_location_errors=list)
        state = read_dagster_state(context, NOW)  # type: ignore[arg-type]
    work = {one.name: one for one in state.work}
    assert (work["Close"].at, work["Close"].command) == (finished, "billhouse close")
    assert work["Export"].is_history
    page, _ = render_start_page(Home(Path("/home")), HomeState(), state, NOW)
    assert page.count("12 hours ago") == 2
    assert "before this history" in page
