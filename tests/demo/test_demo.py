"""`billhouse demo`: a whole month in an empty home, which can be repeated."""

from __future__ import annotations

import contextlib
import sqlite3
from decimal import Decimal

from pipeline.core.home import Home
from pipeline.monitoring.command_reports import waiting_reports
from tests.exports.statement_sums import statements_that_do_not_sum
from tests.support import billhouse, query


def test_the_demo_publishes_and_exports_a_month_and_a_second_run_changes_nothing(home: Home) -> None:
    ran = billhouse(home.path, "demo", "--json")
    assert ran.code == 0, ran.stderr
    first = ran.json
    assert first["received"] == first["accepted"] + first["duplicates"] + first["quarantined"] > 100_000
    invoices = query(
        home, "select status, sum(total_amount) as total from invoices where period = $1 group by all", first["period"]
    )
    totals = {row["status"]: row["total"] for row in invoices}
    assert totals["open"] > Decimal(0)  # published, and mirrored from the emulator
    assert totals.keys() == {"open", "closed"}  # those only closed are on plans that are not collected
    assert (home.exports / first["period"] / f"billhouse-{first['period']}.xlsx").exists()
    statements = query(home, "from invoices order by all")
    assert waiting_reports(home) == [], "Dagster's history has all of it"
    events = sqlite3.connect(home.path / ".dagster" / "history" / "runs" / "index.db")
    with contextlib.closing(events):
        rows = events.execute("select asset_key from asset_keys where last_materialization is not null").fetchall()
        failed = events.execute("select count(*) from asset_check_executions where execution_status <> 'SUCCEEDED'").fetchone()
    assert failed == (0,)
    materialized = {key for (key,) in rows}
    months = ('["closed_invoices"]', '["published_invoices"]', '["month_export"]', '["stripe_mirror"]', '["alert_deliveries"]')
    assert {*months, '["billing", "invoices"]', '["raw", "usage_events"]', '["ledger", "approvals"]'} <= materialized
    assert len(materialized) > 100
    assert statements_that_do_not_sum(home) == []

    again = billhouse(home.path, "demo", "--json")
    assert again.code == 0, again.stderr
    assert again.json["accepted"] == 0
    assert query(home, "from invoices order by all") == statements
