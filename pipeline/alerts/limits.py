"""Alerts of customers' limits, as the last build found them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb

from pipeline.core.home import Home
from pipeline.core.money import format_amount, format_money
from pipeline.core.sql import rows_as_dictionaries
from pipeline.store.alert_log import ALERTS, alerts_query, append_rows

_MONEY_LIMITS = ("monthly_spend", "credit")
"""Limits whose unit is a currency."""


def raise_limit_alerts(home: Home, channels: Sequence[str], max_age: timedelta, now: datetime) -> int:
    """Record the limit alerts that the last build found and that are not recorded yet; return their number.

    Alerts reached longer ago than `max_age` are recorded as suppressed, so that loading a year of history sends no flood.
    """
    found = new_limit_alerts(home)
    rows = []
    for alert in found:
        customer, percent, limit, period = (alert[name] for name in ("customer_id", "threshold_percent", "limit_kind", "period"))
        observed, allowed, unit = alert["observed"], alert["allowed"], alert["unit"]
        reached = (
            f"{format_amount(observed, unit)} of {format_money(allowed, unit)}"
            if limit in _MONEY_LIMITS
            else f"{observed.normalize():f} of {allowed.normalize():f} {unit}"
        )
        text = f"{customer} reached {percent} % of its limit {limit} in {period}: {reached}."
        columns = {
            "alert_id": alert["alert_id"],
            "kind": "limit",
            "customer_id": customer,
            "subject": f"{customer}: {percent} % of {limit} in {period}",
            "text": text,
            "reached_at": alert["reached_at"],
            "raised_at": now,
            "is_suppressed": alert["reached_at"] < now - max_age,
        }
        rows += [{"channel": channel, **columns} for channel in (channels or ("",))]
    append_rows(home, ALERTS, rows)
    return len(found)


def new_limit_alerts(home: Home) -> list[dict[str, Any]]:
    """The limit alerts that the last build found and that are not recorded yet, oldest first."""
    if not home.analysts_file.exists():
        return []
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        reports.execute("set TimeZone = 'UTC'")
        result = reports.execute(
            f"""
            select alert_id, customer_id, limit_kind, period, threshold_percent, observed, allowed, unit, reached_at
            from billing.usage_alerts
            where alert_id not in (select alert_id from {alerts_query(home)})
            order by reached_at, alert_id"""
        )
        return rows_as_dictionaries(result)
