"""What each command's result means for the graph: the events of a report, made by the functions that make those of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.alerts import alert_deliveries, delivery_metadata
from orchestration.approvals import approval_events
from orchestration.closing_check import checked_month
from orchestration.feeds import feed_events
from orchestration.lib.asset_events import AssetEvent, materialized
from orchestration.lib.dbt_sources import written_files
from orchestration.lib.landing_events import KINDS, KindLanding, kinds_of_files, landing_events, landing_history_events
from orchestration.lib.partitions import is_month_with_partition
from orchestration.month_end import (
    close_metadata,
    closed_invoices,
    export_metadata,
    month_export,
    publish_metadata,
    published_invoices,
    verified_ledger,
)
from orchestration.stripe import compared_with_stripe, stripe_mirror, sync_metadata
from orchestration.warehouse import build_events
from pipeline.alerts import SendResult
from pipeline.core.errors import BillhouseError, LockedError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.exports import ExportResult
from pipeline.feeds.configured import FeedRun
from pipeline.landing import LandingSummary
from pipeline.landing.record_kinds import Kind
from pipeline.landing.result import LandReport
from pipeline.landing.settlement import SettlementResult
from pipeline.ledger.approvals import ApprovalResult
from pipeline.ledger.close import CloseResult
from pipeline.ledger.verify import VerifyResult
from pipeline.monitoring.command_reports import BuildReport, CommandReport
from pipeline.monitoring.home_history import BUILT, CLOSED, LANDED, LandingHistory
from pipeline.stripe.comparison import StripeComparison, SyncReport
from pipeline.stripe.publish_result import PublishResult
from pipeline.warehouse.build_record import last_build

_SETTLEMENTS = dg.AssetKey(["ledger", "quarantine_settlements"])
_LOCK_SECONDS = 2
"""How long to wait for a command that writes. The next evaluation of the sensor tries again."""


class NotNowError(Exception):
    """The warehouse cannot be read now: another command writes, or the last build failed."""


def _land(home: Home, report: CommandReport, land: LandReport) -> Iterator[AssetEvent]:
    """With a kind, of that kind; without, of the kinds of the files."""
    landed = land.summary
    kinds: dict[Kind, LandingSummary] = {kind: LandingSummary() for kind in KINDS} if land.is_of_all_kinds else {}
    if land.kind is not None:
        kinds[land.kind] = landed
    else:
        of_file = kinds_of_files(home)
        for file in landed.files:
            if file.landed_as in of_file:
                kinds.setdefault(of_file[file.landed_as], LandingSummary()).files.append(file)
    landings = [KindLanding(kind, summary, land.seconds) for kind, summary in kinds.items()]
    days = [f"{report.finished_at:%Y-%m-%d}"] if land.is_of_all_kinds else []
    return landing_events(home, landings, landed, land.refusals, days)


def _build(home: Home, _: CommandReport, build: BuildReport) -> Iterator[AssetEvent]:
    if build.has_failed:
        yield from build_events(home, build)
        return
    try:
        with home.writing(_LOCK_SECONDS):
            record = last_build(home)
            if record is None or not record.inputs:
                raise NotNowError
            events = list(build_events(home, build))
    except LockedError as error:
        raise NotNowError from error
    yield from events


def _built(home: Home, report: CommandReport, build: BuildReport) -> Iterator[AssetEvent]:
    """Materializations only: which checks the build ran is not known."""
    yield from (event for event in _build(home, report, build) if isinstance(event, dg.AssetMaterialization))


def _landed(home: Home, _: CommandReport, history: LandingHistory) -> Iterator[AssetEvent]:
    yield from landing_history_events(home, history)


def _of_month(key: dg.AssetKey, month: BillingPeriod, metadata: Mapping[str, Any]) -> Iterator[AssetEvent]:
    if is_month_with_partition(month):
        yield materialized(key, metadata, str(month))


def _close(home: Home, report: CommandReport, closed: CloseResult) -> Iterator[AssetEvent]:
    yield from _of_month(closed_invoices.key, closed.period, close_metadata(closed))
    yield from written_files(home, "closes")
    if report.work != CLOSED:
        with suppress(BillhouseError):  # the daily check says why
            yield checked_month(home, datetime.now(UTC))


def _approve(home: Home, _: CommandReport, approved: ApprovalResult) -> Iterator[AssetEvent]:
    yield from approval_events(home, approved)


def _settle(home: Home, _: CommandReport, settled: SettlementResult) -> Iterator[AssetEvent]:
    decision = {"settled_by": settled.settled_by, "settled_rows": settled.rows}
    for event in written_files(home, "ledger"):
        yield materialized(event.asset_key, {**event.metadata, **(decision if event.asset_key == _SETTLEMENTS else {})})


def _publish(home: Home, _: CommandReport, published: PublishResult) -> Iterator[AssetEvent]:
    if not published.problems:  # a Dagster run with problems fails
        yield from _of_month(published_invoices.key, published.period, publish_metadata(published))
    yield from written_files(home, "ledger")


def _sync(home: Home, _: CommandReport, sync: SyncReport) -> Iterator[AssetEvent]:
    yield materialized(stripe_mirror.key, sync_metadata(sync.synced))
    if sync.comparison is not None:
        yield compared_with_stripe(sync.comparison)
    yield from written_files(home, "stripe")


def _reconcile(_: Home, __: CommandReport, comparison: StripeComparison) -> Iterator[AssetEvent]:
    yield compared_with_stripe(comparison)


def _verify(_: Home, __: CommandReport, verified: VerifyResult) -> Iterator[AssetEvent]:
    yield verified_ledger(verified)


def _export(_: Home, __: CommandReport, exported: ExportResult) -> Iterator[AssetEvent]:
    yield from _of_month(month_export.key, exported.period, export_metadata(exported))


def _send_alerts(home: Home, _: CommandReport, sent: SendResult) -> Iterator[AssetEvent]:
    if not sent.problems:  # a Dagster run with problems fails
        yield materialized(alert_deliveries.key, delivery_metadata(home, sent))
    yield from written_files(home, "ledger")


def _run_feeds(_: Home, __: CommandReport, runs: list[FeedRun]) -> Iterator[AssetEvent]:
    yield from feed_events(runs)


@dataclass(frozen=True)
class KindOfWork:
    """The type of a command's result, and the function that makes events of it."""

    type_: Any
    events: Callable[[Home, CommandReport, Any], Iterator[AssetEvent]]
    is_history: bool = False
    """It happened before a Dagster served the home."""


KINDS_OF_WORK: Mapping[str, KindOfWork] = {
    "land": KindOfWork(LandReport, _land),
    "build": KindOfWork(BuildReport, _build),
    "close": KindOfWork(CloseResult, _close),
    "approve": KindOfWork(ApprovalResult, _approve),
    "quarantine --settle": KindOfWork(SettlementResult, _settle),
    "publish": KindOfWork(PublishResult, _publish),
    "sync-stripe": KindOfWork(SyncReport, _sync),
    "reconcile": KindOfWork(StripeComparison, _reconcile),
    "verify": KindOfWork(VerifyResult, _verify),
    "export": KindOfWork(ExportResult, _export),
    "alerts --send": KindOfWork(SendResult, _send_alerts),
    "feeds run": KindOfWork(list[FeedRun], _run_feeds),
    LANDED: KindOfWork(LandingHistory, _landed, is_history=True),
    BUILT: KindOfWork(BuildReport, _built, is_history=True),
    CLOSED: KindOfWork(CloseResult, _close, is_history=True),
}
