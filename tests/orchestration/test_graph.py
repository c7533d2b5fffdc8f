"""The Dagster graph: what it shows, and that pressing its buttons does the work."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from orchestration.lib.due import invoices_to_publish
from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.landing import LandingSummary, land_files
from pipeline.landing.inbox import inbox_digest
from pipeline.landing.record_kinds import Kind
from pipeline.store.alert_log import alert_states
from pipeline.store.closes import closed_periods
from pipeline.stripe.mirror import newest_unmirrored_event
from tests.orchestration.jobs import build, in_home
from tests.support import billhouse, event, query, remake_manifest, write_jsonl


def test_every_step_from_landing_to_export_is_an_asset_with_a_group_an_owner_and_a_description(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    layers = {"price_book", "staging", "customers", "usage", "rating", "invoicing", "limits", "utilisation", "billing"}
    assert {node.group_name for node in nodes} == {"landing", *layers, "month_end", "stripe", "alerts"}
    assert [node.key for node in nodes if not (node.description and node.owners and node.kinds)] == []
    assert [key for key in graph.asset_check_keys if not graph.get(key).description] == []


def test_usage_is_cut_by_day_and_what_is_closed_published_and_exported_by_month(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    cut = {key.path[-1]: graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    by_day = {name for name, partitions in cut.items() if isinstance(partitions, dg.DailyPartitionsDefinition)}
    by_month = {name for name, partitions in cut.items() if isinstance(partitions, dg.MonthlyPartitionsDefinition)}
    assert {"usage_events", "folded_events", "usage_segments", "usage_by_day", "usage_daily", "concurrency_daily"} <= by_day
    assert by_month == {"closed_invoices", "published_invoices", "month_export"}


def test_every_check_that_money_depends_on_blocks_what_comes_after(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    only_told = {
        "every_file_landed",
        "most_rows_are_accepted",
        "quarantine_is_small",
        "raw_events_are_what_landed",
        "stripe_agrees",
    }
    assert {key.name for key in graph.asset_check_keys if not graph.get(key).blocking} == only_told


def test_lineage_runs_from_the_landed_events_to_the_export(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    upstream, waiting = set(), [dg.AssetKey("month_export")]
    while waiting:
        key = waiting.pop()
        if key not in upstream:
            upstream.add(key)
            waiting += graph.get(key).parent_keys
    assert {dg.AssetKey(["raw", "usage_events"]), dg.AssetKey(["price_book", "rates"])} <= upstream


def test_a_press_of_the_button_lands_builds_and_shows_every_check(
    definitions: dg.Definitions, pressed: tuple[Home, dg.ExecuteInProcessResult]
) -> None:
    stocked, run = pressed
    assert run.success
    landed = {event.asset_key.path[-1]: event.metadata for event in run.asset_materializations_for_node("land_inbox")}
    assert landed["usage_events"]["accepted_rows"].value == 2
    assert landed["quarantine"]["rows"].value == 1
    assert landed["landed_files"]["received_rows"].value == 5
    checks = {check.asset_check_key: check.passed for check in run.get_asset_check_evaluations()}
    elsewhere = {"stripe_agrees", "ledger_is_as_written", "raw_events_are_what_landed"}
    assert {key for key in definitions.resolve_asset_graph().asset_check_keys if key.name not in elsewhere} == checks.keys()
    assert [key.name for key, passed in checks.items() if not passed] == ["quarantine_is_small"]
    assert [row["total_amount"] for row in query(stocked, "from invoices where period = '2026-08'")]


def test_a_range_of_days_is_built_by_one_run_with_one_dbt_call(pressed: tuple[Home, dg.ExecuteInProcessResult]) -> None:
    assert days_made(pressed[1]) == {"2026-08-19", "2026-08-20", "2026-08-21"}
    made = pressed[1].asset_materializations_for_node("build_warehouse")
    (day,) = [event for event in made if event.asset_key.path[-1] == "usage_daily" and event.partition == "2026-08-20"]
    assert day.metadata["dagster/partition_row_count"].value == 3
    assert "data:image/svg+xml" in str(day.metadata["amount_by_day"].value)
    (invoices,) = [event for event in made if event.asset_key == dg.AssetKey(["billing", "invoices"])]
    assert invoices.metadata["bytes"].value == (pressed[0].marts / "invoices.parquet").stat().st_size
    assert "| 2026-08 | draft | USD |" in str(invoices.metadata["by_month"].value)
    schema = invoices.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert {column.name: (column.type, bool(column.description)) for column in schema.columns}["total_amount"] == (
        "decimal(18,3)",
        True,
    )


def days_made(run: dg.ExecuteInProcessResult, table: str = "usage_daily") -> set[str | None]:
    """The days of a table that a run says it made."""
    events = [
        event.step_materialization_data.materialization
        for event in run.filter_events(lambda event: event.is_step_materialization)
    ]
    return {event.partition for event in events if event.asset_key.path[-1] == table}


def test_late_events_open_again_just_the_days_that_they_touch(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    late = [event("start", "2026-08-25T10:00:00Z", sandbox="q"), event("stop", "2026-08-25T11:00:00Z", sandbox="q")]
    write_jsonl(stocked.inbox / "usage" / "late.jsonl", late)
    run = build(definitions, stocked, instance, as_of="2026-09-05T12:00:00Z", days=("2026-09-05", "2026-09-05"))
    assert days_made(run) == days_made(run, "usage_events") == {"2026-09-05", "2026-08-25"}
    assert [path.name for path in (stocked.inbox / "usage").iterdir()] == [], "what has landed is set aside"


def test_a_file_that_cannot_be_read_turns_a_check_red_and_stops_nothing(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    (stocked.inbox / "usage" / "broken.parquet").write_bytes(b"no parquet")
    run = in_home(definitions, stocked, "land_and_build").execute_in_process(
        instance=instance, partition_key="2026-09-05", asset_selection=[dg.AssetKey(["raw", "landed_files"])]
    )
    assert run.success
    assert [check.check_name for check in run.get_asset_check_evaluations() if not check.passed] == ["every_file_landed"]
    assert (stocked.inbox / "usage" / "broken.parquet").exists()
    assert [alert["kind"] for alert in alert_states(stocked)] == ["check_failed"]


def test_a_name_in_a_table_is_no_link_no_picture_and_no_column_more() -> None:
    from orchestration.lib.metadata import markdown_table

    table = markdown_table(["file"], [["![a](http://b) \\| <i> `c`"]]).value
    assert str(table).splitlines()[-1] == r"| !\[a\](http://b) \\\| \<i> \`c\` |"


def test_only_the_version_that_landed_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration import landing

    home = Home.open(tmp_path / "home")
    folder = home.inbox / "usage"
    folder.mkdir()
    unnamed = Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jsonl"))
    for number, path in enumerate([folder / "landed.jsonl", folder / "REPLACED.JSONL", unnamed]):
        write_jsonl(path, [event("start", "2026-08-20T10:00:00Z", sandbox=f"s{number}")])
    assert inbox_digest(home)

    def land(*args: Any) -> LandingSummary:
        summary = land_files(*args)
        write_jsonl(folder / ".new", [event("stop", "2026-08-20T11:00:00Z")]).rename(folder / "REPLACED.JSONL")
        return summary

    monkeypatch.setattr(landing, "land_files", land)
    summary = landing._land(home, Kind.USAGE)
    assert len(summary.files) == 2
    assert "not UTF-8" in summary.problems[0].reason
    assert sorted(folder.iterdir()) == sorted([unnamed, folder / "REPLACED.JSONL"]), "neither has landed"


def test_jobs_close_export_and_publish_a_month_and_mirror_stripe_back(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(job: str, month: str | None = None) -> dg.ExecuteInProcessResult:
        return in_home(definitions, stocked, job).execute_in_process(partition_key=month, instance=instance, raise_on_error=False)

    closed = press("close_month", "2026-08")
    assert closed.success
    assert [check.check_name for check in closed.get_asset_check_evaluations() if check.passed] == ["ledger_is_as_written"]
    assert (stocked.exports / "2026-08" / "billhouse-2026-08.xlsx").exists()
    assert invoices_to_publish(stocked) == {}, "nobody has approved anything"
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "1000"}')
    ((month, (invoice,)),) = invoices_to_publish(stocked).items()

    lines = stocked.closes / "2026-08" / "invoice_lines.parquet"
    written = lines.read_bytes()
    lines.chmod(0o600)
    lines.write_bytes(written[:-1])
    assert not press("publish_month", str(month)).success, "a ledger that was changed publishes nothing"
    assert invoices_to_publish(stocked) == {month: [invoice]}
    lines.write_bytes(written)

    assert press("publish_month", str(month)).success
    assert invoices_to_publish(stocked) == {}
    assert {row["status"] for row in query(stocked, "from invoices where period = '2026-08'")} == {"published"}

    assert newest_unmirrored_event(stocked) is not None
    (check,) = press("mirror_stripe").get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("stripe_agrees", True)
    assert newest_unmirrored_event(stocked) is None
    assert {row["status"] for row in query(stocked, "from invoices where period = '2026-08'")} == {"open"}
    with sqlite3.connect(stocked.stripe_emulator) as stripe:
        stripe.execute("delete from objects where kind = 'invoice'")
    assert billhouse(stocked.path, "sync-stripe", "--full").code == 0
    (check,) = press("mirror_stripe").get_asset_check_evaluations()
    assert not check.passed
    assert alert_states(stocked)[0]["kind"] == "drift"


def test_a_month_that_is_not_over_is_not_closed(definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance) -> None:
    with pytest.raises(BillhouseError, match="2026-09 was not over at 2026-09-05"):
        in_home(definitions, stocked, "close_month").execute_in_process(partition_key="2026-09", instance=instance)


def test_nothing_is_reported_closed_or_published_past_a_failed_check_and_people_are_told(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    before = stocked.analysts_file.read_bytes()
    _spoil_the_landing_counts(stocked)
    run = build(definitions, stocked, instance, raise_on_error=False)
    assert not run.success
    assert [check.check_name for check in run.get_asset_check_evaluations() if not check.passed] == ["landed_rows_add_up"]
    assert run.asset_materializations_for_node("build_warehouse") == [], "what failed is not shown as made"
    assert stocked.analysts_file.read_bytes() == before

    _tell_of_failure(run, instance, stocked)
    (alert,) = alert_states(stocked)
    assert (alert["kind"], alert["state"]) == ("check_failed", "kept")
    assert "landed_rows_add_up" in alert["text"]

    for job in ("close_month", "publish_month"):
        ended = in_home(definitions, stocked, job).execute_in_process(
            partition_key="2026-08", instance=instance, raise_on_error=False
        )
        assert not ended.success
        assert "landed_rows_add_up" in str(ended.get_step_failure_events()[0].step_failure_data.error)
    assert closed_periods(stocked) == []


def _tell_of_failure(run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, home: Home) -> None:
    """What Dagster's daemon does when a run has failed."""
    from orchestration.alerts import alert_on_failure
    from orchestration.lib.resources import BillhouseHome

    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failure",
        dagster_event=run.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=run.dagster_run,
    ).for_run_failure()
    alert_on_failure(context, home=BillhouseHome(path=str(home.path)))


