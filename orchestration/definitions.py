"""All that Dagster schedules and shows: landing, the warehouse, the month's end, Stripe, alerts."""

from __future__ import annotations

import os

import dagster as dg

from orchestration.alerts import alert_deliveries
from orchestration.automation import JOBS, SCHEDULES, SENSORS
from orchestration.landing import land_inbox, raw_events_are_what_landed
from orchestration.lib.dbt_sources import files_read_by_builds
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import closed_invoices, ledger_is_as_written, month_export, published_invoices
from orchestration.stripe import stripe_agrees, stripe_mirror
from orchestration.warehouse import build_warehouse
from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE
from pipeline.core.terminal import protect_logging

protect_logging()  # in each process that runs an asset, a schedule or a sensor

# One process a run: there is one writer to the warehouse anyway, and each further process costs seconds to start.
definitions = dg.Definitions(
    assets=[
        land_inbox,
        build_warehouse,
        closed_invoices,
        published_invoices,
        month_export,
        stripe_mirror,
        alert_deliveries,
        *files_read_by_builds(),
    ],
    asset_checks=[raw_events_are_what_landed, ledger_is_as_written, stripe_agrees],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources={"home": BillhouseHome(path=os.environ.get(HOME_VARIABLE, DEFAULT_HOME))},
    executor=dg.in_process_executor,
)
