"""Homes to build on both engines; together they have every kind of row that a report can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from pipeline.alerts import send_alerts
from pipeline.cli.demo_run import run_demo
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.demo.events import AS_OF
from pipeline.landing import land_files
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.approvals import approve
from pipeline.ledger.close import close_period
from pipeline.store.alert_log import DELIVERIES, OperationalAlert, append_rows, raise_alert
from pipeline.store.publications import PUBLICATIONS
from pipeline.stripe.client import local_emulator
from pipeline.stripe.credit_notes import issue_credit_note
from pipeline.stripe.mirror import sync_stripe
from pipeline.stripe.publish import publish_period
from pipeline.warehouse.build import build
from tests.models.test_against_reference import land_listings, land_records, project_of
from tests.models.test_real_grid_usage import DATA, FILES
from tests.reference.strategies import random_batch, to_jsonl_parts
from tests.support import query, write_jsonl


@dataclass(frozen=True)
class Built:
    """A home built by DuckDB, with what Spark needs to build it, too."""

    home: Home
    as_of: datetime
    project: Path = PROJECT_ROOT


def demo(folder: Path) -> Built:
    """The demo's month and a half, with changes to its invoices in Stripe."""
    home = Home.open(folder / "home")
    run_demo(home, as_json=True)
    change_in_stripe(home, AS_OF, folder)
    return Built(home, AS_OF)


def grid(folder: Path) -> Built:
    """Eleven days of usage of a computing grid, with one of two months closed."""
    home, as_of = Home.open(folder / "home"), datetime(2006, 1, 1, tzinfo=UTC)
    land_files(home, [DATA / name for name in FILES])
    build(home, as_of)
    close_period(home, BillingPeriod(2005, 11))
    _land_samples(home, folder)
    build(home, as_of)
    return Built(home, as_of)


def random_histories(folder: Path, seed: int, customers: int) -> Built:
    """Random histories and a random price book; the first month is closed before the last third of the events lands."""
    batch = random_batch(Random(seed), customers)
    project = project_of(batch, folder)
    home = Home.open(folder / "home")
    parts = to_jsonl_parts(batch, folder / "events", 3)
    land_records(batch, home, folder / "records", project)
    land_files(home, parts[:2], seeds=project / "seeds")
    land_listings(batch.listings, home, folder / "listings.jsonl")
    build(home, batch.as_of, project=project)
    for period in _ended_months(home, batch.as_of)[:1]:
        close_period(home, period, force=True, project=project)
    land_files(home, parts[2:], seeds=project / "seeds")
    _land_samples(home, folder)
    build(home, batch.as_of, project=project)
    return Built(home, batch.as_of, project)


def small(home: Home, folder: Path) -> Built:
    """A few random histories with the current price book; the first month, partly on Pro, is closed and in Stripe.

    The raw files of each day are merged if the settings say so.
    """
    batch = random_batch(Random(275), 14, vary_prices=False)
    land_records(batch, home, folder / "records", PROJECT_ROOT)
    land_files(home, to_jsonl_parts(batch, folder / "events", 2))
    land_listings(batch.listings, home, folder / "listings.jsonl")
    merge_raw_files(home)
    build(home, batch.as_of)
    for period in _ended_months(home, batch.as_of)[:1]:
        close_period(home, period, force=True)
        approve(home, period, everything=True, by="parity")
        with local_emulator(home) as stripe:
            assert publish_period(home, period, client=stripe).problems == []
    change_in_stripe(home, batch.as_of, folder)
    return Built(home, batch.as_of)


