"""Partitions: usage by day, invoices by month, both in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings

_FIRST_MONTH = BillingPeriod.parse(Settings.load().first_billing_month)

usage_days = dg.DailyPartitionsDefinition(start_date=_FIRST_MONTH.start, timezone="UTC", end_offset=1)
"""Days of usage, including the current day."""
billing_months = dg.MonthlyPartitionsDefinition(start_date=_FIRST_MONTH.start, fmt="%Y-%m", timezone="UTC")
"""Calendar months that are over. Billing rules, section 1."""


def today() -> str:
    """The current day: the partition of a run that a schedule or sensor launches."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def selected_partitions(context: dg.AssetExecutionContext) -> list[str]:
    """The partitions that a run was launched for, in order; empty if it selects only unpartitioned assets."""
    return sorted(context.partition_keys) if context.run.is_partitioned else []


def selected_months(context: dg.AssetExecutionContext) -> list[BillingPeriod]:
    """The months that a run was launched for, in order."""
    return [BillingPeriod.parse(key) for key in selected_partitions(context)]


def report_days(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    changed_days: Iterable[str],
    metadata_of_day: Callable[[str], Mapping[str, Any]],
) -> Iterator[dg.MaterializeResult[None]]:
    """Report the materialized days of a table: those that the run was launched for, and those with newly landed rows.

    Days before the first billing month have no partition and are not reported.
    """
    selected = selected_partitions(context)
    if key in context.selected_asset_keys:
        for day in selected:
            context.add_asset_metadata(metadata_of_day(day), key, day)
        yield dg.MaterializeResult(asset_key=key)
    for day in sorted(set(changed_days) - set(selected)):
        if day >= f"{_FIRST_MONTH}-01":
            context.log_event(dg.AssetMaterialization(key, partition=day, metadata=metadata_of_day(day)))