def _spoil_the_landing_counts(home: Home) -> None:
    """As if a row had been lost on the way: a file that received more than it accounts for."""
    spoiled = next(path for path in sorted((home.raw / "landed_files").glob("*.parquet")) if path.name[0] != "_")
    aside = home.path / "aside.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * replace (received_rows + 1 as received_rows) from '{spoiled}') to '{aside}' (format parquet)"
        )
    spoiled.chmod(0o600)
    Path(aside).replace(spoiled)
    remake_manifest(home)


def test_whichever_table_is_chosen_everything_is_brought_up_to_date_by_one_build(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    before = stocked.analysts_file.stat().st_mtime_ns
    chosen = dg.AssetKey(["usage", "usage_segments"])
    run = build(definitions, stocked, instance, as_of=None, chosen=[chosen])
    assert {event.asset_key for event in run.asset_materializations_for_node("build_warehouse")} == {chosen}
    assert stocked.analysts_file.stat().st_mtime_ns > before


def test_a_file_that_is_mostly_refused_fails_the_run_after_all_has_landed_and_is_not_landed_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    home = Home.open(tmp_path / "home")
    (home.inbox / Kind.USAGE).mkdir(parents=True)
    write_jsonl(home.inbox / Kind.USAGE / "a.jsonl", ["no json", "nor this"])
    write_jsonl(home.inbox / Kind.USAGE / "b.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    chosen = [dg.AssetKey(["raw", "landed_files"])]
    first = build(definitions, home, instance, chosen=chosen, raise_on_error=False)
    assert not first.success
    (landed,) = first.asset_materializations_for_node("land_inbox")
    assert (landed.metadata["accepted_rows"].value, landed.metadata["quarantined_rows"].value) == (1, 2)
    assert [path.name for path in (home.inbox / Kind.USAGE).iterdir()] == []
    assert build(definitions, home, instance, chosen=chosen).success
