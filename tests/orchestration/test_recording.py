"""Recording what commands did loses no report, repeats no event, and no report prevents others from being recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline.core.errors import LockedError
from pipeline.core.files import make_folders
from pipeline.core.home import Home
from pipeline.landing import LandedFile, LandingSummary
from pipeline.landing.record_kinds import Kind
from pipeline.landing.result import LandReport
from pipeline.monitoring import command_reports
from pipeline.monitoring.command_reports import (
    BuildReport,
    build_report,
    days_landed,
    failed_reports,
    read_report,
    report_command,
    unrecorded_work,
    waiting_reports,
)
from pipeline.stripe.comparison import StripeComparison, SyncReport
from pipeline.stripe.mirror import SyncResult
from pipeline.warehouse.build_steps import BuildStep
from tests.support import billhouse, event, write_jsonl

NOW = datetime(2026, 9, 5, tzinfo=UTC)
FEEDS = dg.AssetKey("collected_rows")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home that a Dagster serves."""
    home = Home.open(tmp_path / "home")
    make_folders(home.command_reports)
    return home


@pytest.fixture
def instance(definitions: dg.Definitions) -> Iterator[dg.DagsterInstance]:
    """A new instance; the definitions are loaded."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def report_feed(home: Home) -> None:
    from pipeline.feeds.configured import FeedRun

    report_command(home, "feeds run", [FeedRun("orders", 1.25, 3, 1, "")])


def number_of(instance: dg.DagsterInstance, key: dg.AssetKey) -> int:
    return len(instance.fetch_materializations(key, limit=1000).records)


def test_builds_that_cannot_be_read_now_wait_and_none_is_lost(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import command_results
    from orchestration.commands import record_reports

    for day in ("2026-09-01", "2026-09-02"):
        report_command(home, "build", BuildReport(NOW, [BuildStep(f"model.{day}", "success", 1.0)], [day]))
    report_feed(home)
    assert record_reports(instance, home) == 2, "the feed; nothing was built, so the builds wait"
    assert len(waiting_reports(home)) == 2
    built: list[BuildReport] = []

    def build_events(_: Home, build: BuildReport) -> Iterator[dg.AssetMaterialization]:
        built.append(build)
        yield dg.AssetMaterialization("x")

    class Record:
        inputs = ("anything",)

    monkeypatch.setattr(command_results, "last_build", lambda _: Record)
    monkeypatch.setattr(command_results, "build_events", build_events)
    assert record_reports(instance, home) == 1
    assert unrecorded_work(home) == []
    assert [(build.days, [step.unique_id for step in build.steps]) for build in built] == [
        (["2026-09-01", "2026-09-02"], ["model.2026-09-01", "model.2026-09-02"])
    ]


def bad_reports() -> list[str]:
    good = {"work": "reconcile", "finished_at": "2026-09-05T00:00:00+00:00", "result": []}
    return [
        "[]",
        "{",
        "[" * 100_000,
        json.dumps(good),
        json.dumps({**good, "work": ["reconcile"]}),
        json.dumps({**good, "work": "a command of a later version"}),
        json.dumps({**good, "work": "land", "result": {}}),
        json.dumps({**good, "work": "land", "result": {"summary": {}, "seconds": 1, "kind": "unknown", "refusals": []}}),
        json.dumps({**good, "work": "land", "result": {"summary": [], "seconds": 1, "kind": None, "refusals": []}}),
        json.dumps({**good, "work": "build", "result": {"as_of": "yesterday", "steps": [], "days": []}}),
        json.dumps({**good, "finished_at": "2026-09-05T00:00:00"}),
        json.dumps({**good, "details": []}),
    ]


@pytest.mark.parametrize("number", range(len(bad_reports())))
def test_a_report_that_cannot_be_recorded_is_moved_away_with_its_reason(
    number: int, home: Home, instance: dg.DagsterInstance
) -> None:
    from orchestration.commands import record_reports

    (home.command_reports / "00000.json").write_text(bad_reports()[number])
    (home.command_reports / "00001.json").mkdir()
    report_feed(home)
    problems: list[str] = []
    record_reports(instance, home, on_problem=problems.append)
    assert number_of(instance, FEEDS) == 1
    assert unrecorded_work(home) == []
    assert (home.command_reports / "failed" / "00000.json").exists()
    assert len(failed_reports(home)) == len(problems) == 1


def test_failed_events_stop_no_others_and_failed_reports_are_bounded(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.commands import record_reports

    monkeypatch.setattr(command_reports, "MOST_FAILED", 2)
    for number in range(4):
        (home.command_reports / f"0000{number}.json").write_text("[]")
    (home.command_reports / "00005.0.events").write_text('[]\n{"__class__": "NoSuchClass"}')
    report_feed(home)
    record_reports(instance, home)
    assert number_of(instance, FEEDS) == 1
    assert [path.name for path in unrecorded_work(home)] == ["00005.0.events"], "tried again"
    assert len(failed_reports(home)) == 2
    assert len(list((home.command_reports / "failed").iterdir())) == 4
    os.utime(home.command_reports / "00005.0.events", (0, 0))
    record_reports(instance, home)
    assert unrecorded_work(home) == []
    assert (home.command_reports / "failed" / "00005.0.events").exists()


def test_events_are_made_once_and_recorded_in_parts(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import command_results
    from orchestration.commands import record_reports

    made: list[int] = []

    def verified_ledger(_: object) -> Iterator[Any]:
        made.append(1)
        yield from (dg.AssetMaterialization("x", partition=f"{number}-{len(made)}") for number in range(5))

    changed = command_results.KindOfWork(Any, lambda *_: verified_ledger(None))
    monkeypatch.setitem(command_results.KINDS_OF_WORK, "verify", changed)
    report_command(home, "verify", SyncResult("", is_full=True))
    calls = 0
    while unrecorded_work(home):
        assert record_reports(instance, home, seconds=0) == 1
        calls += 1
        assert calls <= 5
    latest = instance.fetch_materializations(dg.AssetKey("x"), limit=9).records
    partitions = [record.asset_materialization.partition for record in latest if record.asset_materialization is not None]
    assert sorted(map(str, partitions)) == [f"{number}-1" for number in range(5)]


def test_the_time_of_making_events_is_not_the_time_of_recording(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import command_results, commands
    from orchestration.lib import command_events

    clock = [0.0]

    def slow(*_: object) -> Iterator[Any]:
        clock[0] += 100
        yield from (dg.AssetMaterialization("x") for _ in range(5))

    monkeypatch.setattr(commands, "monotonic", lambda: clock[0])
    monkeypatch.setattr(command_events, "monotonic", lambda: clock[0])
    monkeypatch.setitem(command_results.KINDS_OF_WORK, "verify", command_results.KindOfWork(Any, slow))
    report_command(home, "verify", SyncResult("", is_full=True))
    report_feed(home)
    assert commands.record_reports(instance, home, seconds=10) == 5
    assert len(waiting_reports(home)) == 1, "the next call records it"


def test_a_kill_before_the_reports_are_removed_records_them_once(home: Home, instance: dg.DagsterInstance) -> None:
    from orchestration.commands import record_reports
    from orchestration.lib.command_events import store_events

    report_feed(home)
    (report,) = waiting_reports(home)
    text = report.read_text()
    store_events(home, [report], [dg.AssetMaterialization(FEEDS)], {})
    report.write_text(text)
    record_reports(instance, home)
    assert number_of(instance, FEEDS) == 1


@pytest.mark.parametrize("words", [("land", "FILE"), ("build",)])
def test_a_command_works_where_the_folder_belongs_to_another_user(
    words: tuple[str, ...], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir, file = Path.is_dir, write_jsonl(tmp_path / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")])

    def denied(path: Path) -> bool:
        if path == home.command_reports:
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", denied)
    monkeypatch.setattr("pipeline.warehouse.build.build", stopped)
    done = billhouse(home.path, *(str(file) if word == "FILE" else word for word in words))
    assert done.code == (0 if words[0] == "land" else 1)
    assert "denied" not in done.stderr.lower()


def stopped(*_: object, **__: object) -> None:
    from pipeline.core.errors import BillhouseError

    raise BillhouseError("The build was stopped by the test.")


def test_a_listing_is_no_decision_and_decisions_are_reported_where_the_build_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.core.periods import BillingPeriod
    from pipeline.ledger.approvals import ApprovalResult
    from pipeline.stripe import operations

    approved: list[str] = []
    month = BillingPeriod(2026, 8)
    monkeypatch.setattr(operations, "approve", lambda *_, **__: ApprovalResult(month, "ann", approved=approved))
    monkeypatch.setattr(operations, "published_invoices", lambda *_, **__: frozenset())
    assert billhouse(home.path, "approve", "2026-08").code == 0
    assert waiting_reports(home) == []
    approved.append("INV-1")
    monkeypatch.setattr(operations, "_build_if_outdated", stopped)
    assert billhouse(home.path, "approve", "2026-08", "--all").code == 1
    (path,) = waiting_reports(home)
    assert read_report(path).result["approved"] == ["INV-1"]


def test_checking_rows_in_quarantine_again_fails_no_check_of_shares(home: Home, instance: dg.DagsterInstance) -> None:
    from orchestration.commands import record_reports

    file = write_jsonl(home.path / "a.jsonl", ["no json", event("start", "2026-08-20T10:00:00Z")])
    billhouse(home.path, "land", file)
    record_reports(instance, home)
    keys = [
        dg.AssetCheckKey(dg.AssetKey(["raw", "landed_files"]), "most_rows_are_accepted"),
        dg.AssetCheckKey(dg.AssetKey(["raw", "quarantine"]), "quarantine_is_small"),
    ]
    before = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert before[keys[0]].status.value == "SUCCEEDED"
    assert billhouse(home.path, "land", "--again").code == 0
    record_reports(instance, home)
    assert unrecorded_work(home) == []
    after = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {key: one.id for key, one in after.items()} == {key: one.id for key, one in before.items()}


def test_settled_rows_are_in_the_history_of_the_ledger_with_who(home: Home, instance: dg.DagsterInstance) -> None:
    from orchestration.commands import record_reports

    billhouse(home.path, "land", write_jsonl(home.path / "a.jsonl", ["no json", event("start", "2026-08-20T10:00:00Z")]))
    settle = ("quarantine", "--settle", "--file", "a.jsonl", "--by", "ann", "--why", "sent again")
    assert billhouse(home.path, *settle).code == billhouse(home.path, *settle).code == 0
    record_reports(instance, home)
    assert unrecorded_work(home) == []
    (found,) = instance.fetch_materializations(dg.AssetKey(["ledger", "quarantine_settlements"]), limit=9).records
    assert found.asset_materialization is not None
    metadata = found.asset_materialization.metadata
    assert (metadata["settled_by"].value, metadata["settled_rows"].value) == ("ann", 1)
    assert metadata["dagster/row_count"].value == 1


def test_the_threshold_is_that_of_the_command(home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.commands import record_reports

    with monkeypatch.context() as patch:
        patch.setenv("BILLHOUSE_LAND_MIN_ACCEPTED_SHARE", "0.9")
        file = write_jsonl(home.path / "a.jsonl", ["no json", event("start", "2026-08-20T10:00:00Z")])
        assert billhouse(home.path, "land", file).code == 1
    record_reports(instance, home)
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "landed_files"]), "most_rows_are_accepted")
    assert instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].status.value == "FAILED"


def test_days_that_landed_after_a_build_are_not_of_it(home: Home) -> None:
    for day, at in (("2026-08-01", 50), ("2026-08-02", 150), ("2026-08-03", 250)):
        path = home.raw / "usage_events" / f"usage_date={day}" / "a.parquet"
        make_folders(path.parent)
        path.touch()
        os.utime(path, (at, at))
    home.analysts_file.touch()
    os.utime(home.analysts_file, (200, 200))
    assert build_report(home, NOW, [], 100.0).days == ["2026-08-02"]
    assert days_landed(home, since=0.0) == {"2026-08-01", "2026-08-02", "2026-08-03"}


def test_a_comparison_with_stripe_is_that_of_its_command(home: Home, instance: dg.DagsterInstance) -> None:
    from orchestration.commands import record_reports

    rows: list[list[str | None]] = [["missing in Stripe", "INV-1", None, "paula"]]
    differing = StripeComparison(1, rows, 0, [], {"total_USD": "1.5"})
    report_command(home, "sync-stripe", SyncReport(SyncResult("the emulator", is_full=True), None))
    report_command(home, "reconcile", differing)
    record_reports(instance, home)
    assert failed_reports(home) == []
    key = dg.AssetCheckKey(dg.AssetKey("stripe_mirror"), "stripe_agrees")
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert latest.status.value == "FAILED"
    assert latest.evaluation is not None
    assert latest.evaluation.metadata["differences"].value == 1
    assert number_of(instance, dg.AssetKey("stripe_mirror")) == 1


def test_files_that_are_merged_while_their_sizes_are_read_lose_no_report(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.commands import record_reports
    from orchestration.lib import landing_events

    def removed(path: Path) -> dict[str, int]:
        raise FileNotFoundError(path)

    billhouse(home.path, "land", write_jsonl(home.path / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")]))
    monkeypatch.setattr(landing_events, "rows_by_file", removed)
    record_reports(instance, home)
    assert number_of(instance, dg.AssetKey(["raw", "landed_files"])) == 1


def test_files_that_cannot_be_read_now_are_tried_again(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import command_results, commands

    def unreadable(home: Home, *_: object) -> Iterator[Any]:
        yield dg.AssetMaterialization("x", metadata={"bytes": (home.raw / "gone").stat().st_size})

    unread = command_results.KindOfWork(Any, unreadable)
    monkeypatch.setitem(command_results.KINDS_OF_WORK, "verify", unread)
    report_command(home, "verify", SyncResult("", is_full=True))
    commands.record_reports(instance, home)
    (path,) = waiting_reports(home)
    os.utime(path, (0, 0))
    commands.record_reports(instance, home)
    assert unrecorded_work(home) == []
    assert len(failed_reports(home)) == 1


def test_a_head_with_a_spelling_error_is_no_damage_of_the_ledger(home: Home) -> None:
    assert billhouse(home.path, "verify", "--head", "0" * 64).code == 1
    (path,) = waiting_reports(home)
    assert read_report(path).result["problems"] == []


def test_two_processes_do_not_record_at_the_same_time(home: Home, instance: dg.DagsterInstance) -> None:
    from orchestration.commands import record_reports
    from pipeline.core.locks import hold_lock

    report_feed(home)
    with (
        hold_lock(home.command_reports / ".lock", activity="recording", timeout_seconds=0),
        pytest.raises(LockedError),
    ):
        record_reports(instance, home)
    assert len(waiting_reports(home)) == 1


def test_a_report_is_private_and_leaves_no_temporary_file_and_no_secret(home: Home) -> None:
    file = LandedFile("sk_live_abcdefghijkl.jsonl", "f", 1, 1, 0, 0, {})
    report_command(home, "land", LandReport(LandingSummary([file]), 1.0, Kind.USAGE, []))
    (path,) = home.command_reports.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "abcdefghijkl" not in path.read_text()


def test_a_report_that_is_too_large_is_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_reports, "MOST_BYTES", 100)
    landed = billhouse(home.path, "land", write_jsonl(home.path / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")]))
    assert landed.code == 0
    assert "Dagster does not show this command" in landed.stderr
    assert waiting_reports(home) == []


@pytest.mark.parametrize(
    ("by", "why", "error"),
    [
        ("  ", "", "It does not say who decides."),
        ("Ann\nBob", "", "contains a line end"),
        ("Ann", "sk_live_abcdefghijkl", "or a secret"),
        ("AUTOMATIC: under 500 USD", "", "cannot begin with 'automatic:'"),
        ("A" * 201, "", "`by` has 201 characters."),
        ("Ann", "c" * 2001, "`why` has 2,001 characters."),
    ],
)
def test_what_the_ledger_records_of_an_approval_is_plain_and_bounded(by: str, why: str, error: str, home: Home) -> None:
    refused = billhouse(home.path, "approve", "2026-08", "--all", "--by", by, "--why", why)
    assert refused.code == 2
    assert error in " ".join(refused.stderr.split())


def test_a_customer_whose_invoice_is_not_collected_is_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration import approvals
    from pipeline.core.errors import BillhouseError
    from pipeline.core.periods import BillingPeriod

    month = BillingPeriod(2026, 8)
    rows = [{"customer_id": "paula", "invoice_id": "INV-1", "collection": "none"}]
    monkeypatch.setattr(approvals, "closed_periods", lambda _: [month])
    monkeypatch.setattr(approvals, "closed_invoice_rows", lambda *_: rows)
    config = approvals.ApprovalConfig(month="2026-08", by="Ann", why="checked", customers=["paula"])
    with pytest.raises(BillhouseError, match="not collected"):
        approvals.chosen_invoices(home, month, config)


def test_a_recorder_that_leaves_something_fails_with_the_number(
    home: Home, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from orchestration.ui import record
    from pipeline.core.errors import BillhouseError

    (home.command_reports / "00000.json").write_text("[]")
    report_command(home, "build", BuildReport(NOW, [], []))
    monkeypatch.setattr(record, "_MOST_SECONDS_AFTER_END", 0)
    is_over = threading.Event()
    is_over.set()
    with pytest.raises(BillhouseError, match="2 commands are not in Dagster's history"):
        record.record_until(home, is_over)


def test_below_a_path_prefix_the_start_page_is_dagsters_own() -> None:
    from orchestration.ui.webserver import GuardedWebserver

    def endpoints(prefix: str) -> set[str]:
        routes = GuardedWebserver(None, prefix).build_routes()
        return {getattr(getattr(route, "endpoint", None), "__name__", "") for route in routes}

    assert "start_page_endpoint" in endpoints("")
    assert "start_page_endpoint" not in endpoints("/dagster")


def test_a_damaged_file_of_the_ledger_hides_nothing(home: Home, definitions: dg.Definitions) -> None:
    from orchestration.lib.dbt_sources import written_files

    for folder in (home.approvals, home.publications):
        make_folders(folder)
        (folder / "damaged.parquet").write_bytes(b"no parquet")
    keys = {event.asset_key.to_user_string() for event in written_files(home, "ledger")}
    assert not keys & {"ledger/approvals", "ledger/publications"}
