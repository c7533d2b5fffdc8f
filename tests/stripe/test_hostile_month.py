"""A month of customers with malicious ids, names and addresses: each is billed or quarantined, independently of the others.

`make soak-hostile` uses 1,000 customers and prints the numbers of published and quarantined ones, the time and the memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import pytest

from benchmarks.subprocesses import run_process
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import checks
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import ID_LENGTH
from pipeline.stripe.client import StripeConnection, connection_to
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.requests import metadata_text
from tests.support import billhouse, copy_home, event, query, write_jsonl

pytestmark = pytest.mark.slow

Outcome = Literal["billed", "quarantined", "landed before ids had limits"]
IDS: list[tuple[Outcome, Callable[[int], str]]] = [
    *[
        ("billed", make)
        for make in (
            lambda n: f"{n} 名前",
            lambda n: f"مرحبا {n}",
            lambda n: "💥" * 50 + str(n),
            lambda n: f"{n:0{ID_LENGTH}}",
            lambda n: f"{'é' * (ID_LENGTH - 10)}{n}",
            lambda n: f"cafe\u0301 {n}",
            lambda n: f"caf\u00e9 {n}",
            lambda n: f"Case-{n}",
            lambda n: f"case-{n}",
            lambda n: f"../../etc/passwd-{n}",
            lambda n: f"o'brien-{n}; drop table invoices; --",
            lambda n: f'"quoted {n}"',
            lambda n: f"<script>alert({n})</script>",
            lambda n: f"=cmd|' /C calc'!A{n}",
            lambda n: f"@SUM(A{n})",
            lambda n: f"%00%0d%0a%{n}",
            lambda n: f"a/b?c=#{n}&e[f]=g",
            lambda n: f"metadata[{n}]",
            lambda n: f"{{{{ {n} * 7 }}}}",
            lambda n: f"{{0}} %s {n}",
            lambda n: f"\\\\server\\share{n}",
            lambda n: f"[bold red]{n}[/]",
            lambda n: f"$(reboot {n})`id`",
            lambda n: f"billhouse/test/{n}",
            lambda n: f"null,{n},\\N",
            lambda n: f"-{n}",
            lambda n: f"Z\u0351\u036b\u0343\u036a\u0302\u0348a{n}",
            lambda n: f"zero\u200bwidth\u200d{n}",
            lambda n: f"\ufeffbom {n}",
            lambda n: f"\U000e0041tag {n}",
        )
    ],
    *[
        ("quarantined", make)
        for make in (
            lambda n: f"line\nbreak {n}",
            lambda n: f"X-Header: {n}\r\nIdempotency-Key: x",
            lambda n: f"tab\t{n}",
            lambda n: f"bell\x07{n}",
            lambda n: f"\x1b]0;title {n}\x07\x1b[2J",
            lambda n: f"nul\x00{n}",
            lambda n: f"next\x85line {n}",
            lambda n: f"\u2028{n}",
            lambda n: f"\u202egnidaer {n}",
            lambda n: f"\u2066isolate {n}",
            lambda n: "b" * (ID_LENGTH + 1) + str(n),
            lambda n: "💥" * 10_000 + str(n),
            lambda n: "\u3000" * (n + 1),
            lambda n: f"surrogate \ud800 {n}",
        )
    ],
    *[
        ("landed before ids had limits", make)
        for make in (
            lambda n: f"old line\nbreak {n}",
            lambda n: f"old header: {n}\r\nIdempotency-Key: x",
            lambda n: f"old bell\x07 {n}",
            lambda n: f"\x1b[2Jold {n}",
            lambda n: f"\u202edlo {n}",
            lambda n: "c" * 499 + f" {n}",
            lambda n: "💥" * 2_000 + str(n),
        )
    ],
]
CUSTOMERS = int(os.environ.get("BILLHOUSE_SOAK_CUSTOMERS", str(len(IDS))))
"""`make soak-hostile` uses 1,000."""
LIMIT = 100
"""Requests a second, Stripe's limit in live mode."""

_PUBLISH = """
import sys
from pathlib import Path
from pipeline.cli.app import main
try:
    main()
finally:
    peak = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(*peak)
"""


