"""Closing and verifying: a month is closed once and whole, and every later change of the ledger is reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.price_check import check_prices
from pipeline.ledger.verify import verify_ledger
from pipeline.pricebook.edits import edited_prices
from pipeline.store.alert_log import alert_states
from pipeline.store.closes import PRICE_BOOK, close_folder, closed_periods
from pipeline.store.manifest import manifest_head
from tests.support import Outcome, billhouse, copy_home, event, query, write_jsonl

AUGUST, SEPTEMBER = BillingPeriod(2026, 8), BillingPeriod(2026, 9)


@pytest.fixture
def home(two_months: Path, tmp_path: Path) -> Home:
    """A copy of that home."""
    return copy_home(two_months, tmp_path / "home")


@pytest.fixture(scope="module")
def closed_months(two_months: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That home with September closed, too."""
    home = copy_home(two_months, tmp_path_factory.mktemp("closed") / "home")
    assert billhouse(home.path, "close", "2026-09").code == 0
    return home.path


@pytest.fixture
def closed(closed_months: Path, tmp_path: Path) -> Home:
    """A copy of the home with both months closed."""
    return copy_home(closed_months, tmp_path / "closed")


@pytest.fixture
def run(home: Home) -> Callable[..., Outcome]:
    return lambda *words: billhouse(home.path, *words)


def late_hour(folder: Path, vcpu_count: int) -> Path:
    """An hour in August of customer-0, whose August was billed at about 0.06."""
    rows = [
        event("start", "2026-08-20T10:00:00Z", user="customer-0", sandbox="late", vcpu_count=vcpu_count),
        event("stop", "2026-08-20T11:00:00Z", user="customer-0", sandbox="late"),
    ]
    return write_jsonl(folder / "late.jsonl", rows)


def test_a_close_with_a_large_adjustment_stops_and_names_the_customer(
    home: Home, run: Callable[..., Outcome], tmp_path: Path
) -> None:
    run("land", late_hour(tmp_path, 100))
    run("build", "--as-of", "2026-10-05T00:00:00Z")
    refused = run("close", "2026-09")
    assert refused.code == 1
    assert "customer-0, 2026-08: billed" in refused.stderr
    assert closed_periods(home) == [AUGUST]
    assert run("close", "2026-09", "--accept-adjustments").code == 0
    (line,) = query(home, "from invoice_lines where is_adjustment and meter_id = 'vcpu'")
    assert (line["period"], line["service_period"], line["amount"]) == ("2026-09", "2026-08", Decimal("5.04"))


def test_verify_finds_no_problem_in_an_unchanged_ledger(closed: Home) -> None:
    verified = billhouse(closed.path, "verify", "--json")
    assert verified.code == 0
    head = manifest_head(closed)
    assert verified.json == {"periods": ["2026-08", "2026-09"], "invoices": 40, "head": head, "is_sound": True, "problems": []}


def edited(path: Path, change: str) -> None:
    """Rewrite a Parquet file of the ledger with some of its columns replaced."""
    aside = path.with_suffix(".edited")
    with duckdb.connect() as connection:
        connection.execute(f"copy (select * replace ({change}) from '{path}') to '{aside}' (format parquet)")
    os.replace(aside, path)


