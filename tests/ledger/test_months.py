"""Building, closing and what comes late: the life of a month, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.close import close_period
from pipeline.ledger.verify import verify_ledger
from tests.support import Outcome, billhouse, copy_home, event, prepare, query, write_jsonl

Run = Callable[..., Outcome]
SEPTEMBER = BillingPeriod(2026, 9)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A pro customer from mid-September with an hour of 4 vCPU and 4 GB; a hobby customer with an hour of the default sandbox."""
    usage = [
        event("start", "2026-09-20T10:00:00Z", user="paula", sandbox="p", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", "2026-09-20T11:00:00Z", user="paula", sandbox="p"),
        event("start", "2026-09-20T10:00:00Z", user="hal", sandbox="h"),
        event("stop", "2026-09-20T11:00:00Z", user="hal", sandbox="h"),
    ]
    plans = [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-09-16T00:00:00Z"}]
    records = {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans}
    return prepare(
        tmp_path_factory.mktemp("months") / "home", parsed_project, records, ("build", "--as-of", "2026-10-05T00:00:00Z")
    )


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    """A copy of that home, landed and built."""
    return copy_home(built, tmp_path / "home")


@pytest.fixture(scope="module")
def september_closed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That home after the close of September."""
    home = copy_home(built, tmp_path_factory.mktemp("closed") / "home")
    closed = billhouse(home.path, "close", "2026-09", "--json")
    assert (closed.code, closed.json["already_closed"]) == (0, False)
    return home.path


@pytest.fixture
def closed(september_closed: Path, tmp_path: Path) -> Home:
    """A copy of the home after the close of September."""
    return copy_home(september_closed, tmp_path / "closed")


def lines(home: Home, period: str) -> dict[tuple[str, str, str | None], Decimal]:
    rows = query(home, "select customer_id, line_type, meter_id, amount from invoice_lines where period = ?", period)
    return {(row["customer_id"], row["line_type"], row["meter_id"]): row["amount"] for row in rows}


def test_the_rules_two_worked_examples_of_an_hour(home: Home) -> None:
    amounts = {row["sandbox_id"]: row["list_amount"] for row in query(home, "from sessions")}
    assert amounts == {"h": Decimal("0.1089"), "p": Decimal("0.2664")}


def test_half_a_month_of_pro_costs_half_the_fee(home: Home) -> None:
    assert lines(home, "2026-09") == {
        ("paula", "fee", None): Decimal("75.00"),
        ("paula", "usage", "vcpu"): Decimal("0.20"),
        ("paula", "usage", "memory"): Decimal("0.06"),
        ("paula", "usage", "storage"): Decimal("0.00"),
        ("hal", "usage", "vcpu"): Decimal("0.10"),
        ("hal", "usage", "memory"): Decimal("0.01"),
        ("hal", "usage", "storage"): Decimal("0.00"),
    }


def test_signup_credit_pays_for_usage_and_not_for_the_fee(home: Home) -> None:
    rows = query(home, "select customer_id, total_amount from invoices where period = '2026-09' order by 1")
    assert [(row["customer_id"], row["total_amount"]) for row in rows] == [
        ("hal", Decimal("0.00")),
        ("paula", Decimal("75.00")),
    ]


def test_the_running_month_has_a_draft_with_the_fee_of_the_whole_month(home: Home) -> None:
    assert lines(home, "2026-10") == {("paula", "fee", None): Decimal("150.00")}


def test_building_twice_gives_the_same_bytes_and_so_does_building_without_the_warehouse(home: Home, run: Run) -> None:
    def marts() -> dict[str, bytes]:
        files = sorted(home.marts.rglob("*.parquet"))
        return {str(path.relative_to(home.marts)): path.read_bytes() for path in files}

    first = marts()
    assert {"invoices.parquet", "invoice_lines.parquet"} <= first.keys()
    assert run("build", "--as-of", "2026-10-05T00:00:00Z").code == 0
    assert marts() == first
    home.warehouse.unlink()
    assert run("build", "--as-of", "2026-10-05T00:00:00Z").code == 0
    assert marts() == first


def test_a_reader_of_the_old_reports_keeps_reading_while_new_ones_are_built(home: Home, run: Run) -> None:
    with duckdb.connect(str(home.analysts_file), read_only=True) as reader:
        assert run("build", "--as-of", "2026-09-25T00:00:00Z").code == 0
        assert reader.execute("select count(*) from billing.invoices where period = '2026-10'").fetchall() == [(1,)]
    assert query(home, "from invoices where period = '2026-10'") == []


def test_every_column_that_analysts_read_is_described(home: Home) -> None:
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        undescribed = reports.execute(
            "select table_name, column_name from duckdb_columns() where schema_name = 'billing' and comment is null"
        ).fetchall()
        tables = reports.execute("select table_name from duckdb_tables() where comment is null").fetchall()
    assert (undescribed, tables) == ([], [])


def test_a_closed_month_never_changes_and_late_usage_is_on_the_next_invoice(closed: Home, tmp_path: Path) -> None:
    frozen = lines(closed, "2026-09")
    late = [
        event("start", "2026-09-21T10:00:00Z", user="hal", sandbox="late", vcpu_count=100, memory_gb=0, storage_gb=0),
        event("stop", "2026-09-21T11:00:00Z", user="hal", sandbox="late"),
    ]
    assert billhouse(closed.path, "land", write_jsonl(tmp_path / "late.jsonl", late)).code == 0
    assert billhouse(closed.path, "build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    assert lines(closed, "2026-09") == frozen
    (correction,) = query(closed, "from invoice_lines where is_adjustment and amount <> 0")
    # Due now for September: 2 + 100 vCPU for an hour = 367,200 x 0.000014 = 5.1408, of which 0.10 was billed.
    assert (correction["period"], correction["service_period"]) == ("2026-10", "2026-09")
    assert (correction["quantity"], correction["amount"]) == (Decimal(360_000), Decimal("5.04"))


def test_a_close_that_is_repeated_changes_nothing(closed: Home) -> None:
    before = {path: path.read_bytes() for path in closed.closes.rglob("*.parquet")}
    again = billhouse(closed.path, "close", "2026-09", "--json")
    assert (again.code, again.json["already_closed"]) == (0, True)
    assert {path: path.read_bytes() for path in closed.closes.rglob("*.parquet")} == before


def test_a_close_before_the_grace_is_over_refuses_without_force(home: Home) -> None:
    soon = SEPTEMBER.end + timedelta(hours=47)
    with pytest.raises(BillhouseError, match="late events have until then"):
        close_period(home, SEPTEMBER, now=soon)
    assert not (home.closes / "2026-09").exists()
    assert close_period(home, SEPTEMBER, now=soon, force=True).invoices == 2


def test_a_close_of_a_month_that_is_not_over_refuses_without_force(closed: Home) -> None:
    refused = billhouse(closed.path, "close", "2026-10")
    assert refused.code == 1
    assert "was not over" in refused.stderr
    assert "--force" in refused.stderr


def test_months_close_in_order(home: Home, run: Run) -> None:
    assert run("build", "--as-of", "2026-11-05T00:00:00Z").code == 0
    refused = run("close", "2026-10")
    assert (refused.code, "billhouse close 2026-09" in refused.stderr) == (1, True)


@pytest.mark.parametrize(("step", "is_closed"), [("append_line", False), ("_place_all", True)])
def test_a_close_that_is_killed_leaves_no_month_or_a_whole_one_and_can_be_repeated(
    step: str, is_closed: bool, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its line in the manifest there is nothing; after it the next call puts the month into its place."""
    now = datetime(2026, 11, 1, tzinfo=UTC)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"pipeline.store.append.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            close_period(home, SEPTEMBER, now=now)
    assert not (home.closes / "2026-09").exists()
    assert close_period(home, SEPTEMBER, now=now).already_closed is is_closed
    assert (home.closes / "2026-09" / "close.parquet").exists()
    assert verify_ledger(home).problems == []


def test_events_after_as_of_are_ignored_whenever_they_landed(home: Home, run: Run) -> None:
    assert run("build", "--as-of", "2026-09-20T10:30:00Z").code == 0
    sessions = query(home, "select sandbox_id, end_reason, list_amount from sessions order by 1")
    assert sessions == [
        {"sandbox_id": "h", "end_reason": "open", "list_amount": Decimal("0.05445")},
        {"sandbox_id": "p", "end_reason": "open", "list_amount": Decimal("0.1332")},
    ]
