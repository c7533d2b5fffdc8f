"""What the start page says of Dagster: what ran last, failed runs and checks, and which schedules and sensors are on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.remote_representation.external import RemoteSchedule, RemoteSensor
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.workspace.context import BaseWorkspaceRequestContext

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
    """The name of the code location; empty while it loads."""


def read_dagster_state(context: BaseWorkspaceRequestContext) -> DagsterState:
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
        command = found.metadata.get("command") if found is not None else None
        at = datetime.fromtimestamp(event.timestamp, UTC)
        partition = (found.partition if found is not None else None) or ""
        state.work.append(Work(name, path, at, event.run_id, str(command.value) if command is not None else "", partition))
    _add_runs(instance, state)
    locations = context.code_locations
    if locations:
        state.location = locations[0].name
        _add_checks(context, state)
        _add_automation(context, state)
    return state


def _keys() -> list[dg.AssetKey]:
    return [dg.AssetKey(list(path)) for _, path in _WORK]


def _add_runs(instance: dg.DagsterInstance, state: DagsterState) -> None:
    latest: dict[str, str] = {}
    for record in instance.get_run_records(limit=25):
        run = record.dagster_run
        status = run.status.value
        first_of_job = latest.setdefault(run.job_name, run.run_id) == run.run_id
        partition = run.tags.get("dagster/partition", "")
        if first_of_job and run.status is dg.DagsterRunStatus.FAILURE:
            state.needs.append(
                Item(f"The last run of {run.job_name} failed", f"Partition {partition}." if partition else "", run=run.run_id)
            )
        if len(state.runs) < _RUNS_SHOWN:
            at = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp
            state.runs.append({"id": run.run_id, "job": run.job_name, "status": status, "partition": partition, "at": at})


def _add_checks(context: BaseWorkspaceRequestContext, state: DagsterState) -> None:
    keys = sorted(context.asset_graph.asset_check_keys)
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
                if one.name in ("alert_on_failure", "record_commands"):  # always on; they launch no run
                    continue
                state.automation_count += 1
                if one.get_current_instigator_state(stored.get(one.selector_id)).is_running:
                    state.automation.append(one.name)
