"""What the command line does is in Dagster's history with the same names, partitions, checks and numbers as a run's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline.core.files import make_folders
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.monitoring import command_reports
from pipeline.monitoring.command_reports import read_report, report_command, unrecorded_work, waiting_reports
from pipeline.store.approvals import APPROVALS
from pipeline.store.closes import read_close
from pipeline.stripe.mirror import SyncResult
from pipeline.stripe.publish_result import PublishResult
from tests.orchestration.jobs import in_home
from tests.support import billhouse, copy_home, event, write_jsonl

Events = dict[tuple[str, str | None], dict[str, Any]]
DIFFERENT = {"seconds", "bytes", "files", "new_bytes", "command", "finished_at", "history", "latest_files"}
"""Metadata of time, paths and compressed sizes, and what only runless events have."""


@pytest.fixture(scope="module")
def worked(
    definitions: dg.Definitions, tmp_path_factory: pytest.TempPathFactory, parsed_project: Path
) -> Iterator[tuple[Home, dg.DagsterInstance]]:
    """A home in which the command line did what `first_run` does as a Dagster run, then closed and exported the month."""
    home = copy_home(parsed_project, tmp_path_factory.mktemp("commands") / "home")
    make_folders(home.command_reports)
    usage = [
        event("start", "2026-08-20T10:00:00Z", user="paula", sandbox="p", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", "2026-08-20T11:00:00Z", user="paula", sandbox="p"),
        "no json",
    ]
    rows: dict[Kind, list[Any]] = {
        Kind.SUBSCRIPTIONS: [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-08-16T00:00:00Z"}],
        Kind.CUSTOMERS: [{"customer_id": "paula", "name": "Paula", "created_at": "2026-08-01T00:00:00Z"}],
        Kind.USAGE: usage,
    }
    for kind, records in rows.items():
        (home.inbox / kind).mkdir(parents=True)
        billhouse(home.path, "land", "--kind", kind, write_jsonl(home.inbox / kind / "file.jsonl", records))
    from orchestration.commands import record_reports

    with dg.DagsterInstance.ephemeral() as instance:
        for words in (("build", "--as-of", "2026-09-05T00:00:00Z"), ("close", "2026-08"), ("export", "2026-08"), ("verify",)):
            outcome = billhouse(home.path, *words)
            assert outcome.code == 0, outcome.stderr
            record_reports(instance, home)
        yield home, instance


def recorded(instance: dg.DagsterInstance, key: dg.AssetKey) -> Events:
    """The latest materialization of each partition of an asset."""
    found: Events = {}
    for record in reversed(instance.fetch_materializations(key, limit=1000).records):
        assert record.asset_materialization is not None
        name = key.to_user_string(), record.asset_materialization.partition
        found[name] = comparable(record.asset_materialization.metadata)
    return found


def all_checks(definitions: dg.Definitions) -> list[dg.AssetCheckKey]:
    return sorted(definitions.resolve_asset_graph().asset_check_keys)


def comparable(metadata: Any) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in DIFFERENT}


def test_a_landing_and_a_build_of_the_command_line_equal_those_of_a_run(
    definitions: dg.Definitions, first_run: tuple[Home, dg.ExecuteInProcessResult], worked: tuple[Home, dg.DagsterInstance]
) -> None:
    home, instance = worked
    assert unrecorded_work(home) == [], "each report is recorded once"
    of_run: Events = {}
    for found in first_run[1].filter_events(lambda event: event.is_step_materialization):
        materialization = found.step_materialization_data.materialization
        name = materialization.asset_key.to_user_string(), materialization.partition
        of_run[name] = comparable(materialization.metadata)
    warehouse = {name: metadata for name, metadata in of_run.items() if not name[0].startswith("raw/")}
    keys = {dg.AssetKey.from_user_string(name) for name, _ in warehouse}
    of_commands = {name: metadata for key in keys for name, metadata in recorded(instance, key).items()}
    # The run was launched for three days; the command reports the day that changed, and the day of the build.
    assert {day for _, day in of_commands if day} == {"2026-08-20", "2026-09-05"}
    assert {name for name, _ in of_commands} == {name for name, _ in warehouse}
    common = of_commands.keys() & warehouse.keys()
    assert len(common) > 60
    # The run lands its files in another order, and its alert for the row in quarantine is another.
    for name in common - {("billing/landed_files", None), ("billing/alerts", None)}:
        assert of_commands[name] == warehouse[name], name
    raw = recorded(instance, dg.AssetKey(["raw", "usage_events"]))
    assert raw["raw/usage_events", "2026-08-20"] == of_run["raw/usage_events", "2026-08-20"]
    assert raw["raw/usage_events", "2026-08-20"]["new_rows"].value == 2


def test_the_checks_of_a_landing_and_a_build_equal_those_of_a_run(
    first_run: tuple[Home, dg.ExecuteInProcessResult], worked: tuple[Home, dg.DagsterInstance]
) -> None:
    of_run = {check.asset_check_key: check for check in first_run[1].get_asset_check_evaluations()}
    latest = worked[1].event_log_storage.get_latest_asset_check_execution_by_key(list(of_run))
    assert latest.keys() == of_run.keys()
    for key, check in of_run.items():
        evaluation = latest[key].evaluation
        assert evaluation is not None
        assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (check.passed, check.severity, check.blocking)
        if key.name not in ("quarantine_is_small",):  # the run landed three files at once
            assert comparable(evaluation.metadata) == comparable(check.metadata), key
        assert evaluation.target_materialization_data is not None, key


def test_a_close_is_a_partition_and_its_files_and_checks_are_in_the_graph(worked: tuple[Home, dg.DagsterInstance]) -> None:
    _, instance = worked
    closed = recorded(instance, dg.AssetKey("closed_invoices"))
    assert closed["closed_invoices", "2026-08"]["dagster/partition_row_count"].value == 1
    assert recorded(instance, dg.AssetKey(["ledger", "closes", "invoices"])).keys() == {("ledger/closes/invoices", None)}
    assert recorded(instance, dg.AssetKey("month_export"))["month_export", "2026-08"]["statements"].value == 1
    check = dg.AssetCheckKey(dg.AssetKey("closed_invoices"), "ledger_is_as_written")
    assert instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check].status.value == "SUCCEEDED"
    (latest,) = instance.fetch_materializations(dg.AssetKey("closed_invoices"), limit=1).records
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["command"].value == "billhouse close"


def test_results_with_amounts_and_problems_survive_the_report(definitions: dg.Definitions, tmp_path: Path) -> None:
    from decimal import Decimal

    from orchestration.commands import record_reports
    from pipeline.alerts import SendResult
    from pipeline.core.errors import Problem
    from pipeline.feeds.configured import FeedRun

    home = Home.open(tmp_path / "home")
    make_folders(home.command_reports)
    month = BillingPeriod(2026, 8)
    published = PublishResult(month, "the emulator", amounts={"USD": Decimal("12.340")})
    report_command(home, "publish", published)
    report_command(home, "publish", PublishResult(month, "the emulator", problems=[Problem("INV-1", None, "failed", "")]))
    report_command(home, "feeds run", [FeedRun("orders", 1.25, 3, 1, "lost")])
    report_command(home, "alerts --send", SendResult([]))
    with dg.DagsterInstance.ephemeral() as instance:
        record_reports(instance, home)
        (found,) = recorded(instance, dg.AssetKey("published_invoices")).values()
        (fed,) = recorded(instance, dg.AssetKey("collected_rows")).values()
        assert recorded(instance, dg.AssetKey("alert_deliveries"))
        check = dg.AssetCheckKey(dg.AssetKey("collected_rows"), "every_feed_was_collected")
        assert instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check].status.value == "FAILED"
    assert found["total_USD"].value == "12.340"
    assert fed["rows"].value == 3
    assert unrecorded_work(home) == []


def test_recording_goes_on_where_the_time_of_an_evaluation_was_over(definitions: dg.Definitions, tmp_path: Path) -> None:
    from orchestration.commands import record_reports

    home = Home.open(tmp_path / "home")
    make_folders(home.command_reports)
    assert billhouse(home.path, "land", write_jsonl(tmp_path / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")])).code == 0
    with dg.DagsterInstance.ephemeral() as instance:
        calls = 0
        while unrecorded_work(home):
            assert record_reports(instance, home, seconds=0) == 1
            calls += 1
            assert calls < 20
        days = instance.fetch_materializations(dg.AssetKey(["raw", "usage_events"]), limit=10).records
    assert calls == 7, "a day, the quarantine, retried rows, landed files, and three checks"
    assert len(days) == 1


def test_a_dagster_that_begins_to_serve_a_home_finds_what_it_has(definitions: dg.Definitions, worked: tuple[Home, Any]) -> None:
    from pipeline.monitoring.home_history import BUILT, CLOSED, LANDED, report_history

    home, instance = worked
    before = recorded(instance, dg.AssetKey("closed_invoices"))
    report_history(home)
    assert [read_report(path).work for path in waiting_reports(home)] == [LANDED, BUILT, CLOSED]
    from orchestration.commands import record_reports

    with dg.DagsterInstance.ephemeral() as new:
        record_reports(new, home)
        (closed,) = recorded(new, dg.AssetKey("closed_invoices")).values()
        assert closed["total_USD"] == before["closed_invoices", "2026-08"]["total_USD"]
        assert recorded(new, dg.AssetKey(["billing", "invoices"]))
        assert recorded(new, dg.AssetKey(["raw", "customers"]))["raw/customers", None]["accepted_rows"].value == 1
        assert recorded(new, dg.AssetKey(["raw", "quarantine"]))["raw/quarantine", None]["rows"].value == 1
        days = recorded(new, dg.AssetKey(["raw", "usage_events"]))
        assert days.keys() == {("raw/usage_events", "2026-08-20")}
        assert days["raw/usage_events", "2026-08-20"]["new_rows"].value == 2
        (latest,) = new.fetch_materializations(dg.AssetKey("closed_invoices"), limit=1).records
        assert latest.asset_materialization is not None
        (closed_at,) = read_close(home, BillingPeriod(2026, 8), "close")["closed_at"].to_pylist()
        assert latest.asset_materialization.metadata["finished_at"].value == closed_at.timestamp()
        assert "command" not in latest.asset_materialization.metadata
        assert new.event_log_storage.get_latest_asset_check_execution_by_key(all_checks(definitions)) == {}, "no check ran"


def test_without_a_dagster_a_command_neither_reports_nor_imports_it(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "usage.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    script = (
        "import sys\nfrom pipeline.cli.app import main\nmain()\n"
        "print([name for name in sys.modules if name.startswith(('dagster', 'orchestration', 'pipeline.monitoring.command_r'))])"
    )
    for has_dagster in (False, True):
        home = Home.open(tmp_path / f"home-{has_dagster}")
        if has_dagster:
            make_folders(home.command_reports)
        ran = subprocess.run(
            [sys.executable, "-c", script, "--home", str(home.path), "land", str(file)],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        imported = "['pipeline.monitoring.command_reports']" if has_dagster else "[]"
        assert ran.stdout.splitlines()[-1] == imported
        assert (home.path / ".dagster").exists() is has_dagster
        assert len(waiting_reports(home)) == int(has_dagster)


def test_a_report_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(tmp_path / "home")
    make_folders(home.command_reports)

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(command_reports, "report_command", fail)
    landed = billhouse(home.path, "land", write_jsonl(tmp_path / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")]))
    assert landed.code == 0
    assert "Dagster does not show this command: the disk is full" in landed.stderr


def test_reports_do_not_pile_up_where_dagster_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(tmp_path / "home")
    make_folders(home.command_reports)
    monkeypatch.setattr(command_reports, "MOST_WAITING", 3)
    for number in range(5):
        report_command(home, "sync-stripe", SyncResult(str(number), is_full=True))
    assert [read_report(path).result["where"] for path in waiting_reports(home)] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"month": "2026-08", "by": " ", "why": "checked", "everything": True}, "`by` is empty."),
        ({"month": "2026-08", "by": "Ann", "why": "", "everything": True}, "`why` is empty."),
        ({"month": "2026-08", "by": "Ann", "why": "checked"}, "No invoices are selected."),
        (
            {"month": "2026-08", "by": "Ann", "why": "checked", "customers": ["a"], "everything": True},
            "No invoices are selected.",
        ),
        ({"month": "August", "by": "Ann", "why": "checked", "everything": True}, "August"),
        ({"month": "2026-07", "by": "Ann", "why": "checked", "everything": True}, "2026-07 is not closed"),
        ({"month": "2026-08", "by": "Ann", "why": "checked", "customers": ["quinn"]}, "Customer 'quinn' has no invoice"),
        ({"month": "2026-08", "by": "Ann", "why": "checked", "invoices": ["INV-1"]}, "INV-1 is not a collected invoice"),
        ({"month": "2026-08", "by": "Ann\x1b[2J", "why": "checked", "everything": True}, "a character that cannot be displayed"),
        (
            {"month": "2026-08", "by": "Automatic: under 5", "why": "checked", "everything": True},
            "cannot begin with 'automatic:'",
        ),
        ({"month": "2026-08", "by": "A" * 201, "why": "checked", "everything": True}, "`by` has 201 characters."),
        ({"month": "2026-08", "by": "Ann", "why": "c" * 2001, "everything": True}, "`why` has 2,001 characters."),
    ],
)
def test_an_approval_that_is_incomplete_fails_with_what_to_write(
    config: dict[str, Any], error: str, definitions: dg.Definitions, worked: tuple[Home, dg.DagsterInstance]
) -> None:
    run = approve(definitions, worked, config)
    assert not run.success
    assert error in str(run.get_step_failure_events()[0].step_failure_data.error)
    assert APPROVALS.read(worked[0]).num_rows == 0


def test_a_customers_invoices_are_approved_in_the_ui_with_who_and_why(
    definitions: dg.Definitions, worked: tuple[Home, dg.DagsterInstance]
) -> None:
    config = {"month": "2026-08", "by": "Ann", "why": "Usage checked", "customers": ["paula"]}
    assert approve(definitions, worked, config).success
    (decision,) = APPROVALS.read(worked[0]).to_pylist()
    assert (decision["decided_by"], decision["reason"], decision["is_approved"]) == ("Ann", "Usage checked", True)
    ((_, found),) = recorded(worked[1], dg.AssetKey(["ledger", "approvals"])).items()
    assert (found["approved"].value, found["waiting"].value, found["dagster/row_count"].value) == (1, 0, 1)


def test_a_run_that_approves_is_not_executed_again_under_the_same_name(
    definitions: dg.Definitions, worked: tuple[Home, dg.DagsterInstance]
) -> None:
    config = {"month": "2026-08", "by": "Ann", "why": "Usage checked", "everything": True, "revoke": True}
    before = APPROVALS.read(worked[0]).num_rows
    run = in_home(definitions, worked[0], "approve_invoices").execute_in_process(
        run_config={"ops": {"approve": {"config": config}}},
        instance=worked[1],
        raise_on_error=False,
        tags={"dagster/parent_run_id": first_run_id(worked[1]), "dagster/root_run_id": first_run_id(worked[1])},
    )
    assert not run.success
    assert "cannot be executed again" in str(run.get_step_failure_events()[0].step_failure_data.error)
    assert APPROVALS.read(worked[0]).num_rows == before


def first_run_id(instance: dg.DagsterInstance) -> str:
    return instance.get_run_records(limit=1)[0].dagster_run.run_id


def approve(
    definitions: dg.Definitions, worked: tuple[Home, dg.DagsterInstance], config: dict[str, Any]
) -> dg.ExecuteInProcessResult:
    return in_home(definitions, worked[0], "approve_invoices").execute_in_process(
        run_config={"ops": {"approve": {"config": config}}}, instance=worked[1], raise_on_error=False
    )