@pytest.mark.parametrize(
    ("table", "change", "problem"),
    [
        ("invoice_lines", "amount + 1 as amount", "differs from the sum of its lines"),
        ("invoice_lines", "'other' as description", "was changed after the close"),
        ("invoices", "total_amount + 1 as total_amount", "has a total that differs from the sum of its parts"),
        ("credit_applications", "amount * 2 as amount", "has credits applied that differ from the sum of its applications"),
        ("close", "'2020-01-01'::timestamptz as as_of", "was changed after the close"),
    ],
)
def test_verify_reports_an_edited_table(table: str, change: str, problem: str, home: Home, run: Callable[..., Outcome]) -> None:
    edited(close_folder(home, AUGUST) / f"{table}.parquet", change)
    verified = run("verify")
    assert verified.code == 1
    assert problem in verified.stdout
    assert "2026-08" in verified.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("publish", "2026-08"),
        ("publish", "2026-08", "--dry-run"),
        ("export", "2026-08"),
        ("close", "2026-09"),
        ("credit-note", "INVOICE"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_changed_ledger_is_not_published_exported_credited_or_closed_upon(
    command: tuple[str, ...], home: Home, run: Callable[..., Outcome]
) -> None:
    (invoice, *_) = query(home, "from invoices where status = 'closed' order by invoice_id")
    edited(close_folder(home, AUGUST) / "invoices.parquet", "total_amount + 1000 as total_amount")
    refused = run(*(invoice["invoice_id"] if word == "INVOICE" else word for word in command))
    assert refused.code == 1
    assert "The ledger was changed after it was written" in refused.stderr
    assert "billhouse verify" in refused.stderr
    assert list(home.exports.rglob("*.xlsx")) == []
    assert not close_folder(home, SEPTEMBER).exists()
    assert "check_failed" in {alert["kind"] for alert in alert_states(home)}


def test_verify_reports_a_removed_month_by_the_broken_chain(closed: Home) -> None:
    shutil.rmtree(close_folder(closed, AUGUST))
    assert "does not continue the hash chain" in billhouse(closed.path, "verify").stdout


def test_verify_reports_that_the_newest_close_was_removed(closed: Home) -> None:
    shutil.rmtree(close_folder(closed, SEPTEMBER))
    verified = billhouse(closed.path, "verify")
    assert verified.code == 1
    assert "ledger/closes/2026-09/invoices.parquet: is missing" in verified.stdout


def test_verify_reports_a_close_in_another_months_folder(home: Home, run: Callable[..., Outcome]) -> None:
    close_folder(home, AUGUST).rename(home.closes / "2026-07")
    verified = run("verify").stdout
    assert "is the close of 2026-08" in verified
    assert "ledger/closes/2026-07/close.parquet: is not in the manifest" in verified


def test_verify_reports_files_and_folders_that_no_command_wrote(home: Home, run: Callable[..., Outcome]) -> None:
    (close_folder(home, AUGUST) / "more.parquet").write_bytes(b"")
    (home.closes / "2026-10x").mkdir()
    verified = run("verify").stdout
    assert "more.parquet: is not in the manifest" in verified
    assert "2026-10x: is not a close" in verified
    assert run("invoices").code == 0


def test_verify_reports_missing_landed_files(home: Home, run: Callable[..., Outcome]) -> None:
    for row in (home.raw / "landed_files").glob("[0m]*.parquet"):
        row.unlink()
    problems = run("verify").stdout.splitlines()[:-1]
    assert any("is missing" in problem for problem in problems)
    assert any("was closed with" in problem for problem in problems)
    assert all("is missing" in problem or "was closed with" in problem for problem in problems)


def test_verify_reports_raw_events_that_are_missing_duplicated_or_of_an_unknown_type(
    home: Home, run: Callable[..., Outcome]
) -> None:
    (events, *_) = sorted((home.raw / "usage_events").rglob("event_date=*/*.parquet"))
    again = events.with_name("again.parquet")
    shutil.copy(events, again)
    verified = run("verify").stdout
    assert "which landed with" in verified
    assert " 2 times." in verified
    again.unlink()
    table = pq.read_table(events)
    types = pa.array(["sandbox_moved", *table["event_type"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index("event_type"), "event_type", types), events)
    assert "has 1 events of the unknown type sandbox_moved" in run("verify").stdout
    events.unlink()
    assert "usage.jsonl, which landed with" in run("verify").stdout


def test_verify_reports_every_changed_byte_and_never_fails_on_one(home: Home) -> None:
    random = Random(11)
    for file in sorted(close_folder(home, AUGUST).rglob("*.*")):
        whole = file.read_bytes()
        for _ in range(6):
            at = random.randrange(len(whole))
            file.chmod(0o600)
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << random.randrange(8))]) + whole[at + 1 :])
            assert verify_ledger(home).problems, (file, at)
        file.write_bytes(whole)
    assert verify_ledger(home).problems == []


