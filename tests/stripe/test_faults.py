"""After kills, broken connections and refusals at any step of publishing, each invoice is in Stripe exactly once.

`make soak-publish` runs at least 300 schedules; the suite runs some of each kind.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.approvals import approve
from pipeline.ledger.closed_invoices import closed_invoices
from pipeline.store.publications import PUBLICATIONS, published_invoices
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.outbox import open_outbox
from pipeline.stripe.requests import line_requests
from pipeline.stripe_emulator.server import running_emulator
from tests.stripe.publisher import QUICK, inject_faults, publish, publish_and_kill, quick_connection, reset
from tests.support import billhouse, event, forget, prepare

SEPTEMBER = BillingPeriod(2026, 9)
CUSTOMERS = [f"cust-{number:02d}" for number in range(20)]
SCHEDULES = int(os.environ.get("BILLHOUSE_SOAK_PUBLISH", "0")) or 24
KINDS = [
    ("error", False),
    ("error", True),
    ("hang", False),
    ("hang", True),
    ("cut", False),
    ("cut", True),
    ("rate_limit", False),
    ("lock_timeout", False),
]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.stripe.publisher"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A home with September closed and approved: twenty customers on Pro, one with nothing to pay."""
    usage = []
    for number, name in enumerate(CUSTOMERS):
        usage.append(event("start", "2026-09-10T10:00:00Z", user=name, sandbox=f"box-{name}", vcpu_count=10 + number))
        usage.append(event("stop", "2026-09-10T15:00:00Z", user=name, sandbox=f"box-{name}"))
    plans = [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS]
    gift = {"grant_id": "gift", "customer_id": CUSTOMERS[0], "amount": "9999", "granted_at": "2026-09-01T00:00:00Z"}
    prepared = prepare(
        tmp_path_factory.mktemp("faults") / "home",
        parsed_project,
        {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans, Kind.CREDIT_GRANTS: [gift]},
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
    )
    opened = Home.open(prepared)
    approve(opened, SEPTEMBER, everything=True, by="cfo")
    return opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_emulator(tmp_path_factory.mktemp("stripe") / "stripe.sqlite") as served:
        yield served


@pytest.fixture
def fresh(home: Home, address: str) -> Home:
    """The home before publishing, with an empty emulator."""
    start_over(home, address)
    return home


def start_over(home: Home, address: str) -> None:
    forget(home, home.publications, home.outbox)
    reset(address)


def run_and_kill(home: Home, address: str, at: int, when: Any) -> None:
    """Run a publisher that is killed at the n-th writing request."""
    process = PROCESSES.Process(target=publish_and_kill, args=(home.path, "2026-09", address, at, when))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def assert_published_once(home: Home, address: str) -> None:
    """Stripe has each invoice once, finalized, e-mailed once, with our lines, and nothing else."""
    ours = {closed.invoice_id: closed for batch in closed_invoices(home, SEPTEMBER) for closed in batch if closed.is_collected}
    assert len(ours) == len(CUSTOMERS)
    with quick_connection(address) as connection:
        v1 = connection.client.v1
        invoices = list(v1.invoices.list({"limit": 100}).auto_paging_iter())
        assert sorted(metadata_of(one)["billhouse_invoice_id"] for one in invoices) == sorted(ours)
        for one in invoices:
            closed = ours[metadata_of(one)["billhouse_invoice_id"]]
            assert (one.status, one.total) == ("open" if closed.total else "paid", closed.total)
            expected = {part_id: line["amount"] for part_id, line in line_requests(closed).items()}
            assert len(one.lines.data) == len(expected)
            assert {metadata_of(line)["billhouse_line_id"]: line.amount for line in one.lines.data} == expected
        customers = [metadata_of(one)["billhouse_customer_id"] for one in v1.customers.list({"limit": 100}).auto_paging_iter()]
        assert sorted(customers) == CUSTOMERS
        assert list(v1.invoice_items.list({"pending": True, "limit": 100}).auto_paging_iter()) == []
        mailed = Counter(
            event.data.object["id"] for event in v1.events.list({"type": "invoice.sent", "limit": 100}).auto_paging_iter()
        )
        assert mailed == {one.id: 1 for one in invoices if one.status == "open"}
    published = PUBLICATIONS.read(home)["invoice_id"].to_pylist()
    assert sorted(published) == sorted(ours)
    assert [path.suffix for path in home.outbox.glob("2*")] == [".parquet"] * len(list(home.outbox.glob("2*")))


