"""The figures that monitoring reads: health/billhouse.prom, in Prometheus' text format, for node_exporter's textfile collector.

They are for watching, not for booking: Prometheus knows floats only. Instants are seconds since 1970, so that an age is
`time() - billhouse_last_build_timestamp_seconds`, whenever it is asked.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import generate_latest

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.core.sql import parquet_files
from pipeline.store.alert_log import count_unsent
from pipeline.store.manifest import manifest_head
from pipeline.warehouse.build import last_build
from pipeline.warehouse.reports import open_reports


def write_health(home: Home) -> Path:
    """Write the figures anew, as of what has landed, been built and been mirrored; returns the file, replaced by rename.

    Safe at any time and beside any writer: it reads raw/, ledger/ and the analysts' copy only.
    """
    registry = CollectorRegistry()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _landing(registry, connection, home)
        _alerts(registry, connection, home)
        head = Gauge("billhouse_manifest_info", "The head of the manifest, as its label.", ["head"], registry=registry)
        head.labels(manifest_head(home)).set(1)
        if home.analysts_file.exists():
            _build(registry, home)
            current = Gauge(
                "billhouse_reports_current", "0 until a build replaces the reports of an earlier version.", registry=registry
            )
            with open_reports(home) as reports:
                try:
                    _money(registry, reports)
                    _stripe(registry, reports)
                    current.set(1)
                except duckdb.CatalogException:
                    # Reports of an earlier version lack a table or two until the next build; no alert waits for that.
                    current.set(0)
    home.health.parent.mkdir(mode=0o700, exist_ok=True)
    with replace_atomically(home.health, scratch=home.scratch) as path:
        path.write_bytes(generate_latest(registry))
    return home.health


def _landing(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    rows = Gauge("billhouse_landed_rows", "Rows of usage that landed, by what became of them.", ["outcome"], registry=registry)
    files = Gauge("billhouse_landed_files", "Files that landed, of any kind.", registry=registry)
    share = Gauge("billhouse_quarantined_ratio", "Quarantined rows of those received, of all usage.", registry=registry)
    latest = Gauge("billhouse_last_landing_timestamp_seconds", "When a file landed last.", registry=registry)
    folder = home.raw / "landed_files"
    if not any(folder.glob("*.parquet")):
        return
    accepted, duplicates, quarantined, received, count, last = connection.execute(
        f"""
        select
            coalesce(sum(accepted_rows) filter (kind = 'usage'), 0), coalesce(sum(duplicate_rows) filter (kind = 'usage'), 0),
            -- Rows that were judged again have been received once, and are no longer in quarantine as what they were.
            coalesce(sum(quarantined_rows) filter (kind = 'usage'), 0)
                - coalesce(sum(received_rows) filter (kind = 'usage' and retried_file_id is not null), 0),
            coalesce(sum(received_rows) filter (kind = 'usage' and retried_file_id is null), 0),
            count(*) filter (retried_file_id is null), max(landed_at)
        from {parquet_files(folder, "*.parquet")}"""
    ).fetchall()[0]
    for outcome, number in (("accepted", accepted), ("duplicate", duplicates), ("quarantined", quarantined)):
        rows.labels(outcome).set(number)
    files.set(count)
    share.set(quarantined / received if received else 0)
    if last is not None:
        latest.set(last.timestamp())


def _alerts(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    unsent = Gauge("billhouse_unsent_alerts", "Alerts that have not reached a channel yet.", registry=registry)
    unsent.set(count_unsent(home, connection))


def _build(registry: CollectorRegistry, home: Home) -> None:
    finished = Gauge("billhouse_last_build_timestamp_seconds", "When the reports were last replaced.", registry=registry)
    finished.set(home.analysts_file.stat().st_mtime)
    record = last_build(home)
    if record is not None:
        as_of = Gauge("billhouse_as_of_timestamp_seconds", "The instant that the reports are as of.", registry=registry)
        as_of.set(record.as_of.timestamp())


def _money(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection) -> None:
    invoices = Gauge("billhouse_invoices", "Invoices by status.", ["status"], registry=registry)
    for status, number in connection.execute("select status, count(*) from invoices group by all").fetchall():
        invoices.labels(status).set(number)
    unbilled = Gauge("billhouse_unbilled_amount", "What drafts come to, before credits.", ["currency"], registry=registry)
    for currency, amount in connection.execute(
        "select currency, sum(case when status = 'draft' then subtotal_amount else 0 end) from invoices group by all"
    ).fetchall():
        unbilled.labels(currency).set(amount)
    breaches = Gauge(
        "billhouse_limit_breaches", "Breaches of limits in the latest month that has any.", ["limit"], registry=registry
    )
    for limit, number in connection.execute(
        "select limit_kind, count(*) from limit_breaches where period = (select max(period) from limit_breaches) group by all"
    ).fetchall():
        breaches.labels(limit).set(number)


def _stripe(registry: CollectorRegistry, connection: duckdb.DuckDBPyConnection) -> None:
    differing = Gauge("billhouse_stripe_differences", "Invoices that differ between Stripe and the ledger.", registry=registry)
    drift = Gauge("billhouse_stripe_drift_amount", "How far their totals are apart.", ["currency"], registry=registry)
    overdue = Gauge("billhouse_overdue_amount", "What customers owe past its due date.", ["currency"], registry=registry)
    synced = Gauge("billhouse_last_sync_timestamp_seconds", "When Stripe was mirrored last.", registry=registry)
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
