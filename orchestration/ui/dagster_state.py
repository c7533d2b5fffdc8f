"""What the start page says of Dagster: what ran last, failed runs and checks, and which schedules and sensors are on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.remote_representation.external import RemoteSchedule, RemoteSensor
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from orchestration.lib.due import MONTH_CAN_BE_CLOSED
from orchestration.ui.home_state import Item

_WORK = (
    ("Landing", ("raw", "landed_files")),
    ("Build", ("billing", "invoices")),
    ("Close", ("closed_invoices",)),
    ("Publish to Stripe", ("published_invoices",)),
    ("Mirror of Stripe", ("stripe_mirror",)),
    ("Export", ("month_export",)),
    ("Alerts", ("alert_deliveries",)),
)
"""What ran, by the asset that it materializes."""
_RUNS_SHOWN = 6
_FAILED_CHECKS_SHOWN = 8
_FAILURES_FOR = timedelta(days=35)
"""A month and its grace period: an older failed run is no longer of interest."""
_FAILURES_READ = 500
_MONTH = re.compile(r"\d{4}-\d{2}(-01)?")
"""A partition of a job with one run a month."""
_PARTITION = "dagster/partition"


@dataclass(frozen=True)
class Work:
    """When something ran last."""

    name: str
    asset: tuple[str, ...]
    at: datetime | None = None
    run: str = ""
    """The Dagster run; empty for a command."""
    command: str = ""
    partition: str = ""
    is_history: bool = False
    """It ran before a Dagster served the home."""


@dataclass
class DagsterState:
    """The state of the instance and of the loaded definitions."""

    work: list[Work] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    needs: list[Item] = field(default_factory=list)
    automation: list[str] = field(default_factory=list)
    """The schedules and sensors that are on and launch runs."""
    automation_count: int = 0
    location: str = ""
    """The name of the code location; empty unless it is loaded: then checks, schedules and sensors are not known."""
    load_error: str = ""
    """Why the code location could not be loaded."""


def read_dagster_state(context: BaseWorkspaceRequestContext, now: datetime) -> DagsterState:
    """Read the state of the instance."""
    instance = context.instance
    state = DagsterState()
    records = {record.asset_entry.asset_key: record.asset_entry for record in instance.get_asset_records(_keys())}
    for name, path in _WORK:
        entry = records.get(dg.AssetKey(list(path)))
        event = entry.last_materialization if entry is not None else None
        if event is None:
            state.work.append(Work(name, path))
            continue
        found = event.asset_materialization
        metadata = found.metadata if found is not None else {}
        command, finished_at = metadata.get("command"), metadata.get("finished_at")
        at = finished_at.value if isinstance(finished_at, dg.TimestampMetadataValue) else event.timestamp
        partition = (found.partition if found is not None else None) or ""
        text = str(command.value) if command is not None else ""
        ran = Work(name, path, datetime.fromtimestamp(at, UTC), event.run_id, text, partition, "history" in metadata)
        state.work.append(ran)
    _add_runs(instance, state)
    _add_failed_runs(instance, state, now)
    locations, errors = context.code_locations, context.code_location_errors()
    if errors:
        state.load_error = errors[0].message
    if locations:
        state.location = locations[0].name
        _add_checks(context, state)
        _add_automation(context, state)
    return state


def _keys() -> list[dg.AssetKey]:
    return [dg.AssetKey(list(path)) for _, path in _WORK]


def _add_runs(instance: dg.DagsterInstance, state: DagsterState) -> None:
    for record in instance.get_run_records(limit=_RUNS_SHOWN):
        run = record.dagster_run
        at = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp
        partition = run.tags.get(_PARTITION, "")
        state.runs.append({"id": run.run_id, "job": run.job_name, "status": run.status.value, "partition": partition, "at": at})


def _add_failed_runs(instance: dg.DagsterInstance, state: DagsterState, now: datetime) -> None:
    """Of each job the last run, and of a job with one run a month the last run of each month, if it failed."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], created_after=now - _FAILURES_FOR)
    newest: dict[tuple[str, str], str] = {}
    for record in instance.get_run_records(failed, limit=_FAILURES_READ):
        run = record.dagster_run
        partition = run.tags.get(_PARTITION, "")
        month = partition if _MONTH.fullmatch(partition) else ""
        if (run.job_name, month) in newest:
            continue
        tags = {_PARTITION: month} if month else None
        (last,) = instance.get_run_records(dg.RunsFilter(job_name=run.job_name, tags=tags), limit=1)
        newest[run.job_name, month] = last.dagster_run.run_id
        if last.dagster_run.run_id == run.run_id:
            text = f"Partition {partition}." if partition else ""
            state.needs.append(Item(f"The last run of {run.job_name} failed", text, run=run.run_id))


def _add_checks(context: BaseWorkspaceRequestContext, state: DagsterState) -> None:
    keys = sorted(key for key in context.asset_graph.asset_check_keys if key.name != MONTH_CAN_BE_CLOSED)
    latest = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    failed = [key for key in keys if key in latest and latest[key].status is AssetCheckExecutionRecordStatus.FAILED]
    for key in failed[:_FAILED_CHECKS_SHOWN]:
        asset = tuple(key.asset_key.path)
        state.needs.append(Item(f"The check {key.name} failed", f"On {'.'.join(asset)}.", asset=asset, check=True))
    if len(failed) > _FAILED_CHECKS_SHOWN:
        state.needs.append(Item(f"{len(failed) - _FAILED_CHECKS_SHOWN} more checks failed"))


def _add_automation(context: BaseWorkspaceRequestContext, state: DagsterState) -> None:
    stored = {one.selector_id: one for one in context.instance.all_instigator_state()}
    for location in context.code_locations:
        for repository in location.get_repositories().values():
            launching: list[RemoteSchedule | RemoteSensor] = [*repository.get_schedules(), *repository.get_sensors()]
            for one in launching:
                if one.name in ("alert_on_failure", "record_commands"):  # on by default; they launch no run
                    continue
                state.automation_count += 1
                if one.get_current_instigator_state(stored.get(one.selector_id)).is_running:
                    state.automation.append(one.name)
