"""Events of commands that are being recorded: made once, stored beside the reports, and recorded from there.

    <home>/.dagster/commands/<report>.<recorded>.events    the reports that it replaces, then one event a line

`recorded` is the number of events that Dagster has. The list never changes, so that the number names the same events after an
interruption; it is written every 100 events, so that up to 100 are recorded twice after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from orchestration.lib.asset_events import AssetEvent, check_key
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home

_EVENTS_BETWEEN_PROGRESS = 100


def store_events(
    home: Home,
    reports: list[Path],
    events: Iterable[AssetEvent],
    extra: Mapping[str, Any],
    blocking: Collection[dg.AssetCheckKey] = (),
) -> Path:
    """Replace reports by the file of their events, and return it.

    `extra`: metadata of each event; `blocking`: the checks that block.
    """
    lines = [dg.serialize_value(_runless(event, extra, blocking)) for event in events]
    path = home.command_reports / f"{reports[-1].stem}.0.events"
    with replace_atomically(path, scratch=home.scratch) as new:
        new.write_text("\n".join([json.dumps([report.name for report in reports]), *lines]), encoding="utf-8")
    _remove_reports(home, [report.name for report in reports])
    return path


def record_stored(instance: dg.DagsterInstance, home: Home, path: Path, ends_at: float | None = None) -> int:
    """Record the events of a file as runless ones, then remove it; returns their number.

    Stops after the event during which the monotonic clock passed `ends_at`; the next call goes on there.
    """
    replaced, *lines = path.read_text(encoding="utf-8").split("\n")
    _remove_reports(home, json.loads(replaced))  # killed between the two steps of `store_events`
    name, recorded, _ = path.name.rsplit(".", 2)
    first = int(recorded)
    for number, line in enumerate(lines[first:], start=1):
        instance.report_runless_asset_event(_with_target(instance, dg.deserialize_value(line)))
        if number == len(lines) - first:
            break
        is_over = ends_at is not None and monotonic() > ends_at
        if is_over or number % _EVENTS_BETWEEN_PROGRESS == 0:
            path = path.rename(path.with_name(f"{name}.{first + number}.events"))
        if is_over:
            return number
    path.unlink()
    return len(lines) - first


def _remove_reports(home: Home, names: list[str]) -> None:
    for name in names:
        (home.command_reports / Path(name).name).unlink(missing_ok=True)


def _runless(
    event: AssetEvent, extra: Mapping[str, Any], blocking: Collection[dg.AssetCheckKey]
) -> dg.AssetMaterialization | dg.AssetCheckEvaluation:
    if isinstance(event, dg.AssetMaterialization):
        return dg.AssetMaterialization(
            event.asset_key, partition=event.partition, metadata={**event.metadata, **extra}, description=event.description
        )
    key = check_key(event)
    return dg.AssetCheckEvaluation(
        check_name=key.name,
        passed=bool(event.passed),
        asset_key=key.asset_key,
        metadata={**event.metadata, **extra},
        severity=event.severity,
        blocking=key in blocking,
    )


def _with_target(instance: dg.DagsterInstance, event: Any) -> Any:
    """A check's result is of the latest materialization, as Dagster makes it of a result in a run."""
    if not isinstance(event, dg.AssetCheckEvaluation):
        return event
    latest = instance.fetch_materializations(event.asset_key, limit=1).records
    if not latest:
        return event
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=latest[0].storage_id, run_id=latest[0].event_log_entry.run_id, timestamp=latest[0].timestamp
    )
    return dg.AssetCheckEvaluation(
        check_name=event.check_name,
        passed=event.passed,
        asset_key=event.asset_key,
        metadata=event.metadata,
        severity=event.severity,
        target_materialization_data=target,
        blocking=event.blocking,
    )
