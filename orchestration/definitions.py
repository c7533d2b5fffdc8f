"""All that Dagster schedules and shows: landing, the warehouse, the month's end."""

from __future__ import annotations

import os

import dagster as dg

from orchestration.landing import land_inbox
from orchestration.months import closed_invoices, month_export, published_invoices, stripe_agrees, stripe_mirror
from orchestration.resources import BillhouseHome
from orchestration.warehouse import build_warehouse, dbt_resource
from pipeline.home import DEFAULT_HOME, HOME_VARIABLE

land_and_build = dg.define_asset_job(
    "land_and_build",
    selection=dg.AssetSelection.assets(land_inbox, build_warehouse),
    description="Land what is in the inbox, build every model, run every check, and give analysts the new reports.",
)
month_end = dg.define_asset_job(
    "month_end",
    selection=dg.AssetSelection.assets(closed_invoices, published_invoices, month_export),
    description="Close a month, publish its invoices to Stripe, and export it.",
)
mirror_stripe = dg.define_asset_job(
    "mirror_stripe",
    selection=dg.AssetSelection.assets(stripe_mirror),
    description="Mirror Stripe, and hold our invoices against it.",
)

# One process a run: there is one writer to the warehouse anyway, and each further process costs seconds to start.
definitions = dg.Definitions(
    assets=[land_inbox, build_warehouse, closed_invoices, published_invoices, month_export, stripe_mirror],
    asset_checks=[stripe_agrees],
    jobs=[land_and_build, month_end, mirror_stripe],
    resources={"home": BillhouseHome(path=os.environ.get(HOME_VARIABLE, DEFAULT_HOME)), "dbt": dbt_resource()},
    executor=dg.in_process_executor,
)