@dataclass(frozen=True)
class Customer:
    number: int
    id: str
    outcome: Outcome

    def records(self) -> dict[Kind, list[dict[str, Any]]]:
        """Five hours of 100 vCPUs on Pro, and a customer record with a malicious name and address."""
        owner = {"user": self.id, "sandbox": f"box-{self.number}"}
        address = (f"{self.number}@example.com", self.id, f"{'a' * 600}@example.com", f"a\r\nBcc: b@example.com {self.number}")
        return {
            Kind.USAGE: [
                event("start", "2026-09-10T10:00:00Z", **owner, vcpu_count=100),
                event("stop", "2026-09-10T15:00:00Z", **owner),
            ],
            Kind.SUBSCRIPTIONS: [{"customer_id": self.id, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"}],
            Kind.CUSTOMERS: [{"customer_id": self.id, "name": self.id * 3, "email": address[self.number % len(address)]}],
        }


def all_customers() -> list[Customer]:
    return [Customer(n, IDS[n % len(IDS)][1](n // len(IDS)), IDS[n % len(IDS)][0]) for n in range(CUSTOMERS)]


def land(home: Home, customers: list[Customer]) -> None:
    for kind in (Kind.USAGE, Kind.SUBSCRIPTIONS, Kind.CUSTOMERS):
        rows = [row for customer in customers for row in customer.records()[kind]]
        # The command fails, after landing, for a file with too few accepted rows.
        landed = billhouse(
            home.path, "land", "--kind", kind, write_jsonl(home.path.parent / f"{kind}-{customers[0].number}.jsonl", rows)
        )
        assert landed.code == 0 or "quarantine" in landed.stderr, landed.stderr


@pytest.fixture
def home(tmp_path: Path, parsed_project: Path) -> Home:
    """A home with the month closed and approved."""
    home = copy_home(parsed_project, tmp_path / "home")
    with patch.object(checks, "_id_errors", lambda *_: []):
        land(home, [customer for customer in all_customers() if customer.outcome == "landed before ids had limits"])
    land(home, [customer for customer in all_customers() if customer.outcome != "landed before ids had limits"])
    for command in (
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
        ("approve", "2026-09", "--all", "--by", "cfo"),
    ):
        outcome = billhouse(home.path, *command)
        assert outcome.code == 0, outcome.stderr
    return home


@contextmanager
def emulator(folder: Path) -> Iterator[str]:
    """Run an emulator with Stripe's rate limit in its own process; yields the address."""
    command = [sys.executable, "-m", "pipeline.stripe_emulator", "--database", str(folder / "stripe.sqlite"), "--port", "0"]
    with subprocess.Popen(
        [*command, "--requests-per-second", str(LIMIT)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().split()[3]
        finally:
            running.kill()  # workers of xdist and their children ignore SIGTERM


def publish(home: Home) -> tuple[dict[str, Any], float, float]:
    """Output of the command, seconds, and peak memory in MB."""
    started = time.monotonic()
    ran = run_process([sys.executable, "-c", _PUBLISH, "--home", str(home.path), "publish", "2026-09", "--json"])
    printed, _, peak = ran.output.strip().rpartition("\n")
    return json.loads(printed), time.monotonic() - started, int(peak) / 1024


def billed_in_stripe(connection: StripeConnection) -> Counter[str]:
    """Number of open invoices by our customer id."""
    v1 = connection.client.v1
    names = {it.id: metadata_of(it)["billhouse_customer_id"] for it in v1.customers.list({"limit": 100}).auto_paging_iter()}
    invoices = v1.invoices.list({"limit": 100, "status": "open"}).auto_paging_iter()
    return Counter(names[str(invoice.customer)] for invoice in invoices)


def test_every_hostile_customer_is_billed_once_or_quarantined_at_landing(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = all_customers()
    assert len({customer.id for customer in customers}) == CUSTOMERS
    sandboxes = {row["sandbox_id"] for row in query(home, "select distinct sandbox_id from sessions")}
    landed = {customer.id for customer in customers if f"box-{customer.number}" in sandboxes}
    refused = query(home, "select reason, count(*) as rows from quarantined_events where kind = 'usage' group by all")
    quarantined = {customer.id for customer in customers if customer.outcome == "quarantined"}
    assert landed == {customer.id for customer in customers} - quarantined
    assert sum(row["rows"] for row in refused) == 2 * len(quarantined), refused

    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_hostile")
    monkeypatch.setenv("BILLHOUSE_STRIPE_REQUESTS_PER_SECOND", str(LIMIT - 1))
    with emulator(tmp_path) as address:
        monkeypatch.setenv("BILLHOUSE_STRIPE_URL", address)
        published, seconds, megabytes = publish(home)
        again, _, _ = publish(home)
        with connection_to("sk_test_hostile", address, LIMIT - 1, where="the emulator") as connection:
            billed = billed_in_stripe(connection)
    assert published["problems"] == []
    assert published["published"] == len(landed)
    assert (again["published"], again["already_published"]) == (0, len(landed))
    assert billed == Counter(metadata_text(id) for id in landed)
    print(
        f"\n{CUSTOMERS:,} customers: {published['published']:,} invoices published,"
        f" {len(quarantined):,} customers quarantined at landing ({refused}), {seconds:.1f} s, {megabytes:.0f} MB"
    )
