"""A home of an earlier version is used by this one: nothing in it is rewritten, and every number stays."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files
from pipeline.store.collections import EMPTY_FILE
from tests.landing.raw import rows_of
from tests.support import billhouse, query, write_jsonl

EARLIER_HOMES = sorted((PROJECT_ROOT / "tests" / "data").glob("home-of-*"))
AUGUST = {  # as the version that closed it printed it: status, currency, subtotal, credits, total
    "INV-2026-08-51589D3A8CF7": ("published", "USD", "159.10", "34.10", "125.00"),
    "INV-2026-08-C93FD4F3A342": ("published", "EUR", "72.75", "72.75", "0.00"),
    "INV-2026-08-8B74C6E3FC59": ("closed", "USD", "0.11", "0.11", "0.00"),
}
SEPTEMBER = {  # as the same version drafted it
    "INV-2026-09-51589D3A8CF7": ("draft", "USD", "176.50", "26.50", "150.00"),
    "INV-2026-09-C93FD4F3A342": ("draft", "EUR", "140.99", "140.99", "0.00"),
}


@pytest.fixture(params=EARLIER_HOMES, ids=[path.name for path in EARLIER_HOMES])
def earlier(request: pytest.FixtureRequest, make_home: Callable[[str], Home]) -> Home:
    home = make_home("home")
    for folder in (home.raw, home.ledger):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(request.param / folder.name, folder)
    return home


def test_a_home_of_an_earlier_version_is_verified_built_and_closed_with_its_closed_invoices_as_they_were(earlier: Home) -> None:
    before = digests(earlier)
    assert_succeeds(earlier, "verify")
    assert_succeeds(earlier, "build", "--as-of", "2026-10-05T00:00:00Z")
    assert invoices(earlier, "2026-08") == AUGUST
    assert invoices(earlier, "2026-09") == SEPTEMBER
    assert_succeeds(earlier, "close", "2026-09")
    assert_succeeds(earlier, "verify")
    assert_succeeds(earlier, "build", "--as-of", "2026-10-05T00:00:00Z")
    assert invoices(earlier, "2026-08") == AUGUST
    assert invoices(earlier, "2026-09") == {name: ("closed", *rest) for name, (_, *rest) in SEPTEMBER.items()}
    after = digests(earlier)
    assert {path: after.get(path) for path in before} == before, "what an earlier version wrote stays as it is"


def assert_succeeds(home: Home, *words: str) -> None:
    outcome = billhouse(home.path, *words)
    assert outcome.code == 0, outcome


def invoices(home: Home, period: str) -> dict[str, tuple[str, ...]]:
    rows = query(home, "from invoices where period = ?", period)
    amounts = ("subtotal_amount", "credits_applied_amount", "total_amount")
    return {row["invoice_id"]: (row["status"], row["currency"], *(f"{row[name]:.2f}" for name in amounts)) for row in rows}


def test_landing_in_a_home_of_an_earlier_version_finds_its_events(earlier: Home, tmp_path: Path) -> None:
    before = rows_of(earlier)
    fields = ("event_id", "sandbox_id", "user_id", "event_type", "vcpu_count", "memory_gb", "storage_gb", "execution_id")
    sent = [
        {name: str(row[name]) for name in fields if row.get(name) is not None} | {"timestamp": row["event_at"].isoformat()}
        for row in before
        if row.get("metadata") is None
    ]
    assert sent
    changed = sent[0] | {"event_type": "sandbox_stopped" if sent[0]["event_type"] == "sandbox_started" else "sandbox_started"}
    new = sent[0] | {"event_id": "evt-new", "user_id": "someone-else"}
    (landed,) = land_files(earlier, [write_jsonl(tmp_path / "again.jsonl", [*sent, changed, new])]).files
    assert (landed.accepted, landed.duplicates) == (0, len(sent))
    assert landed.by_reason == {"conflicting_duplicate": 1, "user_mismatch": 1}
    # Files of the earlier version lack the columns that came later.
    assert [dict.fromkeys(row) | old for row, old in zip(rows_of(earlier), before, strict=True)] == rows_of(earlier)


def digests(home: Home) -> dict[Path, str]:
    """SHA-256 of each data file of the home, without the files of zero rows, which have the columns of the present version."""
    found = (path for folder in (home.raw, home.ledger) for path in folder.rglob("*") if path.suffix in (".parquet", ".csv"))
    with_rows = (path for path in found if EMPTY_FILE not in (path.name, f"{path.parent.name}.parquet"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in with_rows}
