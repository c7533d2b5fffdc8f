"""The commands that are killed, and the home that each starts with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.core.home import PROJECT_ROOT
from tests.support import write_jsonl

FIRST_MONTH = "2026-08"
AS_OF = "2026-10-05T00:00:00Z"
CUSTOMERS = ("ada", "bob", "cyd", "dan")


def write_files(folder: Path) -> None:
    """Write the input files: records of all kinds, and usage on several days with invalid rows."""
    folder.mkdir()

    def usage(number: int, customer: str, day: str, vcpus: int) -> list[dict[str, Any]]:
        common = {"sandbox_id": f"box-{customer}-{day}", "user_id": customer}
        return [
            {**common, "event_id": f"evt-{number}-a", "timestamp": f"2026-{day}T10:00:00Z", "event_type": "sandbox_started",
             "vcpu_count": vcpus, "memory_gb": 1, "storage_gb": 1},
            {**common, "event_id": f"evt-{number}-b", "timestamp": f"2026-{day}T15:00:00Z", "event_type": "sandbox_stopped"},
        ]  # fmt: skip

    first = [row for place, name in enumerate(CUSTOMERS) for row in usage(place, name, f"09-1{place}", 1000 + place)]
    later = [row for place, name in enumerate(CUSTOMERS) for row in usage(10 + place, name, f"09-2{place}", 10 + place)]
    in_seconds = [row | {"timestamp": 1789000000 + place} for place, row in enumerate(usage(20, "ada", "09-20", 5))]
    write_jsonl(
        folder / "usage-1.jsonl", [*first, "{", first[0], first[1] | {"event_id": "evt-x", "sandbox_id": ""}, *in_seconds]
    )
    write_jsonl(folder / "usage-2.jsonl", [*first[:2], *later, "{"])
    write_jsonl(
        folder / "subscriptions.jsonl",
        [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS],
    )
    write_jsonl(
        folder / "customers.jsonl",
        [
            {"customer_id": name, "name": f"{name} Ltd", "email": f"{name}@example.com", "monthly_spend_limit": 100}
            for name in CUSTOMERS
        ],
    )
    write_jsonl(
        folder / "credit_grants.jsonl",
        [{"grant_id": "welcome", "customer_id": "bob", "amount": "5", "granted_at": "2026-09-01T00:00:00Z"}],
    )
    write_jsonl(folder / "voids.jsonl", [{"event_id": "evt-2-a", "voided_at": "2026-10-02T00:00:00Z", "reason": "test"}])
    write_jsonl(
        folder / "metrics.jsonl",
        [
            {
                "sandbox_id": f"box-{name}-09-1{place}",
                "timestamp": f"2026-09-1{place}T11:00:00Z",
                "cpu_used_pct": 12.5,
                "mem_bytes": 5,
            }
            for place, name in enumerate(CUSTOMERS)
        ],
    )
    queue = folder / "queue"
    queue.mkdir()
    for part in range(3):
        write_jsonl(queue / f"part-{part}.jsonl", [row | {"event_id": f"q{part}-{row['event_id']}"} for row in first])
    prices = folder / "prices"
    prices.mkdir()


Words = tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """A home to start with: another one, and the commands that are run in it."""

    before: str
    commands: tuple[Words, ...] = ()
    change: Callable[[Path], None] | None = None
    """Called last, with the home."""


def with_spreadsheet_prices(home: Path) -> None:
    """A price book in the home, two files of which a spreadsheet program saved."""
    shutil.copytree(PROJECT_ROOT / "seeds", home / "price-book")
    for name in ("plans.csv", "rates.csv"):
        file = home / "price-book" / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b",", b";").replace(b"\n", b"\r\n") + b";;\r\n")


def without_warehouse(home: Path) -> None:
    """Remove what a build writes: a command that would refresh the reports at its end has none to refresh."""
    for name in ("warehouse.duckdb", "billhouse.duckdb"):
        (home / name).unlink()
    for folder in ("build", "marts", "health"):
        shutil.rmtree(home / folder)
    (home / "marts").mkdir(mode=0o700)


STARTS = {
    "landed": Start(
        "empty",
        (
            ("land", "FILES/usage-1.jsonl"),
            ("land", "--kind", "subscriptions", "FILES/subscriptions.jsonl"),
            ("land", "--kind", "customers", "FILES/customers.jsonl"),
            ("land", "--kind", "credit_grants", "FILES/credit_grants.jsonl"),
        ),
    ),
    "spreadsheet prices": Start("landed", change=with_spreadsheet_prices),
    "built": Start("landed", (("build", "--as-of", AS_OF),)),
    "more landed": Start(
        "built",
        (
            ("land", "FILES/usage-2.jsonl"),
            ("land", "--kind", "voids", "FILES/voids.jsonl"),
            ("land", "--kind", "metrics", "FILES/metrics.jsonl"),
        ),
    ),
    "small files": Start("landed", tuple(("land", f"FILES/queue/part-{part}.jsonl") for part in range(3))),
    "closed": Start("built", (("close", "2026-09"),)),
    "closed, no warehouse": Start("closed", change=without_warehouse),
    "approved": Start("closed", (("approve", "2026-09", "--all"),)),
    "approved, no warehouse": Start("closed, no warehouse", (("approve", "2026-09", "--all"),)),
    "published": Start("approved", (("publish", "2026-09"),)),
    "published, no warehouse": Start("approved, no warehouse", (("publish", "2026-09"),)),
    "exported": Start("closed", (("export", "2026-09"),)),
    "corrected": Start(
        "published, no warehouse",
        (("land", "--kind", "voids", "FILES/voids.jsonl"), ("build", "--as-of", AS_OF)),
    ),
}


@dataclass(frozen=True)
class Command:
    """A command, the home it starts with, and its expected exit codes."""

    name: str
    start: str
    words: Words
    environment: dict[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (0,)
    """Exit codes of an undisturbed run, and of a run after a killed one (which may also be 0)."""
    has_own_prices: bool = False
    """Whether the price book is the home's and not the project's."""
    seconds: float = 2
    """Approximate seconds of a kill with its checks; slower commands are killed less often."""


_SEPTEMBER = ("--from", "2026-09", "--to", "2026-09")
_ALERTS = {
    "BILLHOUSE_ALERT_WEBHOOK_URL": "RECEIVER",
    "BILLHOUSE_ALERT_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "BILLHOUSE_ALERT_MAX_AGE_DAYS": "100000",
}
COMMANDS = {
    command.name: command
    for command in (
        Command("close", "built", ("close", "2026-09"), seconds=18),
        Command("land", "empty", ("land", "FILES/usage-1.jsonl", "FILES/usage-2.jsonl")),
        Command("land subscriptions", "empty", ("land", "--kind", "subscriptions", "FILES/subscriptions.jsonl")),
        Command("land customers", "landed", ("land", "--kind", "customers", "FILES/customers.jsonl")),
        Command("land credit grants", "empty", ("land", "--kind", "credit_grants", "FILES/credit_grants.jsonl")),
        Command("land voids", "landed", ("land", "--kind", "voids", "FILES/voids.jsonl")),
        Command("land metrics", "landed", ("land", "--kind", "metrics", "FILES/metrics.jsonl")),
        Command("land --again", "landed", ("land", "--again", "--timestamps", "seconds")),
        Command(
            "quarantine --settle",
            "landed",
            ("quarantine", "--settle", "--reason", "unreadable", "--by", "ann", "--why", "corrected"),
        ),
        Command("compact", "small files", ("compact",), {"BILLHOUSE_RAW_FILES_PER_DAY": "1"}),
        Command("collect", "landed", ("collect", "--export", "FILES/queue", "--name", "queue")),
        Command("build", "more landed", ("build", "--as-of", AS_OF), seconds=20),
        Command("first build", "landed", ("build", "--as-of", AS_OF), seconds=25),
        Command("approve", "closed, no warehouse", ("approve", "2026-09", "--all")),
        Command("approve and build", "closed", ("approve", "2026-09", "--all"), seconds=16),
        Command("publish", "approved, no warehouse", ("publish", "2026-09"), seconds=4),
        Command("publish and build", "approved", ("publish", "2026-09"), seconds=20),
        Command("sync-stripe", "published, no warehouse", ("sync-stripe",), seconds=4),
        Command("sync-stripe and build", "published", ("sync-stripe",), seconds=20),
        Command(
            "credit-note",
            "corrected",
            ("credit-note", "INVOICE OF cyd", "--memo", "Sorry"),
            seconds=20,
        ),
        Command("export", "exported", ("export", "2026-09"), seconds=3),
        Command("simulate", "closed", ("simulate", "--prices", "FILES/prices", *_SEPTEMBER), seconds=40),
        Command("alerts", "built", ("alerts", "--send"), _ALERTS),
        Command("verify", "closed", ("verify",)),
        Command("health", "closed", ("health",)),
        Command("check-prices --fix", "spreadsheet prices", ("check-prices", "--fix"), has_own_prices=True),
        Command("check-prices --accept", "closed", ("check-prices", "--accept")),
    )
}


def placed(words: Words, home: Path, files: Path, receiver: str) -> list[str]:
    """The arguments with placeholders replaced."""
    return [_placed(word, home, files, receiver) for word in words]


def _placed(word: str, home: Path, files: Path, receiver: str) -> str:
    if word.startswith("INVOICE OF "):
        rows = pq.read_table(home / "ledger" / "closes" / "2026-09" / "invoices.parquet").to_pylist()
        return str(next(row["invoice_id"] for row in rows if row["customer_id"] == word.removeprefix("INVOICE OF ")))
    return word.replace("FILES", str(files)).replace("RECEIVER", receiver)
