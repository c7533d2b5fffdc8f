"""Alerts: a failed run raises one, and a sensor sends all pending ones."""

from typing import Any

import dagster as dg

from orchestration.lib.automation import digest, hourly_run_key, sensor
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.resources import BillhouseHome
from orchestration.lib.retries import EXTERNAL_CALL_RETRY_POLICY
from pipeline import alerts
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, alert_states, raise_alert

_KINDS = {
    "land_and_build": ("check_failed", "The build"),
    "close_month": ("close_failed", "close {partition}"),
    "publish_month": ("publish_failed", "publish {partition}"),
    "mirror_stripe": ("sync_failed", "sync-stripe"),
    "rebuild": ("check_failed", "The build from scratch"),
}
"""By job: kind and subject of the alert for a failed run. The command line uses the same, so that one failure is one alert."""


@dg.asset(
    deps=[dg.AssetKey(["billing", "usage_alerts"])],
    group_name="alerts",
    kinds={"parquet"},
    owners=[PLATFORM],
    pool="alerts",
    retry_policy=EXTERNAL_CALL_RETRY_POLICY,
)
@convert_errors
def alert_deliveries(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """Deliveries of alerts to each configured channel: webhook, Slack, e-mail. See docs/operate/alerts.md.

    Sending does not wait for builds, and builds do not wait for a slow receiver.
    """
    sent = alerts.send_alerts(home.home)
    write_health(home.home)
    for problem in sent.problems:
        context.log.error(problem)
    if sent.problems:
        raise dg.Failure(f"{len(sent.problems)} alerts were not sent. First: {sent.problems[0]}")
    for written in written_files(home.home, "ledger"):
        context.log_event(written)
    return dg.MaterializeResult(metadata=delivery_metadata(home.home, sent))


def delivery_metadata(home: Home, sent: alerts.SendResult) -> dict[str, Any]:
    """Metadata of a call that sent alerts."""
    columns = ("raised_at", "kind", "subject", "channel", "state")
    latest = [[state[column] for column in columns] for state in alert_states(home, limit=10)]
    return {
        "channels": ", ".join(sent.channels) or "none configured",
        "raised": sent.raised,
        "delivered": sent.delivered,
        "latest": markdown_table(columns, latest),
    }


@dg.run_failure_sensor(
    name="alert_on_failure",
    description="Raise an alert for each failed run.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
)
@convert_errors
def alert_on_failure(context: dg.RunFailureSensorContext, home: dg.ResourceParam[BillhouseHome]) -> None:
    """Raise one alert per job and UTC day. Not for the job that sends alerts: that alert could not be sent."""
    run = context.dagster_run
    if run.job_name == "send_alerts":
        return
    kind, subject = _KINDS.get(run.job_name, ("run_failed", f"{run.job_name} {{partition}}"))
    subject = subject.format(partition=run.tags.get("dagster/partition", "")).strip()
    text = f"{subject} failed in Dagster (run {run.run_id}). {_first_reason(context)}"
    raise_alert(home.home, OperationalAlert(kind, subject, text))
    write_health(home.home)


def _first_reason(context: dg.RunFailureSensorContext) -> str:
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        if error is not None:
            cause = error.cause or error
            return " ".join(cause.message.split())[:1000]
    return context.failure_event.message or ""


send_alerts = dg.define_asset_job(
    "send_alerts",
    selection=dg.AssetSelection.assets(alert_deliveries).without_checks(),
    description="Send all pending alerts, once to each channel.",
)


@sensor("send_alerts", every_seconds=15)
def send_waiting_alerts(home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Send pending alerts; failed deliveries are retried every hour."""
    waiting = alerts.waiting_alerts(home.home)
    if not waiting:
        return dg.SkipReason("No alerts pending.")
    return dg.RunRequest(run_key=hourly_run_key(digest(waiting)))


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(assets=[alert_deliveries], jobs=[send_alerts], sensors=[send_waiting_alerts, alert_on_failure])
