"""What a newcomer calls first works in an empty home, and again."""

from __future__ import annotations

from decimal import Decimal

from pipeline.core.home import Home
from tests.support import billhouse, query


def test_the_demo_goes_from_raw_events_to_published_invoices_and_an_export_and_repeats_without_a_change(home: Home) -> None:
    shown = billhouse(home.path, "demo", "--json")
    assert shown.code == 0, shown.stderr
    first = shown.json
    assert first["received"] == first["accepted"] + first["duplicates"] + first["quarantined"] > 100_000
    invoices = query(
        home, "select status, sum(total_amount) as total from invoices where period = $1 group by all", first["period"]
    )
    totals = {row["status"]: row["total"] for row in invoices}
    assert totals["published"] > Decimal(0)
    assert totals.keys() == {"published", "closed"}  # those that wait for nobody are on plans that collect nothing
    assert (home.exports / first["period"] / f"billhouse-{first['period']}.xlsx").exists()
    statements = query(home, "from invoices order by all")

    again = billhouse(home.path, "demo", "--json")
    assert again.code == 0, again.stderr
    assert again.json["accepted"] == 0
    assert query(home, "from invoices order by all") == statements
