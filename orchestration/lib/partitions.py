"""How time is cut: usage by day, invoices by month, both in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings

_FIRST_MONTH = BillingPeriod.parse(Settings.load().first_billing_month)

usage_days = dg.DailyPartitionsDefinition(start_date=_FIRST_MONTH.start, timezone="UTC", end_offset=1)
"""Days of usage, the one that is running included."""
billing_months = dg.MonthlyPartitionsDefinition(start_date=_FIRST_MONTH.start, fmt="%Y-%m", timezone="UTC")
"""Calendar months, each there once it is over. Billing rules, section 1."""


def today() -> str:
    """The day that is running: the partition of a run that is launched for whatever is new."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def asked_partitions(context: dg.AssetExecutionContext) -> list[str]:
    """The partitions that a run was launched for, in order of time; none where only tables that are not cut were chosen."""
    return sorted(context.partition_keys) if context.run.is_partitioned else []


def asked_months(context: dg.AssetExecutionContext) -> list[BillingPeriod]:
    """The months that a run was launched for, in order of time."""
    return [BillingPeriod.parse(key) for key in asked_partitions(context)]


def report_days(
    context: dg.AssetExecutionContext, key: dg.AssetKey, touched: Iterable[str], facts: Callable[[str], Mapping[str, Any]]
) -> Iterator[dg.MaterializeResult[None]]:
    """Say that days of a table were made: those that the run was launched for, and those that something landed for.

    `facts` tells what to say of a day. Days before the first month are there all the same, and have no partition to show.
    """
    asked = asked_partitions(context)
    if key in context.selected_asset_keys:
        for day in asked:
            context.add_asset_metadata(facts(day), key, day)
        yield dg.MaterializeResult(asset_key=key)
    for day in sorted(set(touched) - set(asked)):
        if day >= f"{_FIRST_MONTH}-01":
            context.log_event(dg.AssetMaterialization(key, partition=day, metadata=facts(day)))