def test_sha256sum_can_check_the_sums_of_a_close(home: Home) -> None:
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=close_folder(home, AUGUST), capture_output=True)
    assert checked.returncode == 0


def test_a_sign_up_grant_that_a_close_froze_is_never_changed(home: Home, run: Callable[..., Outcome], tmp_path: Path) -> None:
    """Later it turns out that the customer was on a plan without one, and of another currency."""
    record = {"customer_id": "customer-3", "plan_id": "enterprise", "effective_at": "2026-08-01T00:00:00Z"}
    person = {"customer_id": "customer-4", "currency": "EUR"}
    run("land", "--kind", "subscriptions", write_jsonl(tmp_path / "late.jsonl", [record]))
    run("land", "--kind", "customers", write_jsonl(tmp_path / "person.jsonl", [person]))
    assert run("build", "--as-of", "2026-10-05T00:00:00Z").code == 0
    grants = query(home, "from credit_grants where customer_id in ('customer-3', 'customer-4') order by all")
    assert [(grant["grant_id"], grant["amount"], grant["currency"]) for grant in grants] == [
        ("signup-customer-3", Decimal("100.000"), "USD"),
        ("signup-customer-4", Decimal("100.000"), "USD"),
    ]
    rolled = query(home, "from credit_ledger where customer_id = 'customer-4'")
    assert {row["currency"] for row in rolled} == {"USD"}
    assert run("close", "2026-09", "--accept-adjustments").code == 0


