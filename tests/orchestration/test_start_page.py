"""The start page says what needs a person, escapes everything, and changes nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from orchestration.ui.dagster_state import DagsterState, Work
from orchestration.ui.home_state import HomeState, Item, read_home_state
from orchestration.ui.start_page import links, render_start_page
from pipeline.core.home import Home

NOW = datetime(2026, 9, 5, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J"
_TABLES = """
    create schema billing;
    create table billing.invoices as select * from (values
        ('INV-1', '2026-08', 'USD', 'closed', 'send_invoice', 12.5::decimal(18, 3)),
        ('INV-2', '2026-08', 'USD', 'closed', 'send_invoice', 1.5::decimal(18, 3)),
        ('INV-3', '2026-08', 'USD', 'closed', 'none', 7::decimal(18, 3)),
        ('INV-4', '2026-08', 'EUR', 'approved', 'send_invoice', 3::decimal(18, 3)),
        ('INV-5', '2026-09', 'USD', 'draft', 'send_invoice', 4::decimal(18, 3))
    ) as rows(invoice_id, period, currency, status, collection, total_amount);
    create table billing.quarantined_events as select * from (values
        ('missing_field', $hostile, now(), 'a.jsonl', 1), ('missing_field', 'b', now(), 'a.jsonl', 2),
        ('unreadable', 'c', now(), 'a.jsonl', 3)
    ) as rows(reason, detail, landed_at, file_name, file_row);
    create table billing.stripe_reconciliation as select 'voided in Stripe' as difference;
    create table billing.stripe_subscriptions as select true as is_current, 'no plan' as problem;
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an analysts' file of a few rows."""
    home = Home.open(tmp_path / "home")
    write_reports(home)
    return home


def write_reports(home: Home, tables: str = _TABLES) -> None:
    new = home.path / "new.duckdb"
    with duckdb.connect(str(new)) as connection:
        for statement in tables.split(";"):
            if statement.strip():
                connection.execute(statement, {"hostile": HOSTILE} if "$hostile" in statement else None)
    new.replace(home.analysts_file)


def test_what_needs_a_person_is_listed_with_numbers_and_links_and_nothing_is_written(home: Home) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in home.path.rglob("*"))
    state = read_home_state(home, NOW)
    assert sorted((path, path.stat().st_mtime_ns) for path in home.path.rglob("*")) == before
    titles = {item.title: item for item in state.needs}
    assert list(titles) == [
        "2 invoices of 2026-08 wait for approval",
        "3 rows in quarantine: not billed",
        "1 invoice differs from Stripe: voided in Stripe",
        "1 subscription in Stripe: no plan",
    ]
    approval = titles["2 invoices of 2026-08 wait for approval"]
    assert "14.00 USD" in approval.text
    ((_, address), _) = links(approval, "orchestration.definitions")
    assert address.startswith("/locations/orchestration.definitions/jobs/approve_invoices/playground/setup?config=ops%3A")
    assert "missing_field (2)" in titles["3 rows in quarantine: not billed"].text
    assert [item.title for item in state.due][-2:] == [
        "1 approved invoice of 2026-08 to publish",
        "2026-09 can be closed from 2026-10-03 00:00 UTC",
    ]
    assert {(row["status"], row["total"]) for row in state.months} >= {("approved", "3.00 EUR"), ("draft", "4.00 USD")}


def test_the_page_works_while_a_build_replaces_the_reports_and_with_reports_of_an_earlier_version(home: Home) -> None:
    write_reports(home, _TABLES.replace("'INV-2', '2026-08', 'USD', 'closed'", "'INV-2', '2026-08', 'USD', 'published'"))
    assert read_home_state(home, NOW).needs[0].title == "1 invoice of 2026-08 waits for approval"
    write_reports(home, "create schema billing")
    assert "The reports are of an earlier version." in {item.title for item in read_home_state(home, NOW).needs}
    assert read_home_state(Home.open(home.path.parent / "empty"), NOW).needs == []


def test_hostile_names_are_text(home: Home) -> None:
    state = read_home_state(home, NOW)
    state.needs.append(Item(HOSTILE, HOSTILE, run=HOSTILE, asset=("billing", HOSTILE), job=HOSTILE, command=HOSTILE))
    state.months.append({"period": HOSTILE, "status": HOSTILE, "invoices": 1, "total": HOSTILE})
    dagster = DagsterState(
        work=[Work(HOSTILE, ("a", HOSTILE), NOW, HOSTILE, HOSTILE, HOSTILE)],
        runs=[{"id": HOSTILE, "job": HOSTILE, "status": HOSTILE, "partition": HOSTILE, "at": NOW}],
        automation=[HOSTILE],
        location=HOSTILE,
    )
    page, headers = render_start_page(home, state, dagster, NOW)
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert all(address.startswith("/") and " " not in address for address in re.findall(r'href="([^"]*)"', page))


def test_a_page_without_anything_to_do_says_so(tmp_path: Path) -> None:
    page, _ = render_start_page(Home(tmp_path), HomeState(), DagsterState(), NOW)
    assert "Nothing: no approval" in page
    assert "Dagster is loading" in page
