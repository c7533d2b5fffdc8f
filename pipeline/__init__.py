"""Everything outside the models: landing files, running dbt, closing months, Stripe, exports. For analysts: `read`.

Packages in the order of their imports: core, store, pricebook, landing, feeds, warehouse, ledger, then stripe, exports,
alerts and monitoring beside one another, then demo and cli. stripe_emulator is imported only by what starts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from pipeline.core.home import Home
    from pipeline.core.periods import BillingPeriod

__all__ = ["read"]


def read(
    table: str, *, period: str | BillingPeriod | None = None, home: str | Path | Home | None = None, **filters: object
) -> pd.DataFrame:
    """The rows of a report table as of the last build, as a DataFrame with exact types.

        import pipeline

        invoices = pipeline.read("invoices", period="2026-09")
        sessions = pipeline.read("sessions", customer_id="acme-robotics", plan_id=["pro", "enterprise"])

    `period`: a month, 'YYYY-MM'. `filters`: a value, or a list of values, for each column. `home`: default $BILLHOUSE_HOME, else
    ./var. Decimals are Arrow decimals, never floats; instants are timestamps in UTC. Raises BillhouseError where nothing was
    built yet, and for an unknown table or column; its message lists the existing ones.
    """
    from pipeline.warehouse.dataframes import read_report  # pandas and DuckDB are imported by what needs them

    return read_report(table, period=period, home=home, **filters)