def test_an_edit_of_terms_used_by_a_closed_month_needs_to_be_accepted(home: Home, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    assert edited_prices(home, seeds) == []
    # As if the close had been computed with a contract.
    contract = "acme-2026,acme,Acme 2026,2026-01-01T00:00:00Z,2027-01-01T00:00:00Z,USD,0.05,5000.00,,,,,\n"
    for folder in (seeds, close_folder(home, AUGUST) / PRICE_BOOK):
        path = folder / "contracts.csv"
        path.chmod(0o600)
        path.write_text(path.read_text() + contract)
    assert edited_prices(home, seeds) == []
    contracts = (seeds / "contracts.csv").read_text()
    (seeds / "contracts.csv").write_text(contracts.replace("2027-01-01", "2026-12-01"))
    assert edited_prices(home, seeds) == []  # it ends earlier, but not in a closed month
    (seeds / "contracts.csv").write_text(contracts.replace(",0.05,", ",0.10,"))
    (problem,) = edited_prices(home, seeds)
    assert problem.file == "seeds/contracts.csv"
    assert "discount_rate was '0.05', is '0.10'" in problem.reason
    assert check_prices(home, seeds=seeds, accept_by="cfo").problems == []
    assert edited_prices(home, seeds) == []
    (seeds / "contracts.csv").write_text(contracts.replace(",0.05,", ",0.20,"))
    assert len(edited_prices(home, seeds)) == 1  # another edit needs to be accepted again
    # A contract of a customer that no close has billed may go, with its prices.
    (seeds / "contracts.csv").write_text(contracts.replace(contract, ""))
    assert edited_prices(home, seeds) == []


def test_changing_the_default_plan_of_closed_months_is_an_edit(home: Home, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    plans = (seeds / "plans.csv").read_text()
    (seeds / "plans.csv").write_text(plans.replace(",true", ",").replace("4,4,5,", "4,4,5,true", 1))
    assert ["is_default was" in problem.reason for problem in edited_prices(home, seeds)] == [True, True]
    # A price book stored by a close of an earlier release does not say which plan is the default one.
    stored = close_folder(home, AUGUST) / PRICE_BOOK / "plans.csv"
    stored.chmod(0o600)
    stored.write_text("".join(line.rpartition(",")[0] + "\n" for line in plans.splitlines()))
    assert edited_prices(home, seeds) == []


def test_a_fee_of_zero_used_by_a_closed_month_cannot_be_edited(home: Home, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    fees = (seeds / "plan_fees.csv").read_text()
    hobby = next(line for line in fees.splitlines() if line.startswith("hobby-usd"))
    (seeds / "plan_fees.csv").write_text(fees.replace(hobby, hobby.replace(",0,", ",5,").replace(",0.00,", ",5.00,")))
    assert (seeds / "plan_fees.csv").read_text() != fees
    (problem,) = edited_prices(home, seeds)
    assert "in force in closed months" in problem.reason


def test_verify_reports_a_truncated_file(home: Home, run: Callable[..., Outcome]) -> None:
    path = close_folder(home, AUGUST) / "invoices.parquet"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:100])
    assert "cannot be read" in run("verify").stdout


KILLED = """
import os, signal, sys
home, at, when = sys.argv[1:]
calls = 0
def killing(real):
    def call(*words, **more):
        global calls
        calls += 1
        is_last = str(calls) == at or (at == "month" and str(words[-1]).endswith("closes/2026-09"))
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*words, **more)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
os.fsync, os.replace, os.rename = killing(os.fsync), killing(os.replace), killing(os.rename)
sys.argv = ["billhouse", "--home", home, "close", "2026-09"]
from pipeline.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("at", "when", "is_closed"),
    [("1", "before", False), ("6", "before", False), ("month", "before", False), ("month", "after", True)],
    ids=["before the first write", "before the sixth write", "before the month's rename", "after the month's rename"],
)
def test_a_killed_close_leaves_no_month_or_the_whole_month(
    home: Home, tmp_path: Path, at: str, when: str, is_closed: bool
) -> None:
    """`at`: the n-th call that syncs or renames, or the rename that puts the month into its place."""
    copy = copy_home(home.path, tmp_path / "killed")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(copy.path), at, when], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = close_folder(copy, SEPTEMBER)
    assert folder.exists() == is_closed
    if is_closed:
        assert {path.name for path in folder.iterdir()} >= {"close.parquet", "invoices.parquet", "price_book"}
    assert billhouse(copy.path, "close", "2026-09").code == 0
    assert billhouse(copy.path, "verify").code == 0
    assert len(query(copy, "from invoices where period = '2026-09' and status = 'closed'")) == 20


def test_two_closes_of_one_month_at_once_close_it_once(home: Home) -> None:
    command = [sys.executable, "-m", "pipeline.cli.app", "--home", str(home.path), "close", "2026-09", "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted('"already_closed": true' in text for text in outputs) == [False, True]
    assert billhouse(home.path, "verify").code == 0


def test_a_price_that_a_close_used_cannot_be_edited_but_can_be_corrected(home: Home, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    rates = seeds / "rates.csv"
    before = rates.read_text()
    assert edited_prices(home, seeds) == []
    assert ",per_unit,0.000014," in before.splitlines()[1]
    rates.write_text(before.replace(",0.000014,", ",0.000028,", 1))
    (problem,) = edited_prices(home, seeds)
    assert (problem.file, problem.line) == ("seeds/rates.csv", 2)
    assert "20 closed invoices of 2026-08" in problem.reason
    checked = check_prices(home, seeds=seeds)
    assert len(checked.changed) == 20
    assert checked.changed[0][5] == Decimal("1.01")  # 20 vCPU for an hour: 1.008 more
    corrected = "hobby-vcpu-usd-2,hobby,,vcpu,USD,1970-01-01T00:00:00Z,per_unit,0.000028,,0,hobby-vcpu-usd-1\n"
    rates.write_text(before + corrected)
    assert check_prices(home, seeds=seeds).problems == []
