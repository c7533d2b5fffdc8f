"""The text of an invoice line: quantities in hours or millions, with separators; exact where they are small."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.store.closes import close_folder
from tests.support import billhouse, copy_home, event, prepare, query

AS_OF = "2026-10-05T00:00:00Z"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """Large and small quantities in September, and a customer with a closed line of August."""
    usage = [
        event("start", "2026-09-10T10:00:00Z", user="large", sandbox="large", vcpu_count=100000, tokens=45678),
        event("update", "2026-09-10T10:01:00Z", user="large", sandbox="large", tokens=12345678),
        event("stop", "2026-09-10T20:15:00Z", user="large", sandbox="large"),
        event("start", "2026-09-10T10:00:00Z", user="small", sandbox="small", vcpu_count=2, tokens=45678),
        event("stop", "2026-09-10T10:05:00.5Z", user="small", sandbox="small"),
        event("start", "2026-08-10T10:00:00Z", vcpu_count=2),
        event("stop", "2026-08-10T11:00:00Z"),
        event("start", "2026-09-10T10:00:00Z", sandbox="next", vcpu_count=2),
        event("stop", "2026-09-10T11:00:00Z", sandbox="next"),
    ]
    plans = [{"customer_id": "large", "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"}]
    records = {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans}
    commands = (("build", "--as-of", AS_OF), ("close", "2026-08"))
    return Home(prepare(tmp_path_factory.mktemp("lines") / "home", parsed_project, records, *commands))


def test_a_line_reads_in_hours_and_millions_and_names_the_unit_of_its_price(closed: Home) -> None:
    lines = query(closed, "from invoice_lines where period = '2026-09'")
    texts = {(line["customer_id"], line["meter_id"] or line["line_type"]): line["description"] for line in lines}
    assert texts["large", "vcpu"] == "vCPU on Pro, 1,025,000.0 vCPU-hours at 0.000014 USD per vCPU-second"
    assert texts["small", "vcpu"] == "vCPU on Hobby, 601 vCPU-seconds at 0.000014 USD per vCPU-second"
    assert texts["large", "tokens"] == "Tokens on Pro, 12.4 M tokens at 2 USD for each 1,000,000 tokens"
    assert texts["small", "tokens"] == "Tokens on Hobby, 45,678 tokens at 2 USD for each 1,000,000 tokens"
    assert texts["large", "fee"] == "Pro fee, 150 USD a month, for 30 days"
    exact = {(line["customer_id"], line["meter_id"]): line["quantity"] for line in lines}
    assert (exact["large", "vcpu"], exact["large", "tokens"]) == (3690000000, 12391356)


def test_a_closed_line_with_the_text_of_an_earlier_release_is_not_adjusted(closed: Home, tmp_path: Path) -> None:
    home = copy_home(closed.path, tmp_path / "home")
    path = close_folder(home, BillingPeriod(2026, 8)) / "invoice_lines.parquet"
    path.chmod(0o600)
    table = pq.read_table(path)
    earlier = "vCPU on Hobby, 7200 vCPU-seconds at 0.000014 USD"
    texts = pa.array([earlier] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index("description"), "description", texts), path)
    assert billhouse(home.path, "build", "--from-scratch", "--as-of", AS_OF).code == 0
    billed = query(home, "from invoice_lines where period = '2026-08'")
    assert {line["description"] for line in billed} == {earlier}
    assert query(home, "from invoice_lines where customer_id = 'ada' and period = '2026-09' and not is_adjustment") != []
    assert query(home, "from invoice_lines where is_adjustment") == []