def requests_of_a_run(home: Home, address: str) -> int:
    """Writing requests of a run without faults: customer, draft, lines, finalize and send for each invoice."""
    start_over(home, address)
    publish(home.path, "2026-09", address)
    assert_published_once(home, address)
    start_over(home, address)
    return 5 * len(CUSTOMERS) - 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_any_request_is_continued(home: Home, address: str, when: str) -> None:
    requests = requests_of_a_run(home, address)
    positions = random.Random(when).sample(range(1, requests + 1), min(requests, SCHEDULES // 2))
    for at in positions:
        start_over(home, address)
        run_and_kill(home, address, at, when)
        assert publish(home.path, "2026-09", address).problems == []
        assert_published_once(home, address)


@pytest.mark.parametrize(("kind", "after_commit"), KINDS)
def test_a_run_recovers_from_faults_at_any_request(home: Home, address: str, kind: str, after_commit: bool) -> None:
    requests = requests_of_a_run(home, address)
    seed = random.Random(f"{kind}{after_commit}")
    for _ in range(max(SCHEDULES // 12, 1)):
        start_over(home, address)
        faults = [
            {"at": at, "kind": kind, "after_commit": after_commit, "seconds": 0.8}
            for at in seed.sample(range(1, requests + 1), seed.choice([1, 1, 2, 5]))
        ]
        inject_faults(address, faults)
        publish(home.path, "2026-09", address)
        inject_faults(address, [])
        assert publish(home.path, "2026-09", address).problems == []
        assert_published_once(home, address)


def test_a_run_recovers_from_several_kills_and_faults(home: Home, address: str) -> None:
    seed = random.Random(7)
    for _ in range(max(SCHEDULES // 6, 2)):
        start_over(home, address)
        for _ in range(3):
            kind, after_commit = seed.choice(KINDS)
            inject_faults(address, [{"at": seed.randint(1, 30), "kind": kind, "after_commit": after_commit, "seconds": 0.8}])
            run_and_kill(home, address, seed.randint(1, 15), seed.choice(["before", "after"]))
        inject_faults(address, [])
        assert publish(home.path, "2026-09", address).problems == []
        assert_published_once(home, address)


def test_two_publishers_at_once_publish_each_invoice_once(fresh: Home, address: str) -> None:
    processes = [PROCESSES.Process(target=publish, args=(fresh.path, "2026-09", address)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert_published_once(fresh, address)


def test_two_publishers_without_a_shared_lock_publish_each_invoice_once(fresh: Home, address: str, tmp_path: Path) -> None:
    """Two machines with a copy of the ledger each: only the idempotency keys prevent duplicates."""
    copy = Home(tmp_path / "copy")
    shutil.copytree(fresh.path, copy.path)
    processes = [PROCESSES.Process(target=publish, args=(one.path, "2026-09", address)) for one in (fresh, copy)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert publish(fresh.path, "2026-09", address).problems == []
    assert_published_once(fresh, address)


def test_a_lost_outbox_is_restored_from_stripe_without_idempotency_keys(fresh: Home, address: str) -> None:
    publish(fresh.path, "2026-09", address)
    forget(fresh, fresh.publications, fresh.outbox)
    # The invoices are found by listing, so expired keys do not matter.
    result = publish(fresh.path, "2026-09", address)
    assert (result.counts["published"], result.problems) == (len(CUSTOMERS), [])
    assert_published_once(fresh, address)


def test_an_unreachable_stripe_ends_the_run_with_one_message(fresh: Home, address: str) -> None:
    with open_outbox(fresh, is_live=False):
        pass
    outcome = billhouse_with_address(fresh, "http://127.0.0.1:9")
    assert outcome.code == 1
    assert "cannot be reached" in outcome.stderr
    assert outcome.stderr.count("\n") < 6
    assert published_invoices(fresh, is_live=False) == frozenset()


def billhouse_with_address(home: Home, address: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIPE_API_KEY", "sk_test_x")
        patch.setenv("BILLHOUSE_STRIPE_URL", address)
        patch.setattr("pipeline.stripe.client.RetryPolicy", lambda: QUICK)
        return billhouse(home.path, "publish", "2026-09")
