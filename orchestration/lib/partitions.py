"""Partitions: usage by day, invoices by month, both in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

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


def with_partition(days: Iterable[str]) -> list[str]:
    """The days that have a partition, in order: from the first billing month to the current day."""
    return sorted(day for day in set(days) if f"{_FIRST_MONTH}-01" <= day <= today())


def is_month_with_partition(month: BillingPeriod) -> bool:
    """Whether a month has a partition: it is over, and not before the first billing month."""
    return month >= _FIRST_MONTH and month.end <= datetime.now(UTC)
