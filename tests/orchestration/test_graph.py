"""The asset graph: groups, partitions, checks, lineage; and runs of its jobs."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from orchestration.lib.due import invoices_to_publish
from pipeline.core.errors import BillhouseError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import LandingSummary, land_files
from pipeline.landing.inbox import inbox_digest
from pipeline.landing.record_kinds import Kind
from pipeline.store.alert_log import alert_states
from pipeline.store.closes import closed_periods
from pipeline.stripe.mirror import newest_unmirrored_event
from tests.orchestration.jobs import build, in_home
from tests.support import billhouse, event, query, remake_manifest, write_jsonl

QUARANTINE_ALERT = ("check_failed", "Rows in quarantine")
"""The first build of `built_home` raises it: one row of its inbox is refused."""


def test_every_step_from_landing_to_export_is_an_asset_with_a_group_an_owner_and_a_description(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    layers = {"staging", "customers", "usage", "rating", "limits", "utilisation", "build_inputs"}
    of_people = {"landing", "price_book", "invoices", "reports", "month_end", "ledger", "stripe", "exports", "alerts"}
    inner = {*(f"warehouse/{layer}" for layer in layers), "stripe/mirrored_files"}
    groups = {node.group_name for node in nodes}
    assert groups == of_people | inner
    assert len({group.partition("/")[0] for group in groups if group}) == 10, "what a person sees first"
    assert [node.key for node in nodes if not (node.description and node.owners and node.kinds)] == []
    assert [key for key in graph.asset_check_keys if not graph.get(key).description] == []


def test_usage_is_partitioned_by_day_and_the_month_end_by_month(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    partitioned = {key.path[-1]: graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    by_day = {name for name, partitions in partitioned.items() if isinstance(partitions, dg.DailyPartitionsDefinition)}
    by_month = {name for name, partitions in partitioned.items() if isinstance(partitions, dg.MonthlyPartitionsDefinition)}
    assert {"usage_events", "compacted_events", "usage_segments", "usage_by_day", "usage_daily", "concurrency_daily"} <= by_day
    assert by_month == {"closed_invoices", "published_invoices", "month_export"}


def test_every_check_blocks_downstream_assets_except_those_that_only_warn(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    only_warning = {
        "every_feed_was_collected",
        "every_file_landed",
        "month_can_be_closed",
        "most_rows_are_accepted",
        "quarantine_is_small",
        "raw_events_are_what_landed",
        "stripe_agrees",
    }
    assert {key.name for key in graph.asset_check_keys if not graph.get(key).blocking} == only_warning


def test_lineage_runs_from_the_landed_events_to_the_export(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    upstream, queue = set(), [dg.AssetKey("month_export")]
    while queue:
        key = queue.pop()
        if key not in upstream:
            upstream.add(key)
            queue += graph.get(key).parent_keys
    assert {dg.AssetKey(["raw", "usage_events"]), dg.AssetKey(["price_book", "rates"])} <= upstream


def test_one_run_lands_builds_and_reports_every_check(
    definitions: dg.Definitions, first_run: tuple[Home, dg.ExecuteInProcessResult]
) -> None:
    built_home, run = first_run
    assert run.success
    landed = {event.asset_key.path[-1]: event.metadata for event in run.asset_materializations_for_node("land_inbox")}
    assert landed["usage_events"]["accepted_rows"].value == 2
    assert landed["quarantine"]["rows"].value == 1
    assert landed["landed_files"]["received_rows"].value == 5
    checks = {check.asset_check_key: check.passed for check in run.get_asset_check_evaluations()}
    elsewhere = {
        "stripe_agrees",
        "ledger_is_as_written",
        "raw_events_are_what_landed",
        "every_feed_was_collected",
        "month_can_be_closed",
    }
    assert {key for key in definitions.resolve_asset_graph().asset_check_keys if key.name not in elsewhere} == checks.keys()
    assert [key.name for key, passed in checks.items() if not passed] == ["quarantine_is_small"]
    (alert,) = [state for state in alert_states(built_home) if state["subject"] == "Rows in quarantine"]
    assert alert["text"].startswith("1 of 5 rows went to quarantine: they are not billed.")
    assert "unreadable, line" in alert["text"]
    assert [row["total_amount"] for row in query(built_home, "from invoices where period = '2026-08'")]


def test_a_range_of_days_is_built_by_one_run_with_one_dbt_call(first_run: tuple[Home, dg.ExecuteInProcessResult]) -> None:
    assert materialized_days(first_run[1]) == {"2026-08-19", "2026-08-20", "2026-08-21"}
    materialized = first_run[1].asset_materializations_for_node("build_warehouse")
    (day,) = [event for event in materialized if event.asset_key.path[-1] == "usage_daily" and event.partition == "2026-08-20"]
    assert day.metadata["dagster/partition_row_count"].value == 3
    assert "data:image/svg+xml" in str(day.metadata["amount_by_day"].value)
    (invoices,) = [event for event in materialized if event.asset_key == dg.AssetKey(["billing", "invoices"])]
    assert invoices.metadata["bytes"].value == (first_run[0].marts / "invoices.parquet").stat().st_size
    assert "| 2026-08 | draft | USD |" in str(invoices.metadata["by_month"].value)
    schema = invoices.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert {column.name: (column.type, bool(column.description)) for column in schema.columns}["total_amount"] == (
        "decimal(18,3)",
        True,
    )


def materialized_days(run: dg.ExecuteInProcessResult, table: str = "usage_daily") -> set[str | None]:
    """The days of a table that a run reports as materialized."""
    events = [
        event.step_materialization_data.materialization
        for event in run.filter_events(lambda event: event.is_step_materialization)
    ]
    return {event.partition for event in events if event.asset_key.path[-1] == table}


def test_late_events_materialize_only_their_own_days_again(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance
) -> None:
    late = [event("start", "2026-08-25T10:00:00Z", sandbox="q"), event("stop", "2026-08-25T11:00:00Z", sandbox="q")]
    write_jsonl(built_home.inbox / "usage" / "late.jsonl", late)
    run = build(definitions, built_home, instance, as_of="2026-09-05T12:00:00Z", days=("2026-09-05", "2026-09-05"))
    assert materialized_days(run) == materialized_days(run, "usage_events") == {"2026-09-05", "2026-08-25"}
    assert [path.name for path in (built_home.inbox / "usage").iterdir()] == [], "landed files are archived"


def test_an_unreadable_file_fails_a_check_and_does_not_stop_the_run(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance
) -> None:
    (built_home.inbox / "usage" / "broken.parquet").write_bytes(b"no parquet")
    run = in_home(definitions, built_home, "land_and_build").execute_in_process(
        instance=instance, partition_key="2026-09-05", asset_selection=[dg.AssetKey(["raw", "landed_files"])]
    )
    assert run.success
    assert [check.check_name for check in run.get_asset_check_evaluations() if not check.passed] == ["every_file_landed"]
    assert (built_home.inbox / "usage" / "broken.parquet").exists()
    alerts = [(alert["kind"], alert["subject"]) for alert in alert_states(built_home)]
    assert alerts == [("check_failed", f"Landing {built_home.inbox / 'usage' / 'broken.parquet'}"), QUARANTINE_ALERT]


def test_a_name_in_a_table_cannot_add_a_link_an_image_or_a_column() -> None:
    from orchestration.lib.metadata import markdown_table

    table = markdown_table(["file"], [["![a](http://b) \\| <i> `c`"]]).value
    assert str(table).splitlines()[-1] == r"| !\[a\](http://b) \\\| \<i> \`c\` |"


def test_only_the_version_of_a_file_that_landed_is_archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration import landing

    home = Home.open(tmp_path / "home")
    folder = home.inbox / "usage"
    folder.mkdir()
    undecodable = Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jsonl"))
    for number, path in enumerate([folder / "landed.jsonl", folder / "REPLACED.JSONL", undecodable]):
        write_jsonl(path, [event("start", "2026-08-20T10:00:00Z", sandbox=f"s{number}")])
    assert inbox_digest(home)

    def land(*args: Any, **options: Any) -> LandingSummary:
        summary = land_files(*args, **options)
        write_jsonl(folder / ".new", [event("stop", "2026-08-20T11:00:00Z")]).rename(folder / "REPLACED.JSONL")
        return summary

    monkeypatch.setattr(landing, "land_files", land)
    summary = landing._land(home, Kind.USAGE)
    assert len(summary.files) == 2
    assert "not UTF-8" in summary.problems[0].reason
    assert sorted(folder.iterdir()) == sorted([undecodable, folder / "REPLACED.JSONL"]), "neither has landed"


def test_jobs_close_export_and_publish_a_month_and_mirror_stripe_back(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_job(job: str, month: str | None = None) -> dg.ExecuteInProcessResult:
        return in_home(definitions, built_home, job).execute_in_process(
            partition_key=month, instance=instance, raise_on_error=False
        )

    late = write_jsonl(built_home.inbox / "usage" / "august.jsonl", [event("start", "2026-08-21T10:00:00Z", sandbox="late")])
    os.utime(late, (1788220800, 1788220800))  # 2026-09-01
    (stopped,) = run_job("check_close").get_asset_check_evaluations()
    assert (stopped.passed, stopped.metadata["month"].value, stopped.metadata["stops_the_close"].value) == (False, "2026-08", 1)
    late.unlink()
    (ready,) = run_job("check_close").get_asset_check_evaluations()
    assert (ready.passed, ready.metadata["stops_the_close"].value) == (True, 0)
    closed = run_job("close_month", "2026-08")
    assert closed.success
    checks = {check.check_name: check for check in closed.get_asset_check_evaluations() if check.passed}
    assert checks.keys() == {"ledger_is_as_written", "month_can_be_closed"}
    assert checks["month_can_be_closed"].metadata["month"].value == "2026-09", "the next month"
    assert (built_home.exports / "2026-08" / "billhouse-2026-08.xlsx").exists()
    assert invoices_to_publish(built_home) == {}, "nothing is approved"
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "1000"}')
    ((month, (invoice,)),) = invoices_to_publish(built_home).items()

    lines = built_home.closes / "2026-08" / "invoice_lines.parquet"
    written = lines.read_bytes()
    lines.chmod(0o600)
    lines.write_bytes(written[:-1])
    assert not run_job("publish_month", str(month)).success, "a changed ledger publishes nothing"
    assert invoices_to_publish(built_home) == {month: [invoice]}
    lines.write_bytes(written)

    assert run_job("publish_month", str(month)).success
    assert invoices_to_publish(built_home) == {}
    assert {row["status"] for row in query(built_home, "from invoices where period = '2026-08'")} == {"published"}

    assert newest_unmirrored_event(built_home) is not None
    (check,) = run_job("mirror_stripe").get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("stripe_agrees", True)
    assert newest_unmirrored_event(built_home) is None
    assert {row["status"] for row in query(built_home, "from invoices where period = '2026-08'")} == {"open"}
    with sqlite3.connect(built_home.stripe_emulator) as stripe:
        stripe.execute("delete from objects where kind = 'invoice'")
    assert billhouse(built_home.path, "sync-stripe", "--full").code == 0
    (check,) = run_job("mirror_stripe").get_asset_check_evaluations()
    assert not check.passed
    assert alert_states(built_home)[0]["kind"] == "drift"


def test_a_month_that_is_not_over_cannot_be_closed(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(BillhouseError, match="2026-09 was not over at 2026-09-05"):
        in_home(definitions, built_home, "close_month").execute_in_process(partition_key="2026-09", instance=instance)


def test_a_failed_check_prevents_reports_closes_and_publishing_and_raises_an_alert(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance
) -> None:
    before = built_home.analysts_file.read_bytes()
    _corrupt_landing_counts(built_home)
    run = build(definitions, built_home, instance, raise_on_error=False)
    assert not run.success
    assert [check.check_name for check in run.get_asset_check_evaluations() if not check.passed] == ["landed_rows_add_up"]
    assert run.asset_materializations_for_node("build_warehouse") == [], "a failed build materializes nothing"
    assert built_home.analysts_file.read_bytes() == before

    _evaluate_failure_sensor(run, instance, built_home)
    alert, earlier = alert_states(built_home)
    assert (alert["kind"], alert["state"]) == ("check_failed", "kept")
    assert "landed_rows_add_up" in alert["text"]
    assert (earlier["kind"], earlier["subject"]) == QUARANTINE_ALERT

    for job in ("close_month", "publish_month"):
        ended = in_home(definitions, built_home, job).execute_in_process(
            partition_key="2026-08", instance=instance, raise_on_error=False
        )
        assert not ended.success
        assert "landed_rows_add_up" in str(ended.get_step_failure_events()[0].step_failure_data.error)
    assert closed_periods(built_home) == []


def _evaluate_failure_sensor(run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, home: Home) -> None:
    """Evaluate the failure sensor, as Dagster's daemon does."""
    from orchestration.alerts import alert_on_failure
    from orchestration.lib.resources import BillhouseHome

    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failure",
        dagster_event=run.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=run.dagster_run,
    ).for_run_failure()
    alert_on_failure(context, home=BillhouseHome(path=str(home.path)))


