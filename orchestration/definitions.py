"""The definitions that Dagster loads, collected from the domains."""

from __future__ import annotations

import os

import dagster as dg

from orchestration import alerts, approvals, closing_check, commands, feeds, landing, month_end, rebuild, stripe, warehouse
from orchestration.lib.resources import BillhouseHome
from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE
from pipeline.core.terminal import protect_logging

protect_logging()  # in each process that runs an asset, a schedule or a sensor

definitions = dg.Definitions.merge(
    *(
        domain.domain_definitions()
        for domain in (feeds, landing, warehouse, month_end, closing_check, approvals, rebuild, stripe, alerts, commands)
    ),
    dg.Definitions(
        resources={"home": BillhouseHome(path=os.environ.get(HOME_VARIABLE, DEFAULT_HOME))},
        # One process per run: the warehouse has one writer, and each further process takes seconds to start.
        executor=dg.in_process_executor,
    ),
)
