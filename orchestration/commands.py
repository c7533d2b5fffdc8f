"""The work of the command line in Dagster's history: commands leave reports, and a sensor records them as runless events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from time import monotonic
from typing import Any

import dagster as dg
from pydantic import ValidationError

from orchestration.alerts import alert_deliveries, delivery_metadata
from orchestration.approvals import approval_events
from orchestration.feeds import feed_events
from orchestration.lib.asset_events import AssetEvent, materialized, record_without_run
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.landing_events import KINDS, KindLanding, few_accepted, kinds_of_files, landing_events
from orchestration.lib.partitions import is_month_with_partition
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import (
    close_metadata,
    closed_invoices,
    export_metadata,
    ledger_is_as_written,
    month_export,
    publish_metadata,
    published_invoices,
    verified_ledger,
)
from orchestration.stripe import compared_with_stripe, stripe_mirror, sync_metadata
from orchestration.warehouse import build_events, build_warehouse
from pipeline.alerts import SendResult
from pipeline.core.errors import BillhouseError
from pipeline.core.failures import convert_errors
from pipeline.core.files import make_folders
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.periods import BillingPeriod
from pipeline.exports import ExportResult
from pipeline.feeds.configured import FeedRun
from pipeline.landing import LandingSummary
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.approvals import ApprovalResult
from pipeline.ledger.close import CloseResult
from pipeline.ledger.verify import VerifyResult
from pipeline.monitoring.command_reports import BuildReport, CommandReport, waiting_reports, write_progress
from pipeline.stripe.mirror import SyncResult
from pipeline.stripe.publish_result import PublishResult
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.reports import reconciliation

_SECONDS = 10.0
"""How long one evaluation of the sensor records: other sensors wait meanwhile, and Dagster ends one after 60 seconds."""
_LOCK_SECONDS = 2
"""How long to wait for a command that writes. The next evaluation tries again."""


def record_reports(instance: dg.DagsterInstance, home: Home, seconds: float | None = None) -> int:
    """Record the reports of commands as runless events, and remove them; returns the number of events.

    A build is recorded with the numbers that the warehouse has now, since later builds replace them. While another command
    writes, or after a failed build, it waits. `seconds`: stop after these; the next call goes on there. One process records at a
    time: raises BillhouseError where another one does.
    """
    recorded = 0
    ends_at = None if seconds is None else monotonic() + seconds
    with hold_lock(home.command_reports / ".lock", activity="recording what commands did", timeout_seconds=0):
        for report in _without_replaced_builds(waiting_reports(home)):
            try:
                events = list(_EVENTS[report.work](home, report)) if report.work in _EVENTS else []
            except _NotNowError:
                continue
            except (ValidationError, KeyError, FileNotFoundError):  # of another version, or of files that were removed
                events = []
            extra = {"command": f"billhouse {report.work}", "finished_at": dg.MetadataValue.timestamp(report.finished_at)}
            rest = events[report.recorded :]
            number = record_without_run(instance, rest, extra, _blocking_checks(), ends_at)
            recorded += number
            if number < len(rest):
                write_progress(report, report.recorded + number)
                break
            report.path.unlink(missing_ok=True)
    return recorded


class _NotNowError(Exception):
    """The warehouse cannot be read now."""


def _without_replaced_builds(reports: list[CommandReport]) -> Iterator[CommandReport]:
    """The reports, with one build for several that succeeded: the last, of the days and steps of all of them."""
    builds = [report for report in reports if report.work == "build" and not report.result["has_failed"]]
    for report in reports:
        if report in builds[:-1]:
            continue
        if report in builds:
            steps = {step["unique_id"]: step for build in builds for step in build.result["steps"]}
            since = min(build.result["replaced_at"] for build in builds)
            result = {**report.result, "steps": list(steps.values()), "replaced_at": since}
            yield replace(report, result=result)
            for earlier in builds[:-1]:
                earlier.path.unlink(missing_ok=True)
        else:
            yield report


def _land(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    """With a kind, of that kind; without, of the kinds of the files; with `all_kinds` as a run that looks for files of all."""
    landed = report.result_as(LandingSummary)
    is_of_all = report.details.get("all_kinds", False)
    kinds: dict[Kind, LandingSummary] = {kind: LandingSummary() for kind in KINDS} if is_of_all else {}
    if report.details["kind"] is not None:
        kinds[Kind(report.details["kind"])] = landed
    else:
        of_file = kinds_of_files(home)
        for file in landed.files:
            if file.landed_as in of_file:
                kinds.setdefault(of_file[file.landed_as], LandingSummary()).files.append(file)
    landings = [KindLanding(kind, summary, report.details["seconds"]) for kind, summary in kinds.items()]
    days = [f"{report.finished_at:%Y-%m-%d}"] if is_of_all else []
    return landing_events(home, landings, landed, few_accepted(landed), days)


def _build(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    build = report.result_as(BuildReport)
    if build.has_failed:
        yield from build_events(home, build)
        return
    try:
        with home.writing(_LOCK_SECONDS):
            record = last_build(home)
            if record is None or not record.inputs:
                raise _NotNowError
            events = list(build_events(home, build))
    except BillhouseError as error:
        raise _NotNowError from error
    yield from events


def _of_month(key: dg.AssetKey, month: BillingPeriod, metadata: Mapping[str, Any]) -> Iterator[AssetEvent]:
    if is_month_with_partition(month):
        yield materialized(key, metadata, str(month))


def _close(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    closed = report.result_as(CloseResult)
    yield from _of_month(closed_invoices.key, closed.period, close_metadata(closed))
    yield from written_files(home, "closes")


def _approve(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    yield from approval_events(home, report.result_as(ApprovalResult))


def _publish(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    published = report.result_as(PublishResult)
    if not published.problems:  # a Dagster run with problems fails
        yield from _of_month(published_invoices.key, published.period, publish_metadata(published))
    yield from written_files(home, "ledger")


def _sync(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    yield materialized(stripe_mirror.key, sync_metadata(report.result_as(SyncResult)))
    yield compared_with_stripe(reconciliation(home))
    yield from written_files(home, "stripe")


def _reconcile(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    yield compared_with_stripe(reconciliation(home))


def _verify(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    yield verified_ledger(report.result_as(VerifyResult))


def _export(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    exported = report.result_as(ExportResult)
    yield from _of_month(month_export.key, exported.period, export_metadata(exported))


def _send_alerts(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    sent = report.result_as(SendResult)
    if not sent.problems:  # a Dagster run with problems fails
        yield materialized(alert_deliveries.key, delivery_metadata(home, sent))
    yield from written_files(home, "ledger")


def _run_feeds(home: Home, report: CommandReport) -> Iterator[AssetEvent]:
    yield from feed_events(report.result_as(list[FeedRun]))


_EVENTS: Mapping[str, Callable[[Home, CommandReport], Iterator[AssetEvent]]] = {
    "land": _land,
    "build": _build,
    "close": _close,
    "approve": _approve,
    "publish": _publish,
    "sync-stripe": _sync,
    "reconcile": _reconcile,
    "verify": _verify,
    "export": _export,
    "alerts --send": _send_alerts,
    "feeds run": _run_feeds,
}


@cache
def _blocking_checks() -> frozenset[dg.AssetCheckKey]:
    domains = (build_warehouse, ledger_is_as_written)
    return frozenset(spec.key for assets in domains for spec in assets.check_specs if spec.blocking)


@dg.sensor(
    name="record_commands",
    description="Record in the graph what was done on the command line. Launches nothing.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
)
@convert_errors
def record_commands(context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]) -> dg.SkipReason:
    """Commands report only where this folder is: it says that a Dagster serves the home."""
    make_folders(home.home.command_reports)
    if not waiting_reports(home.home):
        return dg.SkipReason("No command has done anything since.")
    try:
        return dg.SkipReason(f"Recorded {record_reports(context.instance, home.home, _SECONDS)} events of commands.")
    except BillhouseError as error:
        return dg.SkipReason(error.message)


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(sensors=[record_commands])
