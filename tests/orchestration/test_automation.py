"""Schedules and sensors ask for a run when something is due, and for none when nothing is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestration.lib.due import month_to_close
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.store.alert_log import OperationalAlert, raise_alert
from tests.support import event, write_jsonl


def asked(
    automation: dg.SensorDefinition, home: Home, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult:
    """What a sensor of ours says at a tick."""
    from orchestration.lib.resources import BillhouseHome

    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    said = automation(context, home=BillhouseHome(path=str(home.path)))
    if isinstance(said, dg.SkipReason):
        return dg.SensorResult(skip_reason=said)
    if isinstance(said, dg.SensorResult):
        return said
    assert isinstance(said, dg.RunRequest)
    return dg.SensorResult([said])


def test_a_file_in_the_inbox_is_landed_and_built_by_one_run_of_today(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    sensor = definitions.get_repository_def().get_sensor_def("land_from_inbox")
    home = Home.open(tmp_path / "home")
    assert not asked(sensor, home, instance).run_requests
    (home.inbox / "usage").mkdir()
    write_jsonl(home.inbox / "usage" / "one.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    first = asked(sensor, home, instance)
    assert first.run_requests is not None
    assert [request.partition_key for request in first.run_requests] == [f"{datetime.now(UTC):%Y-%m-%d}"]
    assert not asked(sensor, home, instance, first.cursor).run_requests, "the same file asks once"
    write_jsonl(home.inbox / "usage" / ".two.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    assert not asked(sensor, home, instance, first.cursor).run_requests, "a hidden file is still being written"
    (home.inbox / "usage" / ".two.jsonl").rename(home.inbox / "usage" / "two.jsonl")
    assert asked(sensor, home, instance, first.cursor).run_requests
    assert sensor.minimum_interval_seconds is not None
    assert sensor.minimum_interval_seconds <= 15, "landed and built within a minute"


def test_a_month_is_due_to_be_closed_once_it_is_over_with_its_grace(stocked: Home, tmp_path: Path) -> None:
    assert month_to_close(stocked, datetime(2026, 9, 2, 23, 59, tzinfo=UTC)) is None
    assert month_to_close(stocked, datetime(2026, 9, 3, tzinfo=UTC)) == BillingPeriod(2026, 8)
    assert month_to_close(Home.open(tmp_path / "empty"), datetime(2026, 9, 3, tzinfo=UTC)) is None


def test_an_alert_that_waits_asks_for_one_run_an_hour_until_it_is_sent(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.open(tmp_path / "home")
    sensor = definitions.get_repository_def().get_sensor_def("send_waiting_alerts")
    raise_alert(home, OperationalAlert("run_failed", "nobody is configured", ""))
    assert not asked(sensor, home, instance).run_requests
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", "http://127.0.0.1:9/hook")
    raise_alert(home, OperationalAlert("run_failed", "land_and_build", "It failed."))
    first, second = asked(sensor, home, instance).run_requests, asked(sensor, home, instance).run_requests
    assert first
    assert second
    assert [request.run_key for request in first] == [request.run_key for request in second]


def test_news_of_stripe_that_could_not_be_mirrored_are_asked_for_again_in_another_hour(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration import automation

    sensor = definitions.get_repository_def().get_sensor_def("mirror_stripe_changes")
    monkeypatch.setattr(automation, "newest_unmirrored_event", lambda *_, **__: "evt_1")
    keys = []
    for hour in ("08", "08", "09"):
        monkeypatch.setattr(automation, "_hour", lambda _, hour=hour: hour)
        (request,) = asked(sensor, Home.open(tmp_path / "home"), instance).run_requests or ()
        keys.append(request.run_key)
    assert keys == ["evt_1 08", "evt_1 08", "evt_1 09"]


def test_what_talks_to_the_world_is_tried_again_with_growing_pauses(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in (["published_invoices"], ["stripe_mirror"], ["ledger", "alert_deliveries"]):
        policy = graph.get(dg.AssetKey(key)).assets_def.op.retry_policy
        assert policy is not None
        assert (policy.max_retries, policy.backoff) == (3, dg.Backoff.EXPONENTIAL)


def test_whatever_writes_waits_for_one_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    pools = {key.path[-1]: graph.get(key).assets_def.op.pool for key in graph.get_all_asset_keys()}
    assert {name for name, pool in pools.items() if pool != "warehouse"} == {"alert_deliveries"}


def test_everything_is_off_until_it_is_switched_on_but_for_the_alert_on_failure(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    on = {it.name for it in repository.sensor_defs if it.default_status is dg.DefaultSensorStatus.RUNNING}
    on |= {it.name for it in repository.schedule_defs if it.default_status is dg.DefaultScheduleStatus.RUNNING}
    assert on == {"alert_on_failure"}
    assert all(it.description for it in repository.sensor_defs)
    assert all(it.description for it in repository.schedule_defs)
