"""The metrics agree with the reports."""

from __future__ import annotations

import os
import re
import stat
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing.record_kinds import Kind
from pipeline.landing.waiting import waiting_inbox_files
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.approvals import APPROVALS
from pipeline.warehouse.reports import invoices_without_approval
from tests.support import billhouse, copy_home, event, prepare, query, write_jsonl


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A customer on Pro with an hour of use and a row in quarantine; August closed, approved, published and mirrored back."""
    usage = [
        event("start", "2026-08-20T10:00:00Z", user="paula", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", "2026-08-20T11:00:00Z", user="paula"),
        event("start", "2026-09-01T10:00:00Z", user="paula", sandbox="next", vcpu_count=4, memory_gb=4, storage_gb=5),
        {"event_id": "bad"},
    ]
    records = {
        Kind.USAGE: usage,
        Kind.SUBSCRIPTIONS: [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-08-01T00:00:00Z"}],
    }
    build = ("build", "--as-of", "2026-09-05T00:00:00Z")
    month_end = (("close", "2026-08"), ("approve", "2026-08", "--all"), ("publish", "2026-08"), ("sync-stripe",))
    return Home(prepare(tmp_path_factory.mktemp("health") / "home", parsed_project, records, build, *month_end))


def metrics(home: Home) -> dict[str, float]:
    """The metrics as a scraper reads them, by name and label value."""
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(home.health.read_text())
        for sample in family.samples
    }


def test_every_command_that_changes_something_updates_the_metrics(built: Home) -> None:
    found = metrics(built)
    assert found["billhouse_landed_rows/accepted"] == 3
    assert found["billhouse_landed_rows/quarantined"] == 1
    assert found["billhouse_quarantined_ratio"] == 0.25
    assert found["billhouse_landed_files"] == 2
    (draft,) = query(built, "select sum(subtotal_amount) as amount from invoices where status = 'draft'")
    assert Decimal(str(found["billhouse_unbilled_amount/USD"])) == draft["amount"] > 0
    assert found["billhouse_invoices/open"] == 1
    assert found["billhouse_invoices_awaiting_approval"] == 0
    assert found["billhouse_stripe_differences"] == 0
    assert found["billhouse_stripe_drift_amount/USD"] == 0
    assert found["billhouse_as_of_timestamp_seconds"] == 1788566400
    assert found["billhouse_last_build_timestamp_seconds"] == built.analysts_file.stat().st_mtime
    assert found["billhouse_last_sync_timestamp_seconds"] > found["billhouse_as_of_timestamp_seconds"]
    assert found["billhouse_unsent_alerts"] == 0
    assert found["billhouse_draft_month_end_timestamp_seconds/2026-09"] == 1790812800  # 2026-10-01
    assert "billhouse_draft_month_end_timestamp_seconds/2026-08" not in found
    assert 0 < found["billhouse_build_seconds"] < 1500
    assert 0 < found["billhouse_disk_free_bytes"] < found["billhouse_disk_size_bytes"]


def test_the_page_of_metrics_lists_those_that_are_written(built: Home) -> None:
    page = (PROJECT_ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    of_a_home = page.split("## Of billhouse receive")[0]
    written = {family.name for family in text_string_to_metric_families(built.health.read_text())}
    assert written == set(re.findall(r"`(billhouse_\w+)`", of_a_home))


def test_only_the_owner_can_read_the_metrics(built: Home) -> None:
    assert stat.S_IMODE(built.health.stat().st_mode) == 0o600


def test_a_pending_alert_is_counted_and_the_command_prints_what_it_writes(built: Home, tmp_path: Path) -> None:
    home = copy_home(built.path, tmp_path / "home")
    raise_alert(home, OperationalAlert("publish_failed", "publish 2026-08", "No answer."), ["webhook"])
    printed = billhouse(home.path, "health")
    assert printed.code == 0
    assert printed.stdout == home.health.read_text()
    assert metrics(home)["billhouse_unsent_alerts"] == 1


def test_feeds_and_the_inbox_have_metrics(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    write_collected(home)
    waiting = home.inbox / "usage" / "2026" / "a.jsonl"
    waiting.parent.mkdir(parents=True)
    for path, at in ((waiting, 1_700_000_000), (waiting.with_name(".hidden.jsonl"), 1), (waiting.with_name("notes.txt"), 1)):
        path.write_text("{}")
        os.utime(path, (at, at))
    (home.inbox / ".landed").mkdir()
    (home.inbox / ".landed" / "b.jsonl").write_text("{}")
    assert billhouse(home.path, "health").code == 0
    found = metrics(home)
    assert found["billhouse_feed_position_timestamp_seconds/orders"] == 1_700_000_100
    assert found["billhouse_feed_files/orders"] == 12
    assert found["billhouse_inbox_files"] == 1
    assert found["billhouse_inbox_oldest_timestamp_seconds"] == 1_700_000_000


def test_a_landed_file_that_is_still_in_the_inbox_does_not_wait_and_a_file_in_no_folder_does(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    folder = home.inbox / "usage"
    folder.mkdir(parents=True)
    landed = write_jsonl(folder / "a.jsonl", [event("start", "2026-08-20T10:00:00Z")])
    assert billhouse(home.path, "land", landed).code == 0
    assert metrics(home)["billhouse_inbox_files"] == 0
    (home.inbox / "stray.jsonl").write_text("{}")
    (home.inbox / "unknown").mkdir()
    (home.inbox / "unknown" / "b.jsonl").write_text("{}")
    landed.write_text(landed.read_text().replace("10:00", "11:00"))
    assert billhouse(home.path, "health").code == 0
    assert metrics(home)["billhouse_inbox_files"] == 3
    assert [file.path.name for file in waiting_inbox_files(home)] == ["stray.jsonl", "b.jsonl", "a.jsonl"]


def test_invoices_that_a_publication_approves_wait_for_no_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(tmp_path / "home")
    row = {"invoice_id": "INV-2", "period": "2026-08", "is_approved": False, "decided_by": "ann", "decided_at": datetime.now(UTC)}
    APPROVALS.path(home).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row], schema=APPROVALS.schema), APPROVALS.path(home) / "1.parquet")
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "10"}')
    with duckdb.connect() as reports:
        reports.execute("""
            create table invoices as select * from (values
                ('INV-1', '2026-08', 'USD', 'closed', 'send_invoice', 9.99::decimal(18, 3)),
                ('INV-2', '2026-08', 'USD', 'closed', 'send_invoice', 1::decimal(18, 3)),
                ('INV-3', '2026-08', 'USD', 'closed', 'none', 20::decimal(18, 3)),
                ('INV-4', '2026-08', 'USD', 'approved', 'send_invoice', 20::decimal(18, 3)),
                ('INV-5', '2026-08', 'USD', 'closed', 'send_invoice', 10::decimal(18, 3))
            ) as rows(invoice_id, period, currency, status, collection, total_amount)""")
        found = {invoice.invoice_id: invoice.is_automatic for invoice in invoices_without_approval(home, reports)}
    assert found == {"INV-1": True, "INV-2": False, "INV-5": False}, "a decision that a person took is not changed by a rule"


def write_collected(home: Home) -> None:
    """The position of a feed, and a record that cannot be read."""
    home.collecting.mkdir()
    (home.collecting / "orders.json").write_text('{"files": 12, "position": "x", "of": "y"}')
    os.utime(home.collecting / "orders.json", (1_700_000_100, 1_700_000_100))
    (home.collecting / "broken.json").write_text("{")


def test_an_empty_home_has_metrics(tmp_path: Path) -> None:
    assert billhouse(tmp_path, "health").code == 0
    assert metrics(Home(tmp_path))["billhouse_unsent_alerts"] == 0
