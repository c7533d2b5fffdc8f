"""Materializations and check results of some work, made in one place and recorded in one of two ways: in a run, or without one.

Work of the command line has no run; its events are recorded as runless events, with the same names, partitions and metadata.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, TypeAlias

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from orchestration.lib.partitions import selected_partitions

AssetEvent: TypeAlias = dg.AssetMaterialization | dg.AssetCheckResult
"""Materializations of one asset follow each other, and come before the results of its checks."""


def materialized(key: dg.AssetKey, metadata: Mapping[str, Any], partition: str | None = None) -> dg.AssetMaterialization:
    """The materialization of an asset, or of one partition of it."""
    return dg.AssetMaterialization(key, metadata=metadata, partition=partition)


def in_run(
    context: dg.AssetExecutionContext, events: Iterable[AssetEvent]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The events of the assets and checks that a run selects, for a multi-asset to yield.

    Partitions that the run was not launched for, as days with newly landed rows, are recorded as further materializations.
    """
    selected = set(selected_partitions(context))
    waiting: dg.AssetKey | None = None
    for event in events:
        if waiting is not None and event.asset_key != waiting:
            yield dg.MaterializeResult(asset_key=waiting)
            waiting = None
        if isinstance(event, dg.AssetCheckResult):
            if check_key(event) in context.selected_asset_check_keys:
                yield event
        elif event.partition is not None and event.partition not in selected:
            context.log_event(event)
        elif event.asset_key in context.selected_asset_keys:
            if event.partition is None:
                yield dg.MaterializeResult(asset_key=event.asset_key, metadata=event.metadata)
            else:
                context.add_asset_metadata(event.metadata, event.asset_key, event.partition)
                waiting = event.asset_key
    if waiting is not None:
        yield dg.MaterializeResult(asset_key=waiting)


def record_without_run(
    instance: dg.DagsterInstance,
    events: Iterable[AssetEvent],
    extra: Mapping[str, Any],
    blocking: Collection[dg.AssetCheckKey] = (),
    ends_at: float | None = None,
) -> int:
    """Record events as runless ones; returns their number. `extra`: metadata of each; `blocking`: the checks that block.

    Stops after the event during which the monotonic clock passed `ends_at`.
    """
    number = 0
    for event in events:
        if isinstance(event, dg.AssetMaterialization):
            found = dg.AssetMaterialization(
                event.asset_key, partition=event.partition, metadata={**event.metadata, **extra}, description=event.description
            )
            instance.report_runless_asset_event(found)
        else:
            instance.report_runless_asset_event(_evaluation(instance, event, extra, check_key(event) in blocking))
        number += 1
        if ends_at is not None and monotonic() > ends_at:
            break
    return number


def check_key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    """The key of a result, which names its asset and its check."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)


def _evaluation(
    instance: dg.DagsterInstance, result: dg.AssetCheckResult, extra: Mapping[str, Any], is_blocking: bool
) -> dg.AssetCheckEvaluation:
    """As Dagster makes it of a result in a run: of the latest materialization."""
    key = check_key(result)
    latest = instance.fetch_materializations(key.asset_key, limit=1).records
    target = None
    if latest:
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=latest[0].storage_id, run_id=latest[0].event_log_entry.run_id, timestamp=latest[0].timestamp
        )
    return dg.AssetCheckEvaluation(
        check_name=key.name,
        passed=bool(result.passed),
        asset_key=key.asset_key,
        metadata={**result.metadata, **extra},
        severity=result.severity,
        target_materialization_data=target,
        blocking=is_blocking,
    )
