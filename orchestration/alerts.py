"""Alerts: sent when there are any; a run that fails makes one."""

import dagster as dg

from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import TALKS_TO_THE_WORLD
from pipeline.alerts import send_alerts
from pipeline.core.failures import convert_errors
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, alert_states, raise_alert

_KINDS = {
    "land_and_build": ("check_failed", "The build"),
    "close_month": ("close_failed", "close {partition}"),
    "publish_month": ("publish_failed", "publish {partition}"),
    "mirror_stripe": ("sync_failed", "sync-stripe"),
}
"""By job: what its failure is called. The same words as the command line's, so that one failure is one alert."""


@dg.asset(
    key=["ledger", "alert_deliveries"],
    deps=[dg.AssetKey(["billing", "usage_alerts"])],
    group_name="alerts",
    kinds={"parquet"},
    owners=[PLATFORM],
    pool="alerts",
    retry_policy=TALKS_TO_THE_WORLD,
)
@convert_errors
def alert_deliveries(context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> dg.MaterializeResult[None]:
    """What people had to be told, sent once to each channel that is configured: webhook, Slack, e-mail. See docs/alerts.md.

    It waits for no build, and no build waits for a slow receiver.
    """
    sent = send_alerts(home.home)
    write_health(home.home)
    for problem in sent.problems:
        context.log.error(problem)
    if sent.problems:
        raise dg.Failure(f"{len(sent.problems)} alerts were not sent. First: {sent.problems[0]}")
    columns = ("raised_at", "kind", "subject", "channel", "state")
    latest = [[state[column] for column in columns] for state in alert_states(home.home, limit=10)]
    return dg.MaterializeResult(
        metadata={
            "channels": ", ".join(sent.channels) or "none configured",
            "raised": sent.raised,
            "delivered": sent.delivered,
            "latest": markdown_table(columns, latest),
        }
    )


@dg.run_failure_sensor(
    name="alert_on_failure",
    description="Keeps an alert of every run that fails, to be sent.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
)
@convert_errors
def alert_on_failure(context: dg.RunFailureSensorContext, home: dg.ResourceParam[BillhouseHome]) -> None:
    """One alert a job and UTC day, whatever fails how often. Not of sending itself: it could not be sent."""
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
