"""Metrics: health/billhouse.prom in Prometheus' text format, for node_exporter's textfile collector.

Amounts are floats, as Prometheus requires: use them for monitoring, not for accounting. Instants are seconds since 1970, so the
age of the last build is `time() - billhouse_last_build_timestamp_seconds`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import duckdb
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import generate_latest

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.periods import BillingPeriod
from pipeline.landing.index_state import landing_totals
from pipeline.landing.quarantine_report import settled_rows
from pipeline.landing.record_kinds import Kind
from pipeline.landing.waiting import waiting_inbox_files
from pipeline.store.alert_log import count_unsent
from pipeline.store.manifest import manifest_head
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.reports import invoices_without_approval, open_reports


@contextmanager
def updated_health(home: Home) -> Iterator[None]:
    """Write the metrics after a block, also if it failed: it may have built or closed before. Raises what the block raises."""
    try:
        yield
    except Exception:
        with suppress(Exception):
            write_health(home)
        raise
    write_health(home)


def write_health(home: Home) -> Path:
    """Write the metrics of the current state; return the file, which is replaced atomically.

    Safe at any time, also during a write: it reads only raw/, ledger/, the build record and the analysts' file. One command at a
    time reads the state and writes it, so the file never goes back to an earlier state. Raises BillhouseError if another
    command has been writing it for a minute.
    """
    home.health.parent.mkdir(mode=0o700, exist_ok=True)
    with (
        hold_lock(home.path / ".health.lock", activity="writing the metrics", timeout_seconds=60),
        replace_atomically(home.health, scratch=home.scratch) as path,
    ):
        path.write_bytes(generate_latest(_current_metrics(home)))
    return home.health


def _current_metrics(home: Home) -> CollectorRegistry:
    registry = CollectorRegistry()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _disk_metrics(registry, home)
        _feed_metrics(registry, home)
        _landing_metrics(registry, home)
        _alert_metrics(registry, connection, home)
        head = Gauge("billhouse_manifest_info", "The head of the manifest, as the label.", ["head"], registry=registry)
        head.labels(manifest_head(home)).set(1)
        if home.analysts_file.exists():
            _build_metrics(registry, home)
            current = Gauge(
                "billhouse_reports_current",
                "1 if this version built the reports, 0 if an earlier one did.",
                registry=registry,
            )
            with open_reports(home) as reports:
                try:
                    _invoice_metrics(registry, home, reports)
                    _stripe_metrics(registry, reports)
                    current.set(1)
                except duckdb.CatalogException:
                    # Reports of an earlier version can lack tables until the next build; alerts must not wait for it.
                    current.set(0)
    return registry


def _disk_metrics(registry: CollectorRegistry, home: Home) -> None:
    disk = shutil.disk_usage(home.path)
    free = Gauge("billhouse_disk_free_bytes", "Free space of the disk of the home.", registry=registry)
    size = Gauge("billhouse_disk_size_bytes", "Size of the disk of the home.", registry=registry)
    free.set(disk.free)
    size.set(disk.total)


def _feed_metrics(registry: CollectorRegistry, home: Home) -> None:
    """Feeds that have stored a position, by name, and the files that they and others put into the inbox."""
    position = Gauge(
        "billhouse_feed_position_timestamp_seconds", "When a feed last stored its position.", ["feed"], registry=registry
    )
    files = Gauge("billhouse_feed_files", "Files that a feed has written to the inbox.", ["feed"], registry=registry)
    for path in sorted(home.collecting.glob("*.json")):
        with suppress(OSError, ValueError):  # it may be replaced or removed meanwhile
            position.labels(path.stem).set(path.stat().st_mtime)
            files.labels(path.stem).set(int(json.loads(path.read_text(encoding="utf-8")).get("files") or 0))
    waiting = Gauge("billhouse_inbox_files", "Files in the inbox that wait to land.", registry=registry)
    oldest = Gauge("billhouse_inbox_oldest_timestamp_seconds", "When the oldest of them was written.", registry=registry)
    instants = [file.written_at for file in waiting_inbox_files(home)]
    waiting.set(len(instants))
    oldest.set(min(instants, default=time.time()))


def _landing_metrics(registry: CollectorRegistry, home: Home) -> None:
    rows = Gauge("billhouse_landed_rows", "Landed usage rows, by outcome.", ["outcome"], registry=registry)
    files = Gauge("billhouse_landed_files", "Landed files of all kinds.", registry=registry)
    share = Gauge("billhouse_quarantined_ratio", "Share of the received usage rows that wait in quarantine.", registry=registry)
    latest = Gauge("billhouse_last_landing_timestamp_seconds", "When the last file landed.", registry=registry)
    totals = landing_totals(home)
    if totals is None:
        return
    settled = settled_rows(home, Kind.USAGE)
    quarantined = totals.quarantined - settled
    for outcome, number in (
        ("accepted", totals.accepted),
        ("duplicate", totals.duplicates),
        ("quarantined", quarantined),
        ("settled", settled),
    ):
        rows.labels(outcome).set(number)
    files.set(totals.files)
    share.set(quarantined / totals.received if totals.received else 0)
    if totals.last_landed_at:
        latest.set(datetime.fromisoformat(totals.last_landed_at).timestamp())


def _alert_metrics(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    unsent = Gauge("billhouse_unsent_alerts", "Alerts not yet delivered; an alert counts once per channel.", registry=registry)
    unsent.set(count_unsent(home, connection))


def _build_metrics(registry: CollectorRegistry, home: Home) -> None:
    finished = Gauge("billhouse_last_build_timestamp_seconds", "When the last build replaced the reports.", registry=registry)
    finished.set(home.analysts_file.stat().st_mtime)
    record = last_build(home)
    if record is not None:
        as_of = Gauge("billhouse_as_of_timestamp_seconds", "The as-of instant of the reports.", registry=registry)
        as_of.set(record.as_of.timestamp())
        took = Gauge("billhouse_build_seconds", "What the last build took, of wall clock.", registry=registry)
        took.set(record.seconds)


def _invoice_metrics(registry: CollectorRegistry, home: Home, connection: duckdb.DuckDBPyConnection) -> None:
    invoices = Gauge("billhouse_invoices", "Invoices by status.", ["status"], registry=registry)
    for status, number in connection.execute("select status, count(*) from invoices group by all").fetchall():
        invoices.labels(status).set(number)
    waiting = Gauge("billhouse_invoices_awaiting_approval", "Invoices that wait for approval.", registry=registry)
    waiting.set(sum(not invoice.is_automatic for invoice in invoices_without_approval(home, connection)))
    unbilled = Gauge("billhouse_unbilled_amount", "Subtotal of the drafts, before credits.", ["currency"], registry=registry)
    for currency, amount in connection.execute(
        "select currency, sum(case when status = 'draft' then subtotal_amount else 0 end) from invoices group by all"
    ).fetchall():
        unbilled.labels(currency).set(amount)
    month_end = Gauge(
        "billhouse_draft_month_end_timestamp_seconds", "End of each month that has drafts.", ["period"], registry=registry
    )
    for (period,) in connection.execute("select distinct period from invoices where status = 'draft'").fetchall():
        month_end.labels(period).set(BillingPeriod.parse(period).end.timestamp())
    ignored = Gauge(
        "billhouse_ignored_events", "Accepted usage events without effect on a session, by reason.", ["reason"], registry=registry
    )
    for reason, number in connection.execute("select reason, count(*) from ignored_events group by all").fetchall():
        ignored.labels(reason).set(number)
    breaches = Gauge("billhouse_limit_breaches", "Limit breaches in the latest month that has any.", ["limit"], registry=registry)
    for limit, number in connection.execute(
        "select limit_kind, count(*) from limit_breaches where period = (select max(period) from limit_breaches) group by all"
    ).fetchall():
        breaches.labels(limit).set(number)


def _stripe_metrics(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection) -> None:
    differing = Gauge("billhouse_stripe_differences", "Invoices that differ between Stripe and the ledger.", registry=registry)
    drift = Gauge("billhouse_stripe_drift_amount", "Sum of their absolute differences.", ["currency"], registry=registry)
    overdue = Gauge("billhouse_overdue_amount", "Amount that customers owe past the due date.", ["currency"], registry=registry)
    synced = Gauge("billhouse_last_sync_timestamp_seconds", "When the last sync with Stripe ran.", registry=registry)
    differing.set(0)
    for currency, differences, apart, late, at in connection.execute(
        """
        select
            currency, count(*) filter (difference <> 'none'),
            sum(abs(coalesce(total_amount, 0) - coalesce(stripe_total_amount, 0))) filter (difference <> 'none'),
            sum(overdue_amount), max(synced_at)
        from stripe_reconciliation group by currency"""
    ).fetchall():
        differing.inc(differences)
        drift.labels(currency).set(apart or 0)
        overdue.labels(currency).set(late or 0)
        synced.set(at.timestamp())
