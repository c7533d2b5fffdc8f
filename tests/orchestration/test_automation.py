"""Schedules and sensors launch a run when work is pending, and none otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.lib.due import month_to_close
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.store.alert_log import OperationalAlert, raise_alert
from tests.support import event, write_jsonl


def evaluate(
    automation: dg.SensorDefinition, home: Home, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult:
    """The result of one evaluation of a sensor."""
    from orchestration.lib.resources import BillhouseHome

    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = automation(context, home=BillhouseHome(path=str(home.path)))
    if isinstance(result, dg.SkipReason):
        return dg.SensorResult(skip_reason=result)
    if isinstance(result, dg.SensorResult):
        return result
    assert isinstance(result, dg.RunRequest)
    return dg.SensorResult([result])


def test_a_file_in_the_inbox_is_landed_and_built_by_one_run_of_today(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    sensor = definitions.get_repository_def().get_sensor_def("land_from_inbox")
    home = Home.open(tmp_path / "home")
    assert not evaluate(sensor, home, instance).run_requests
    (home.inbox / "usage").mkdir()
    write_jsonl(home.inbox / "usage" / "one.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    first = evaluate(sensor, home, instance)
    assert first.run_requests is not None
    assert [request.partition_key for request in first.run_requests] == [f"{datetime.now(UTC):%Y-%m-%d}"]
    assert not evaluate(sensor, home, instance, first.cursor).run_requests, "the same file launches one run"
    write_jsonl(home.inbox / "usage" / ".two.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    assert not evaluate(sensor, home, instance, first.cursor).run_requests, "a hidden file is still being written"
    (home.inbox / "usage" / ".two.jsonl").rename(home.inbox / "usage" / "two.jsonl")
    assert evaluate(sensor, home, instance, first.cursor).run_requests
    assert sensor.minimum_interval_seconds is not None
    assert sensor.minimum_interval_seconds <= 15, "landed and built within a minute"


def test_a_month_is_closed_after_its_grace_period(built_home: Home, tmp_path: Path) -> None:
    assert month_to_close(built_home, datetime(2026, 9, 2, 23, 59, tzinfo=UTC)) is None
    assert month_to_close(built_home, datetime(2026, 9, 3, tzinfo=UTC)) == BillingPeriod(2026, 8)
    assert month_to_close(Home.open(tmp_path / "empty"), datetime(2026, 9, 3, tzinfo=UTC)) is None


def test_a_pending_alert_launches_one_run_an_hour_until_it_is_sent(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.open(tmp_path / "home")
    sensor = definitions.get_repository_def().get_sensor_def("send_waiting_alerts")
    raise_alert(home, OperationalAlert("run_failed", "no channel is configured", ""))
    assert not evaluate(sensor, home, instance).run_requests
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", "http://127.0.0.1:9/hook")
    raise_alert(home, OperationalAlert("run_failed", "land_and_build", "It failed."))
    first, second = evaluate(sensor, home, instance).run_requests, evaluate(sensor, home, instance).run_requests
    assert first
    assert second
    assert [request.run_key for request in first] == [request.run_key for request in second]


def test_a_stripe_event_that_could_not_be_mirrored_launches_another_run_in_the_next_hour(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import stripe
    from orchestration.lib import automation

    sensor = definitions.get_repository_def().get_sensor_def("mirror_stripe_changes")
    monkeypatch.setattr(stripe, "newest_unmirrored_event", lambda *_, **__: "evt_1")
    keys = []
    for hour in ("08", "08", "09"):
        monkeypatch.setattr(automation, "current_hour", lambda hour=hour: hour)
        (request,) = evaluate(sensor, Home.open(tmp_path / "home"), instance).run_requests or ()
        keys.append(request.run_key)
    assert keys == ["evt_1 08", "evt_1 08", "evt_1 09"]


def test_external_calls_are_retried_with_exponential_backoff(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in (["published_invoices"], ["stripe_mirror"], ["alert_deliveries"]):
        policy = graph.get(dg.AssetKey(key)).assets_def.op.retry_policy
        assert policy is not None
        assert (policy.max_retries, policy.backoff) == (3, dg.Backoff.EXPONENTIAL)


def test_everything_that_writes_to_the_warehouse_uses_one_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    pools = {key.path[-1]: graph.get(key).assets_def.op.pool for key in graph.materializable_asset_keys}
    # Feeds write to the inbox alone.
    assert {name for name, pool in pools.items() if pool not in ("warehouse", "feeds")} == {"alert_deliveries"}
    assert [name for name, pool in pools.items() if pool == "feeds"] == ["collected_rows"]


def test_every_schedule_and_sensor_is_off_by_default_except_those_that_launch_nothing(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    on = {it.name for it in repository.sensor_defs if it.default_status is dg.DefaultSensorStatus.RUNNING}
    on |= {it.name for it in repository.schedule_defs if it.default_status is dg.DefaultScheduleStatus.RUNNING}
    assert on == {"alert_on_failure", "record_commands"}
    assert all(it.description for it in repository.sensor_defs)
    assert all(it.description for it in repository.schedule_defs)


def test_every_asset_check_job_schedule_and_sensor_of_a_domain_is_collected(definitions: dg.Definitions) -> None:
    from orchestration import alerts, approvals, closing_check, commands, feeds, landing, month_end, rebuild, stripe, warehouse

    domains = (alerts, approvals, closing_check, commands, feeds, landing, month_end, rebuild, stripe, warehouse)
    defined: list[Any] = [value for domain in domains for value in vars(domain).values()]

    def names(kind: type[Any]) -> set[str]:
        return {value.name for value in defined if isinstance(value, kind)}

    collected = definitions.get_repository_def()
    jobs = {
        "land_and_build",
        "close_month",
        "check_close",
        "publish_month",
        "export_month",
        "mirror_stripe",
        "send_alerts",
        "audit",
        "collect_feeds",
    }
    assert names(type(dg.define_asset_job("any"))) == jobs
    assert {job.name for job in collected.get_all_jobs()} >= jobs
    assert names(dg.ScheduleDefinition) == {schedule.name for schedule in collected.schedule_defs}
    assert names(dg.SensorDefinition) == {sensor.name for sensor in collected.sensor_defs}
    graph = definitions.resolve_asset_graph()
    assets = [value for value in defined if isinstance(value, dg.AssetsDefinition)]
    assert {key for found in assets for key in found.keys} == set(graph.materializable_asset_keys)
    assert {key for found in assets for key in found.check_keys} == graph.asset_check_keys


def test_configured_feeds_are_run_by_one_job_and_a_failed_one_fails_a_check(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.lib.resources import BillhouseHome
    from pipeline.feeds.configured import Feed, FeedRun

    repository, home = definitions.get_repository_def(), Home.open(tmp_path / "home")
    sensor = repository.get_sensor_def("run_configured_feeds")
    assert not evaluate(sensor, home, instance).run_requests
    home.feeds.write_text('[feeds.a]\ncommand = "collect"\nservice = true\n')
    assert not evaluate(sensor, home, instance).run_requests, "a service follows it"
    home.feeds.write_text('[feeds.a]\ncommand = "collect"\n[feeds.b]\ncommand = "collect"\n')
    assert evaluate(sensor, home, instance).run_requests

    def run(_: Home, feeds: list[Feed]) -> list[FeedRun]:
        return [FeedRun(feed.name, 1.5, rows=3, files=1, problem="gone" if feed.name == "b" else "") for feed in feeds]

    monkeypatch.setattr("orchestration.feeds.run_feeds", run)
    result = definitions.resolve_job_def("collect_feeds").execute_in_process(
        resources={"home": BillhouseHome(path=str(home.path))}, instance=instance
    )
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.metadata["failed"].value) == ("every_feed_was_collected", False, "b")
    (materialized,) = result.get_asset_materialization_events()
    assert materialized.materialization.metadata["rows"].value == 6
