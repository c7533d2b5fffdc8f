"""Random histories through the warehouse and through the reference engine: every session, day, line and invoice is equal.

Many histories, as different customers, go through one build. `make soak` runs thousands: BILLHOUSE_SOAK says how many, and
BILLHOUSE_SOAK_SEED from which seed on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing import Kind, land_files
from pipeline.ledger.close import close_period
from pipeline.warehouse.build import build
from pipeline.warehouse.dbt_run import environment
from tests.exports.statement_sums import statements_that_do_not_sum
from tests.reference import Ledger, ListingPart, PriceBook, Result, Void, accept, compute
from tests.reference.compare import compare
from tests.reference.exact import next_month
from tests.reference.records import CustomerRecord, SubscriptionRecord
from tests.reference.strategies import (
    Batch,
    event_voids_to_jsonl,
    listings_to_jsonl,
    random_batch,
    records_to_jsonl,
    to_jsonl,
    to_jsonl_parts,
)
from tests.reference.variations import CURRENCIES, PriceBookVariation, correction
from tests.support import query

BATCH = 60
SOAK = int(os.environ.get("BILLHOUSE_SOAK", "0"))
SOAK_SEED = int(os.environ.get("BILLHOUSE_SOAK_SEED", "1000"))
SOAK_BATCH = 250


def differences(batch: Batch, home: Home, folder: Path, heartbeat: int | None = None) -> list[str]:
    """What differs between the warehouse's reports and the reference engine's results for a batch, in words."""
    with environment(opening_of(batch)):
        return _differences(batch, home, folder, heartbeat)


def opening_of(batch: Batch) -> dict[str, str]:
    """The setting of the batch's first billing month."""
    return {"BILLHOUSE_FIRST_BILLING_MONTH": f"{batch.books_open_at:%Y-%m}"}


def _differences(batch: Batch, home: Home, folder: Path, heartbeat: int | None) -> list[str]:
    project = project_of(batch, folder)
    usage = to_jsonl_parts(batch, folder, 3)
    accepted = accept(batch.events, batch.books_open_at)
    summary = land_files(home, usage, seeds=project / "seeds")
    assert summary.problems == []
    assert summary.accepted == len(accepted.events)
    assert summary.duplicates == accepted.duplicates
    assert summary.quarantined == len(accepted.quarantined)
    land_records(batch, home, folder, project)
    land_voids(batch.event_voids, home, folder, project)
    land_listings(batch.listings, home, folder / "listings.jsonl")
    build(home, batch.as_of, project=project)
    prices = PriceBook.read(project / "seeds")
    records = (batch.customers, batch.grants, None, batch.voids, batch.books_open_at, batch.listings)
    return drafts_differ(home, compute(accepted.events, batch.subscriptions, prices, batch.as_of, heartbeat, *records))


def land_voids(voids: Sequence[Void], home: Home, folder: Path, project: Path) -> None:
    """Land voids of events, if there are any."""
    if voids:
        path = event_voids_to_jsonl(voids, folder)
        summary = land_files(home, [path], Kind.VOIDS, seeds=project / "seeds")
        assert summary.problems == []
        assert summary.quarantined == 0


def land_listings(listings: Sequence[ListingPart], home: Home, path: Path) -> None:
    """Land listings of running sandboxes, if there are any."""
    if listings:
        summary = land_files(home, [listings_to_jsonl(listings, path)], Kind.RUNNING)
        assert summary.problems == []
        assert summary.quarantined == 0


def land_records(batch: Batch, home: Home, folder: Path, project: Path) -> None:
    """Land everything of a batch but its events."""
    folder.mkdir(parents=True, exist_ok=True)
    _, subscriptions = to_jsonl(batch, folder)
    customers, grants, voids = records_to_jsonl(batch, folder)
    paths = {Kind.SUBSCRIPTIONS: subscriptions, Kind.CUSTOMERS: customers, Kind.CREDIT_GRANTS: grants, Kind.VOIDS: voids}
    for kind, path in paths.items():
        if path.stat().st_size:
            summary = land_files(home, [path], kind, seeds=project / "seeds")
            assert summary.problems == []
            assert summary.quarantined == 0


