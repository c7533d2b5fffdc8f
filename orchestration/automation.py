"""When things happen: jobs, schedules and sensors. They decide; the assets do."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.alerts import alert_deliveries, alert_on_failure
from orchestration.audit import rebuild
from orchestration.landing import land_inbox, raw_events_are_what_landed
from orchestration.lib.due import invoices_to_publish, month_to_close, month_to_export
from orchestration.lib.partitions import today
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import closed_invoices, ledger_is_as_written, month_export, published_invoices
from orchestration.stripe import stripe_mirror
from orchestration.warehouse import build_warehouse
from pipeline.alerts import waiting_alerts
from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings
from pipeline.landing.inbox import inbox_digest
from pipeline.stripe.mirror import newest_unmirrored_event

_FROM_THE_START = Settings.load().automate

land_and_build = dg.define_asset_job(
    "land_and_build",
    selection=dg.AssetSelection.assets(land_inbox, build_warehouse) - dg.AssetSelection.checks(raw_events_are_what_landed),
    description="Land what is in the inbox, build every model, run every check, and give analysts the new reports.",
)
close_month = dg.define_asset_job(
    "close_month",
    selection=dg.AssetSelection.assets(closed_invoices, month_export),
    description="Freeze a month's invoices in the ledger, verify the ledger, and export the month for finance.",
)
publish_month = dg.define_asset_job(
    "publish_month",
    selection=dg.AssetSelection.assets(published_invoices),
    description="Publish a closed month's approved invoices to Stripe, each once.",
)
export_month = dg.define_asset_job(
    "export_month",
    selection=dg.AssetSelection.assets(month_export),
    description="Write a month's workbook, files, journal and statements anew.",
)
mirror_stripe = dg.define_asset_job(
    "mirror_stripe",
    selection=dg.AssetSelection.assets(stripe_mirror),
    description="Mirror Stripe, and hold our invoices against it.",
)
send_alerts = dg.define_asset_job(
    "send_alerts",
    selection=dg.AssetSelection.assets(alert_deliveries).without_checks(),
    description="Send what people have to be told, to each channel once.",
)
audit = dg.define_asset_job(
    "audit",
    selection=dg.AssetSelection.checks(raw_events_are_what_landed, ledger_is_as_written),
    description="Read all raw events and the whole ledger, and see that they are what was written.",
)

JOBS: list[Any] = [land_and_build, close_month, publish_month, export_month, mirror_stripe, send_alerts, audit, rebuild]


def _schedule(job: Any, cron: str) -> Callable[[Callable[..., Any]], dg.ScheduleDefinition]:
    """A schedule in UTC that the UI describes in its function's own words."""
    status = dg.DefaultScheduleStatus.RUNNING if _FROM_THE_START else dg.DefaultScheduleStatus.STOPPED
    return lambda function: dg.schedule(
        job=job, cron_schedule=cron, execution_timezone="UTC", description=function.__doc__, default_status=status
    )(convert_errors(function))


def _sensor(job: Any, *, every_seconds: int) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """A sensor, likewise."""
    status = dg.DefaultSensorStatus.RUNNING if _FROM_THE_START else dg.DefaultSensorStatus.STOPPED
    return lambda function: dg.sensor(
        job=job, minimum_interval_seconds=every_seconds, description=function.__doc__, default_status=status
    )(convert_errors(function))


def _is_waiting(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext, job: str) -> bool:
    """Whether a run of the job waits for its turn already: it will find what there is then.

    One that was never put into the queue, since whoever made it was killed, would wait for ever and does not count.
    """
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING]
    return context.instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=waiting)) > 0


def _hour(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H}"


@_schedule(land_and_build, "0 * * * *")
def hourly_build(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Build every hour: what runs goes on costing, whether or not something landed."""
    if _is_waiting(context, land_and_build.name):
        return dg.SkipReason("A build waits for its turn already.")
    return dg.RunRequest(partition_key=today())


@_schedule(close_month, "20 * * * *")
def close_after_grace(
    context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.RunRequest | dg.SkipReason:
    """Close a month once its grace is over (BILLHOUSE_CLOSE_GRACE_HOURS) and a build knows all of it; each hour until it is."""
    month = month_to_close(home.home, datetime.now(UTC))
    if month is None:
        return dg.SkipReason("No month is to be closed: none is over with its grace and built.")
    return dg.RunRequest(partition_key=str(month))


@_schedule(export_month, "0 5 * * *")
def daily_export(context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Export the latest closed month every day: what has been paid, and what Stripe has, is of that day."""
    month = month_to_export(home.home)
    return dg.RunRequest(partition_key=str(month)) if month is not None else dg.SkipReason("No month is closed.")


@_schedule(audit, "30 3 * * 0")
def weekly_audit() -> dg.RunRequest:
    """Read everything that was ever written, once a week."""
    return dg.RunRequest()


@_schedule(rebuild, "30 4 * * 0")
def weekly_rebuild() -> dg.RunRequest:
    """Rebuild everything from scratch once a week, and compare: incremental builds must have made the same."""
    return dg.RunRequest()


@_sensor(land_and_build, every_seconds=10)
def land_from_inbox(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.SensorResult | dg.SkipReason:
    """Land and build within a minute of a file's coming."""
    found = inbox_digest(home.home)
    if found in ("", context.cursor):
        return dg.SkipReason("Nothing new waits in the inbox.")
    if _is_waiting(context, land_and_build.name):
        return dg.SkipReason("A run that will land what waits has not begun yet.")
    return dg.SensorResult([dg.RunRequest(partition_key=today())], cursor=found)


@_sensor(publish_month, every_seconds=30)
def publish_approved(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.SensorResult | dg.SkipReason:
    """Publish what has been approved; what could not be published is tried again each hour."""
    due = invoices_to_publish(home.home)
    if not due:
        return dg.SkipReason("Everything that was approved is in Stripe.")
    return dg.SensorResult(
        [
            dg.RunRequest(partition_key=str(month), run_key=f"{month} {_digest(ids)} {_hour(datetime.now(UTC))}")
            for month, ids in due.items()
        ]
    )


@_sensor(mirror_stripe, every_seconds=60)
def mirror_stripe_changes(home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Mirror Stripe when it tells of something new: a payment, a void invoice, a change made by hand. Tried again each hour."""
    event = newest_unmirrored_event(home.home, allow_live=Settings.load().stripe_live)
    if event is None:
        return dg.SkipReason("Stripe has no news.")
    return dg.RunRequest(run_key=f"{event} {_hour(datetime.now(UTC))}")


@_sensor(send_alerts, every_seconds=15)
def send_waiting_alerts(home: dg.ResourceParam[BillhouseHome]) -> dg.RunRequest | dg.SkipReason:
    """Send alerts as they come; what a receiver did not take is tried again each hour."""
    waiting = waiting_alerts(home.home)
    if not waiting:
        return dg.SkipReason("Nobody has to be told anything.")
    return dg.RunRequest(run_key=f"{_digest(waiting)} {_hour(datetime.now(UTC))}")


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()[:16]


SCHEDULES = [hourly_build, close_after_grace, daily_export, weekly_audit, weekly_rebuild]
SENSORS = [land_from_inbox, publish_approved, mirror_stripe_changes, send_waiting_alerts, alert_on_failure]