def change_in_stripe(home: Home, as_of: datetime, folder: Path) -> None:
    """Pay, void, write off, edit and credit invoices in Stripe; raise and send alerts; then build."""
    fates: tuple[Callable[[Any, str], Any], ...] = (
        lambda invoices, id: invoices.pay(id),
        lambda invoices, id: invoices.void_invoice(id),
        lambda invoices, id: invoices.mark_uncollectible(id),
        lambda invoices, id: invoices.update(id, {"metadata": {"billhouse_content_hash": "by hand"}}),
    )
    published = sorted(PUBLICATIONS.read(home).to_pylist(), key=lambda row: (row["total_amount"], row["invoice_id"]))
    lines = (
        "from invoice_lines inner join fees on rate_id = fee_id where line_type = 'fee' and contract_id is null and amount > 0"
    )
    on_a_plan_with_a_fee = {row["invoice_id"] for row in query(home, f"select distinct invoice_id {lines}")}
    credited = [row for row in published if row["invoice_id"] in on_a_plan_with_a_fee][-1]["invoice_id"]
    others = [row["stripe_invoice_id"] for row in published if row["invoice_id"] != credited]
    with local_emulator(home) as stripe:
        for stripe_invoice_id, fate in zip(others, fates, strict=False):
            fate(stripe.client.v1.invoices, stripe_invoice_id)
        sync_stripe(home, client=stripe)
        _put_on_hobby(home, credited, folder)
        issue_credit_note(home, credited, by="parity", memo="It's 100 % ours", client=stripe)
        sync_stripe(home, client=stripe)
    _land_samples(home, folder)
    _alert(home, as_of)
    build(home, as_of)


def _put_on_hobby(home: Home, invoice_id: str, folder: Path) -> None:
    """Land a correction: the customer was always on hobby, so the billed plan fee is not due."""
    rows = query(
        home,
        "select customer_id, 'hobby' as plan_id, strftime(starts_at, '%Y-%m-%dT%H:%M:%S.%fZ') as effective_at from subscriptions"
        " where customer_id in (select customer_id from invoices where invoice_id = ?)",
        invoice_id,
    )
    land_files(home, [write_jsonl(folder / "on-hobby.jsonl", rows)], Kind.SUBSCRIPTIONS)


def _alert(home: Home, as_of: datetime) -> None:
    """Record limit alerts, and an operational alert on two channels: one delivers it at the second attempt, one rejects it."""
    send_alerts(home, now=as_of)
    failure = OperationalAlert("publish_failed", "publish 2024-01", 'Stripe said "no" & stayed there.')
    alert_id = raise_alert(home, failure, ["webhook", "slack"], now=as_of)
    for channel, outcome, attempts in (("webhook", "failed", 4), ("webhook", "delivered", 1), ("slack", "rejected", 1)):
        delivery = {"alert_id": alert_id, "channel": channel, "outcome": outcome, "attempts": attempts}
        append_rows(home, DELIVERIES, [delivery | {"detail": "", "tried_at": as_of}])


def _land_samples(home: Home, folder: Path) -> None:
    """Land resource samples of some sandboxes: some twice in a minute, some corrected later."""
    rows = query(
        home,
        """
        select
            sandbox_id,
            strftime(started_at + to_seconds(23 * sample), '%Y-%m-%dT%H:%M:%S.%fZ') as timestamp,
            cast((number * 7 + sample * 13) % 100 as varchar) || '.125' as cpu_used_pct,
            (number + sample * 7919) * 1000003 as mem_bytes
        from
            (select *, cast(epoch_us(started_at) // 1000000 % 9973 as bigint) as number from sessions),
            range(12) as samples(sample)
        where duration_microseconds > 60000000
        order by started_at, session_id, sample
        limit 4000""",
    )
    for number, part in enumerate((rows, [row | {"mem_bytes": 5} for row in rows[::5]])):
        if part:
            land_files(home, [write_jsonl(folder / f"samples-{number}.jsonl", part)], Kind.METRICS)


def _ended_months(home: Home, as_of: datetime) -> list[BillingPeriod]:
    """The months with drafts that have ended, in order."""
    periods = [BillingPeriod.parse(row["period"]) for row in query(home, "select distinct period from invoices order by period")]
    return [period for period in periods if period.end <= as_of]
