"""The Dagster graph: what it shows, and that pressing its buttons does the work."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from pipeline.errors import BillhouseError
from pipeline.home import HOME_VARIABLE, Home
from pipeline.kinds import Kind
from tests.support import billhouse, event, query, write_jsonl


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    """The project's definitions, loaded over an empty home of the module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("graph")))
        from orchestration.definitions import definitions

        yield definitions


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that forgets."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(scope="module")
def pressed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory, parsed_project: Path
) -> tuple[Home, dg.ExecuteInProcessResult]:
    """A home with usage, a plan and a customer in its inbox, and the run that landed and built it."""
    home = Home.open(tmp_path_factory.mktemp("pressed") / "home")
    shutil.copytree(parsed_project, home.path / ".dbt" / "target")
    usage = [
        event("start", "2026-08-20T10:00:00Z", user="paula", sandbox="p", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", "2026-08-20T11:00:00Z", user="paula", sandbox="p"),
        "no json",
    ]
    rows: dict[Kind, list[Any]] = {
        Kind.USAGE: usage,
        Kind.SUBSCRIPTIONS: [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-08-16T00:00:00Z"}],
        Kind.CUSTOMERS: [{"customer_id": "paula", "name": "Paula", "created_at": "2026-08-01T00:00:00Z"}],
    }
    for kind, records in rows.items():
        (home.inbox / kind).mkdir(parents=True)
        write_jsonl(home.inbox / kind / "file.jsonl", records)
    return home, build(definitions, home, instance)


@pytest.fixture
def stocked(pressed: tuple[Home, dg.ExecuteInProcessResult], tmp_path: Path) -> Home:
    """A copy of that home, landed and built."""
    shutil.copytree(pressed[0].path, tmp_path / "home")
    return Home.open(tmp_path / "home")


def in_home(definitions: dg.Definitions, home: Home, job: str) -> dg.JobDefinition:
    """The job, over another home."""
    from orchestration.resources import BillhouseHome

    moved = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        resources={**(definitions.resources or {}), "home": BillhouseHome(path=str(home.path))},
        executor=dg.in_process_executor,
    )
    return moved.resolve_job_def(job)


def build(
    definitions: dg.Definitions,
    home: Home,
    instance: dg.DagsterInstance,
    *,
    as_of: str | None = "2026-09-05T00:00:00Z",
    days: tuple[str, str] = ("2026-08-20", "2026-08-20"),
    chosen: list[dg.AssetKey] | None = None,
    raise_on_error: bool = True,
) -> dg.ExecuteInProcessResult:
    """A run over a range of days, as the UI launches one."""
    return in_home(definitions, home, "land_and_build").execute_in_process(
        run_config={"ops": {"build_warehouse": {"config": {"as_of": as_of}}}} if as_of else {},
        tags={"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]},
        asset_selection=chosen,
        instance=instance,
        raise_on_error=raise_on_error,
    )


def test_every_step_from_landing_to_export_is_an_asset_with_a_group_an_owner_and_a_description(
    definitions: dg.Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    layers = {"price_book", "staging", "usage", "rating", "billing", "monitoring", "reports"}
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
    only_told = {"every_file_landed", "quarantine_is_small", "raw_events_are_what_landed", "stripe_agrees"}
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


def test_jobs_close_export_and_publish_a_month_and_mirror_stripe_back(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "1000"}')
    for job in ("close_month", "publish_month"):
        run = in_home(definitions, stocked, job).execute_in_process(partition_key="2026-08", instance=instance)
        assert run.success
    assert {row["status"] for row in query(stocked, "from invoices where period = '2026-08'")} == {"published"}
    assert (stocked.exports / "2026-08" / "billhouse-2026-08.xlsx").exists()
    mirrored = in_home(definitions, stocked, "mirror_stripe").execute_in_process(instance=instance)
    (check,) = mirrored.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("stripe_agrees", True)
    assert {row["status"] for row in query(stocked, "from invoices where period = '2026-08'")} == {"open"}
    with sqlite3.connect(stocked.stripe_emulator) as stripe:
        stripe.execute("delete from objects where kind = 'invoice'")
    mirror_everything(stocked)
    (check,) = in_home(definitions, stocked, "mirror_stripe").execute_in_process(instance=instance).get_asset_check_evaluations()
    assert not check.passed


def mirror_everything(home: Home) -> None:
    assert billhouse(home.path, "sync-stripe", "--full").code == 0


def test_a_month_that_is_not_over_is_not_closed(definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance) -> None:
    build(definitions, stocked, instance, as_of="2026-08-25T00:00:00Z")
    job = in_home(definitions, stocked, "close_month")
    with pytest.raises(BillhouseError, match="was not over"):
        job.execute_in_process(partition_key="2026-08", instance=instance)


def test_a_build_with_a_failed_check_leaves_the_reports_alone_and_closes_nothing(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    before = stocked.billing.read_bytes()
    _spoil_the_landing_counts(stocked)
    run = build(definitions, stocked, instance, raise_on_error=False)
    assert not run.success
    assert stocked.billing.read_bytes() == before
    closed = billhouse(stocked.path, "close", "2026-08")
    assert closed.code == 1
    assert "failed" in closed.stderr


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


def test_whichever_table_is_chosen_everything_is_brought_up_to_date_by_one_build(
    definitions: dg.Definitions, stocked: Home, instance: dg.DagsterInstance
) -> None:
    before = stocked.billing.stat().st_mtime_ns
    chosen = dg.AssetKey(["usage", "usage_segments"])
    run = build(definitions, stocked, instance, as_of=None, chosen=[chosen])
    assert {event.asset_key for event in run.asset_materializations_for_node("build_warehouse")} == {chosen}
    assert stocked.billing.stat().st_mtime_ns > before