def drafts_differ(home: Home, expected: Result) -> list[str]:
    """What differs between the reports of the last build, closed invoices aside, and the engine's result; wrong statements."""
    drafts = "where invoice_id in (select invoice_id from invoices where status = 'draft')"
    return statements_that_do_not_sum(home) + compare(
        expected,
        invoices=query(home, f"from invoices {drafts}"),
        invoice_lines=query(home, f"from invoice_lines {drafts}"),
        sessions=query(home, "from sessions"),
        usage_daily=query(home, "from usage_daily"),
        credit_applications=query(home, f"from credit_applications {drafts}"),
        ignored_events=query(home, "from ignored_events"),
    )


def project_of(batch: Batch, folder: Path) -> Path:
    """The dbt project with the batch's own price book."""
    project = folder / "project"
    project.mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    batch.price_book.write(PROJECT_ROOT / "seeds", project / "seeds")
    return project


@pytest.mark.parametrize("seed", [1, 2])
def test_random_histories_are_billed_as_the_reference_engine_bills_them(seed: int, home: Home, tmp_path: Path) -> None:
    assert differences(random_batch(Random(seed), 3 * BATCH), home, tmp_path) == []


def test_and_so_they_are_where_a_silence_ends_a_session(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", "3600")
    assert differences(random_batch(Random(7), BATCH), home, tmp_path, heartbeat=3600) == []


@pytest.mark.skipif(SOAK == 0, reason="a soak: make soak")
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + -(-SOAK // SOAK_BATCH)))
def test_thousands_of_histories(seed: int, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = {3: 60, 4: 3600}.get(seed % 5)
    if heartbeat is not None:
        monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", str(heartbeat))
    assert differences(random_batch(Random(seed), SOAK_BATCH), home, tmp_path, heartbeat) == []


def months_closed_one_after_the_other_differ(seed: int, home: Home, folder: Path, customers: int) -> list[str]:
    """A batch's events land in parts; after each, the months that are over are closed, here and in the engine. In between a
    price is found wrong and corrected, plan records and voids come late, and customers change their currency from the first
    open month on. What differs in any of the builds, in words.
    """
    random = Random(seed)
    batch = random_batch(random, customers)
    with environment(opening_of(batch)):
        return _months_differ(random, batch, home, folder)


def _months_differ(random: Random, batch: Batch, home: Home, folder: Path) -> list[str]:
    project = project_of(batch, folder)
    months = [month for month in _months_of(batch) if month.end <= batch.as_of]
    stages = [month.end + random.choice((timedelta(0), timedelta(hours=49), timedelta(days=20))) for month in months[:-1]]
    as_ofs = [*sorted(as_of for as_of in stages if as_of < batch.as_of), batch.as_of]
    parts = to_jsonl_parts(batch, folder, len(as_ofs))
    is_late = [random.random() < 0.3 for _ in batch.subscriptions]
    late = [record for record, comes_late in zip(batch.subscriptions, is_late, strict=True) if comes_late]
    subscriptions = [record for record, comes_late in zip(batch.subscriptions, is_late, strict=True) if not comes_late]
    late_voids = [void for void in batch.grant_voids if random.random() < 0.5]
    voids = [void for void in batch.grant_voids if void not in late_voids]
    customer_records = batch.customers
    land_records(_with(batch, subscriptions, customer_records, voids), home, folder / "first", project)
    ledger = Ledger()
    listings: list[ListingPart] = []
    differences: list[str] = []
    for number, as_of in enumerate(as_ofs):
        land_files(home, parts[number : number + 1], seeds=project / "seeds")
        if number == 1:
            PriceBookVariation(correction(random, project / "seeds", number)).write(project / "seeds", project / "seeds")
            with_contract = {row["customer_id"] for row in batch.price_book.extra_rows.get("contracts", [])}
            changes = [
                CustomerRecord(history.customer_id, random.choice(CURRENCIES), _first_open_month(ledger))
                for history in batch.histories
                if ledger.periods and history.customer_id not in with_contract and random.random() < 0.2
            ]
            land_records(_with(batch, late, changes, late_voids), home, folder / "late", project)
            subscriptions, customer_records, voids = subscriptions + late, customer_records + changes, voids + late_voids
        # Of an event that has not landed yet there is nothing to take back.
        landed_ids = {event.event_id for event in accept(batch.events[: _rows(parts[: number + 1])], batch.books_open_at).events}
        event_voids = [void for void in batch.event_voids if void.event_id in landed_ids and void not in voids]
        if number > 0:
            land_voids(event_voids, home, folder / f"voids-{number}", project)
            voids = voids + event_voids
        # Some listings come late, some in parts that come one after the other.
        of_stage = batch.listings[number :: len(as_ofs)]
        land_listings(of_stage, home, folder / f"listings-{number}.jsonl")
        listings += of_stage
        build(home, as_of, project=project)
        landed = accept(batch.events[: _rows(parts[: number + 1])], batch.books_open_at)
        prices = PriceBook.read(project / "seeds")
        records = (customer_records, batch.grants, ledger, voids, batch.books_open_at, listings)
        result = compute(landed.events, subscriptions, prices, as_of, None, *records)
        differences += [f"as of {as_of}: {difference}" for difference in drafts_differ(home, result)]
        if differences or number == len(as_ofs) - 1:
            break
        for month in _months_of(batch):
            if month.end <= as_of and str(month) not in ledger.periods:
                close_period(home, month, force=True, accept_adjustments=True, project=project)
                ledger.close(result, str(month))
    return differences


def _with(batch: Batch, subscriptions: list[SubscriptionRecord], customers: list[CustomerRecord], voids: list[Void]) -> Batch:
    """The batch with these subscription and customer records and voids alone."""
    chosen = {id(record) for record in subscriptions}
    histories = [
        replace(
            history,
            subscriptions=tuple(record for record in history.subscriptions if id(record) in chosen),
            customer_records=tuple(record for record in customers if record.customer_id == history.customer_id),
            voids=tuple(void for void in history.voids if void in voids),
        )
        for history in batch.histories
    ]
    return replace(batch, histories=tuple(histories))


def _first_open_month(ledger: Ledger) -> datetime:
    """The first instant of the month after the last closed one."""
    return next_month(datetime.fromisoformat(f"{max(ledger.periods)}-01T00:00:00+00:00"))


def _months_of(batch: Batch) -> list[BillingPeriod]:
    """From the month of the first event, reported start or contract, and not before the books open, to as_of's."""
    starts = [datetime.fromisoformat(row["starts_at"]) for row in batch.price_book.extra_rows.get("contracts", [])]
    first = min([*(event.reported_start or event.event_at for event in batch.events), *starts], default=batch.as_of)
    month = max(first, batch.books_open_at)
    months = [BillingPeriod(month.year, month.month)]
    while months[-1].end <= batch.as_of:
        months.append(BillingPeriod(months[-1].end.year, months[-1].end.month))
    return months


def _rows(files: list[Path]) -> int:
    return sum(len(file.read_text().splitlines()) for file in files)


@pytest.mark.parametrize("seed", [1, *[2] * (SOAK > 0)])
def test_months_that_are_closed_one_after_the_other_are_billed_as_the_engine_bills_them(
    seed: int, home: Home, tmp_path: Path
) -> None:
    assert months_closed_one_after_the_other_differ(seed, home, tmp_path, BATCH) == []


@pytest.mark.skipif(SOAK == 0, reason="a soak: make soak")
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + -(-SOAK // SOAK_BATCH)))
def test_thousands_of_histories_closed_month_by_month(seed: int, home: Home, tmp_path: Path) -> None:
    assert months_closed_one_after_the_other_differ(seed, home, tmp_path, SOAK_BATCH) == []
