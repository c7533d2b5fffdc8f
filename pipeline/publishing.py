"""Publishes a month and shows it in the reports."""

from __future__ import annotations

from pipeline.home import Home
from pipeline.periods import BillingPeriod
from pipeline.stripe.publish import PublishResult, publish_period
from pipeline.warehouse import OnProgress, build, is_current, last_build


def publish_and_refresh(
    home: Home, period: BillingPeriod, *, dry_run: bool = False, on_progress: OnProgress | None = None
) -> PublishResult:
    """Publish the month's closed invoices, then build again so that the reports show them as published."""
    result = publish_period(home, period, dry_run=dry_run, on_progress=on_progress)
    record = last_build(home)
    if not dry_run and record is not None and not is_current(home, record.as_of):
        build(home, record.as_of, on_progress=on_progress)
    return result