def _corrupt_landing_counts(home: Home) -> None:
    """Make a landed file's received rows differ from the sum of its outcomes, as if a row had been lost."""
    corrupted = next(path for path in sorted((home.raw / "landed_files").glob("*.parquet")) if path.name[0] != "_")
    aside = home.path / "aside.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * replace (received_rows + 1 as received_rows) from '{corrupted}') to '{aside}' (format parquet)"
        )
    corrupted.chmod(0o600)
    Path(aside).replace(corrupted)
    remake_manifest(home)


def test_a_run_that_selects_one_table_builds_the_whole_warehouse(
    definitions: dg.Definitions, built_home: Home, instance: dg.DagsterInstance
) -> None:
    before = built_home.analysts_file.stat().st_mtime_ns
    key = dg.AssetKey(["rating", "usage_segments"])
    run = build(definitions, built_home, instance, as_of=None, selection=[key])
    assert {event.asset_key for event in run.asset_materializations_for_node("build_warehouse")} == {key}
    assert built_home.analysts_file.stat().st_mtime_ns > before


def test_a_file_with_too_few_accepted_rows_fails_the_run_after_all_files_have_landed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    home = Home.open(tmp_path / "home")
    (home.inbox / Kind.USAGE).mkdir(parents=True)
    write_jsonl(home.inbox / Kind.USAGE / "a.jsonl", ["no json", "nor this"])
    write_jsonl(home.inbox / Kind.USAGE / "b.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    selection = [dg.AssetKey(["raw", "landed_files"])]
    first = build(definitions, home, instance, selection=selection, raise_on_error=False)
    assert not first.success
    (landed,) = first.asset_materializations_for_node("land_inbox")
    assert (landed.metadata["accepted_rows"].value, landed.metadata["quarantined_rows"].value) == (1, 2)
    assert [path.name for path in (home.inbox / Kind.USAGE).iterdir()] == []
    raised = [state["subject"] for state in alert_states(home) if state["kind"] == "check_failed"]
    assert raised == ["Landing a.jsonl"], "and no second alert for its rows in quarantine"
    assert build(definitions, home, instance, selection=selection).success


def test_a_process_that_has_not_run_dbt_writes_the_manifest_of_a_stored_parse(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from orchestration.lib.dbt_manifest import ready_manifest; print(ready_manifest())"]
    for home in ("first", "second"):  # the second finds the parse of the first
        environment = os.environ | {"BILLHOUSE_HOME": str(tmp_path / home), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        ran = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "model.billhouse.invoices" in json.loads(Path(ran.stdout.strip()).read_text())["nodes"]


def test_files_in_the_inbox_folder_of_a_source_land_with_it(tmp_path: Path) -> None:
    from orchestration import landing
    from pipeline.landing.sources.source_files import all_sources

    home = Home.open(tmp_path / "home")
    folder = home.inbox / "daytona-usage-periods"
    folder.mkdir()
    period = {"id": "p", "sandboxId": "s", "organizationId": "o", "startAt": "2026-09-05T10:00:00Z", "endAt": None, "cpu": 1}
    write_jsonl(folder / "periods.jsonl", [period])
    sources, _ = all_sources(home)
    assert inbox_digest(home) == "" != inbox_digest(home, [source.name for source in sources])
    assert landing._land(home, Kind.METRICS, sources).files == []
    (file,) = landing._land(home, Kind.USAGE, sources).files
    assert (file.source, file.accepted) == ("daytona-usage-periods", 1)
    assert list(folder.iterdir()) == []
    assert (home.inbox / ".landed" / "daytona-usage-periods" / "periods.jsonl").exists()
