"""How time is cut."""

from __future__ import annotations

import os

import dagster as dg

from pipeline.periods import BillingPeriod

FIRST_MONTH_VARIABLE = "BILLHOUSE_FIRST_MONTH"
_FIRST_MONTH = BillingPeriod.parse(os.environ.get(FIRST_MONTH_VARIABLE, "2026-01"))

billing_months = dg.MonthlyPartitionsDefinition(start_date=_FIRST_MONTH.start, fmt="%Y-%m", timezone="UTC")
"""Calendar months in UTC, each there once it is over. Billing rules, section 1."""
