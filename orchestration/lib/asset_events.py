"""Materializations and check results of some work, made in one place and recorded in one of two ways: in a run, or without one.

Work of the command line has no run; its events are recorded as runless events, with the same names, partitions and metadata
(`orchestration.lib.command_events`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import dagster as dg

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


def check_key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    """The key of a result, which names its asset and its check."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)
