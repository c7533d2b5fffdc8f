"""Real usage with known charges: jobs of a computing grid, calculated in Python decimals independently of this project.

tests/data/README.md describes the sample. BILLHOUSE_GRID_DATA names a folder with the whole log in the same files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from tests.support import Outcome, query

DATA = Path(os.environ.get("BILLHOUSE_GRID_DATA", PROJECT_ROOT / "tests" / "data" / "lcg-2005"))
EVENTS = 25_504 if "BILLHOUSE_GRID_DATA" not in os.environ else 376_082
FILES = ["usage-2005-11-20-to-24.jsonl.gz", "usage-2005-11-25-to-30.csv.gz", "usage-2005-12.parquet"]

ORDERS = [
    pytest.param([["2"], ["1"], ["0"]], "closed", id="one call per file, in reverse order"),
    pytest.param([["1", "0", "2", "1", "0"]], "draft", id="one call, two files repeated"),
]


@pytest.mark.parametrize(("calls", "status"), ORDERS)
def test_every_customer_of_the_grid_is_billed_to_the_cent(
    calls: list[list[str]], status: str, home: Home, run: Callable[..., Outcome]
) -> None:
    expected = json.loads((DATA / "expected.json").read_text())
    landed = [run("land", "--json", *(DATA / FILES[int(index)] for index in call)).json for call in calls]
    assert sum(summary["accepted"] for summary in landed) == EVENTS
    assert sum(summary["quarantined"] for summary in landed) == 0
    assert run("build", "--as-of", "2006-01-01T00:00:00Z").code == 0
    for period in sorted(expected) if status == "closed" else ():
        assert run("close", period).code == 0
    for period, month in expected.items():
        invoices = {row["customer_id"]: row for row in query(home, "from invoices where period = ?", period)}
        lines = query(home, "from invoice_lines where period = ?", period)
        by_meter = {(line["customer_id"], line["meter_id"]): line for line in lines}
        assert invoices.keys() == month["by_customer"].keys()
        for customer, expected_values in month["by_customer"].items():
            invoice = invoices[customer]
            assert invoice["status"] == status
            assert invoice["subtotal_amount"] == Decimal(expected_values["subtotal"])
            assert invoice["credits_applied_amount"] == Decimal(expected_values["credits_applied"])
            assert invoice["total_amount"] == Decimal(expected_values["total"])
            for meter, quantity in (("vcpu", "vcpu"), ("memory", "memory_gb"), ("storage", "storage_gb")):
                line = by_meter[customer, meter]
                assert line["quantity"] == Decimal(expected_values[f"{quantity}_seconds"])
                assert line["amount"] == Decimal(expected_values[f"{meter}_amount"])
            assert by_meter[customer, "storage"]["billable_quantity"] == Decimal(
                expected_values["storage_gb_seconds_over_allowance"]
            )


def test_the_order_of_landing_does_not_change_the_reports(make_home: Callable[[str], Home], tmp_path: Path) -> None:
    """Three files in three formats, landed in three orders, give identical bytes in every report with money."""
    from tests.support import billhouse

    files = _slice(tmp_path)
    seen = set()
    for number, order in enumerate([files, [*files[1:], files[0]], [files[2], *files[:2]]]):
        home = make_home(f"order-{number}")
        assert billhouse(home.path, "land", *order).code == 0
        assert billhouse(home.path, "build", "--as-of", "2006-01-01").code == 0
        marts = [
            home.marts / "invoices.parquet",
            home.marts / "invoice_lines.parquet",
            *sorted((home.marts / "sessions").iterdir()),
        ]
        seen.add(tuple((path.name, path.read_bytes()) for path in marts))
        totals = query(home, "select period, sum(subtotal_amount) as subtotal from invoices group by 1 order by 1")
        # By hand, for each of two users in November: 20 jobs x 3,600 s x 1 vCPU x 0.000014 = 1.008 and 0.5 GB x 72,000 s x
        # 0.0000045 = 0.162, rounded to 1.01 + 0.16. In December 5,400 s: 0.0756 and 0.01215, rounded to 0.08 + 0.01.
        assert totals == [
            {"period": "2005-11", "subtotal": Decimal("2.340")},
            {"period": "2005-12", "subtotal": Decimal("0.090")},
        ]
    assert len(seen) == 1


def _slice(folder: Path) -> list[Path]:
    """40 one-hour jobs of two users in November and one in December; as JSON lines, CSV and Parquet."""
    import duckdb

    path = folder / "slice"
    path.mkdir()
    connection = duckdb.connect()
    connection.execute("""
        create table jobs as
        select
            'job-' || job as sandbox_id,
            'user-' || (job % 2) as user_id,
            case when job = 0 then timestamp '2005-11-30 23:00:00' else timestamp '2005-11-20' + to_hours(job) end as starts_at,
            3600 as seconds
        from range(40) as numbers(job)
        union all
        select 'late-job', 'user-1', timestamp '2005-12-01', 5400
    """)
    connection.execute("""
        create table events as
        select sandbox_id || '-start' as event_id, sandbox_id, user_id, starts_at as happened_at, 'SandboxStarted' as event_type
        from jobs
        union all
        select sandbox_id || '-stop', sandbox_id, user_id, starts_at + to_seconds(seconds), 'SandboxStopped' from jobs
    """)
    fields = "event_id, sandbox_id, user_id, strftime(happened_at, '%Y-%m-%dT%H:%M:%SZ') as timestamp, event_type"
    part = "from events where hash(event_id) % 3 = "
    connection.execute(
        f"copy (select {fields}, {{'vcpu_count': 1, 'memory_gb': 0.5, 'storage_gb': 1}} as resources {part} 0)"
        f" to '{path}/a.jsonl' (format json)"
    )
    connection.execute(
        f"copy (select {fields}, 1 as vcpu_count, 0.5 as memory_gb, 1 as storage_gb {part} 1) to '{path}/b.csv' (header)"
    )
    connection.execute(
        f"copy (select {fields}, 1::integer as vcpu_count, 0.5::double as memory_gb, 1::decimal(9, 2) as storage_gb {part} 2)"
        f" to '{path}/c.parquet' (format parquet)"
    )
    return [path / "a.jsonl", path / "b.csv", path / "c.parquet"]
