"""What the demo's usage has to show: the same bytes every time, and every trouble that billing must get through."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.demo.dataset import DemoFiles, generate

pytestmark = pytest.mark.xdist_group("demo_data")

EVENTS = """
    create table events as
    with
    json_events as (
        select *, regexp_extract(filename, '(\\w+)-2026', 1) as collector
        from read_json('{folder}/usage/*.jsonl.gz', ignore_errors = true, filename = true, union_by_name = true, columns = {{
            event_id: 'varchar', sandbox_id: 'varchar', user_id: 'varchar', timestamp: 'varchar', event_type: 'varchar',
            resources: 'struct(vcpu_count varchar, memory_gb varchar, storage_gb varchar)',
            vcpu_count: 'varchar', memory_gb: 'varchar', storage_gb: 'varchar'}})
    ),
    all_events as (
        select filename, collector, event_id, sandbox_id, user_id, timestamp, event_type,
            coalesce(resources.vcpu_count, vcpu_count) as vcpu_count,
            coalesce(resources.memory_gb, memory_gb) as memory_gb,
            coalesce(resources.storage_gb, storage_gb) as storage_gb, null as execution_id
        from json_events
        union all
        select filename, 'edge', null, sandbox_id, user_id, timestamp, event_type,
            vcpu_count, memory_gb, storage_gb, null
        from read_csv('{folder}/usage/edge-*.csv', all_varchar = true, filename = true)
        union all
        select filename, 'cluster', event_id, sandbox_id, user_id, cast(timestamp as varchar), event_type,
            cast(vcpu_count as varchar), cast(memory_gb as varchar), cast(storage_gb as varchar), execution_id
        from read_parquet('{folder}/usage/cluster-*.parquet', filename = true)
    )
    select
        * replace (parse_filename(filename) as filename, lower(replace(event_type, '_', '')) as event_type,
            try_cast(vcpu_count as double) as vcpu_count, try_cast(memory_gb as double) as memory_gb,
            try_cast(storage_gb as double) as storage_gb),
        event_type as spelling,
        try_cast(timestamp as timestamptz) as event_at
    from all_events
"""

AMOUNTS = """
    create table amounts as
    with
    states as (
        select
            user_id, event_type, coalesce(vcpu_count, 2) as vcpu_count, coalesce(memory_gb, 0.5) as memory_gb,
            epoch(lead(event_at) over (
                partition by sandbox_id, execution_id order by event_at, event_type
            ) - event_at) as seconds
        from events
        where event_at < '2026-10-01' and not isnan(coalesce(vcpu_count, 0))
    )
    select user_id, sum(seconds * (vcpu_count * 0.000014 + memory_gb * 0.0000045)) as amount
    from states
    where event_type <> 'sandboxstopped' and seconds < 86400
    group by user_id
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return generate(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def events(files: DemoFiles) -> duckdb.DuckDBPyConnection:
    """Every row of the usage files that reads at all, repeats included, in one table `events`."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(EVENTS.format(folder=files.folder))
    return connection


def one(events: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The single value of a query."""
    return events.sql(query).fetchall()[0][0]


def hashes(files: DemoFiles) -> list[tuple[str, str]]:
    paths = [path for _, paths in files.landings for path in paths]
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def test_the_same_seed_gives_the_same_bytes(files: DemoFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        progress: list[tuple[str, int, int]] = []
        assert hashes(generate(tmp_path, on_progress=lambda *step: progress.append(step))) == hashes(files)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [done for _, done, _ in progress] == list(range(1, len(files.usage) + 1))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == sorted(name for name, _ in hashes(files))


def test_another_seed_gives_another_history(files: DemoFiles, tmp_path: Path) -> None:
    assert not {digest for _, digest in hashes(files)[:2]} & {digest for _, digest in hashes(generate(tmp_path, 2))}


def test_a_month_and_a_half_of_usage_in_every_format(files: DemoFiles, events: duckdb.DuckDBPyConnection) -> None:
    assert 200_000 < one(events, "select count(*) from events") < 400_000
    assert (files.as_of, str(files.period)) == (datetime(2026, 10, 16, tzinfo=UTC), "2026-09")
    assert one(events, "select min(event_at) >= '2026-09-01' from events")
    assert one(events, "select count(*) from events where event_at >= '2026-10-16'") == 1  # From the future.
    assert {"".join(path.suffixes) for path in files.usage} == {".jsonl.gz", ".csv", ".parquet"}
    assert one(events, "select count(distinct spelling) from events where sandbox_id not like 'sbx_b0%'") == 6


def test_customers_are_on_all_plans_and_some_names_look_like_formulas_or_contain_commas(files: DemoFiles) -> None:
    with files.customers[0].open(encoding="utf-8", newline="") as stream:
        customers = list(csv.DictReader(stream))
    names = {row["name"] for row in customers}
    assert 250 <= len(customers) == len({row["customer_id"] for row in customers}) == len(names)
    assert {"Acme Robotics", "+Plus Analytics", "Lindqvist, Berg & Co"} <= names
    assert any(row["monthly_spend_limit"] for row in customers)
    records = [json.loads(line) for path in files.subscriptions for line in path.read_text().splitlines()]
    assert {record["plan_id"] for record in records} == {"hobby", "pro", "enterprise"}
    # No record reaches back before the first month: that would be billed, too.
    assert min(record["effective_at"] for record in records) == "2026-09-01T00:00:00Z"


def test_plans_change_mid_month_are_cancelled_and_corrected(files: DemoFiles) -> None:
    first, corrected = (path.read_text().splitlines() for path in files.subscriptions)
    records = [json.loads(line) for line in first]
    by_customer: dict[str, list[str]] = {}
    for record in records:
        by_customer.setdefault(record["customer_id"], []).append(record["plan_id"])
    histories = [tuple(plans) for plans in by_customer.values()]
    assert histories.count(("hobby", "pro")) >= 10
    assert histories.count(("pro", "hobby")) >= 3
    assert ("hobby", "pro", "hobby") in histories
    written = {(record["customer_id"], record["effective_at"]): record["plan_id"] for record in records}
    for correction in map(json.loads, corrected):
        assert written[correction["customer_id"], correction["effective_at"]] == "pro" != correction["plan_id"]


def test_events_come_twice_in_one_file_and_across_files(events: duckdb.DuckDBPyConnection) -> None:
    repeats = "select {} from events where {} group by all having count(*) > 1"
    in_one_file = repeats.format("filename, event_id, event_at", "event_id is not null")
    assert one(events, f"select count(*) from ({in_one_file})") > 100
    across = "select event_id from events where event_id is not null group by 1 having count(distinct filename) > 1"
    assert one(events, f"select count(*) from ({across})") > 100
    nameless = repeats.format("sandbox_id, event_at, event_type", "event_id is null")
    assert one(events, f"select count(*) from ({nameless})") > 50


def test_starts_and_stops_are_lost_and_sandboxes_start_again(events: duckdb.DuckDBPyConnection) -> None:
    runs = (
        "select user_id, sandbox_id, execution_id,"
        " count(distinct event_at) filter (event_type = 'sandboxstarted') as starts,"
        " count(distinct event_at) filter (event_type = 'sandboxstopped') as stops,"
        " arg_min(event_type, event_at) as first_type from events group by all"
    )
    assert one(events, f"select count(*) from ({runs}) where stops < starts") > 300
    assert one(events, f"select count(*) from ({runs}) where first_type = 'sandboxstopped'") > 100
    assert one(events, f"select count(*) from ({runs}) where first_type = 'resourcesupdated'") > 10
    assert one(events, f"select count(*) from ({runs}) where starts > 1 and stops < starts") > 10
    executions = "select sandbox_id from events group by 1 having count(distinct execution_id) > 1"
    assert one(events, f"select count(*) from ({executions})") > 100


def test_september_s_last_events_land_after_october_s_first_files(files: DemoFiles, events: duckdb.DuckDBPyConnection) -> None:
    order = [path.name for path in files.usage]
    late = order.index("gateway-2026-09-29-late.jsonl.gz")
    assert order.index("gateway-2026-10-02.jsonl.gz") < late < order.index("gateway-2026-10-15.jsonl.gz")
    late_events = "from events where filename like '%late%' and event_at < '2026-10-01'"
    assert one(events, f"select count(*) {late_events}") > 500
    assert order[0] == "gateway-2026-09-01.jsonl.gz"


def test_files_are_out_of_order_and_sessions_cross_midnight_and_the_month_s_end(
    files: DemoFiles, events: duckdb.DuckDBPyConnection
) -> None:
    with (files.folder / "usage" / "edge-2026-09-08.csv").open() as stream:
        instants = [row["timestamp"] for row in csv.DictReader(stream)]
    assert instants != sorted(instants)
    sessions = (
        "select min(event_at) as first_at, max(event_at) as last_at from events where user_id is not null"
        " group by sandbox_id, execution_id"
    )
    assert one(events, f"select count(*) from ({sessions}) where first_at < '2026-10-01' and last_at > '2026-10-01'") > 20


def test_a_collector_sends_a_heartbeat_every_minute_that_mostly_changes_nothing(events: duckdb.DuckDBPyConnection) -> None:
    ticks = (
        "select event_at - lag(event_at) over sandbox as gap, vcpu_count = lag(vcpu_count) over sandbox as is_same,"
        " vcpu_count from (select distinct on (event_id) * from events where collector = 'ticker'"
        " and event_type = 'resourcesupdated') window sandbox as (partition by sandbox_id, user_id order by event_at)"
    )
    assert one(events, f"select avg((gap = interval 1 minute and is_same)::int) from ({ticks})") > 0.9


def test_resources_change_and_are_absent_on_some_starts(events: duckdb.DuckDBPyConnection) -> None:
    starts = "from events where event_type = 'sandboxstarted'"
    assert 0.01 < one(events, f"select avg((vcpu_count is null)::int) {starts}") < 0.1
    assert one(events, f"select count(*) {starts} and vcpu_count is not null and storage_gb is null") > 100
    assert one(events, "select count(*) from events where collector <> 'ticker' and event_type = 'resourcesupdated'") > 1000


def test_every_reason_for_quarantine_has_a_row(files: DemoFiles, events: duckdb.DuckDBPyConnection) -> None:
    """Billing rules, section 3; landing gives these rows their reasons."""
    conflicts = (
        "select event_id from events where event_id <> '' group by 1 having count(distinct vcpu_count || '/' || storage_gb) > 1"
    )
    assert one(events, f"select count(*) from ({conflicts})") == 2
    wrong_owners = "select sandbox_id from events where sandbox_id <> '' group by 1 having count(distinct user_id) > 1"
    assert one(events, f"select count(*) from ({wrong_owners})") == 2
    assert one(events, "select count(*) from events where sandbox_id is null and user_id <> ''") == 3  # missing_field
    assert one(events, "select count(*) from events where event_at is null") == 3  # bad_timestamp: 2, unreadable: 1
    assert one(events, "select count(*) from events where event_at > '2027-01-01'") == 1  # future_timestamp
    assert one(events, "select count(*) from events where event_type = 'sandboxpaused'") == 1  # bad_event_type
    assert one(events, "select count(*) from events where vcpu_count < 0 or isnan(vcpu_count) or vcpu_count > 1e9") == 3


def test_amounts_are_realistic(files: DemoFiles, events: duckdb.DuckDBPyConnection) -> None:
    """At list prices, roughly: most of hobby within its credit of 100 USD, pro tens to hundreds, acme thousands."""
    events.execute(AMOUNTS)
    plans = {
        record["customer_id"]: record["plan_id"]
        for record in reversed([json.loads(line) for line in files.subscriptions[0].read_text().splitlines()])
    }
    amounts: dict[str, list[float]] = {"hobby": [], "pro": [], "enterprise": []}
    for customer_id, amount in events.sql("select user_id, amount from amounts").fetchall():
        if customer_id in plans:
            amounts[plans[customer_id]].append(amount)
    over_credit = sum(amount > 100 for amount in amounts["hobby"])
    assert 3 <= over_credit < 0.15 * len(amounts["hobby"])
    pro = sorted(amounts["pro"])
    assert 30 < pro[len(pro) // 2] < 150 and pro[-1] < 1500
    assert 2000 < one(events, "select amount from amounts where user_id = 'acme-robotics'") < 10_000


def test_some_sandboxes_have_a_sample_a_minute_while_they_run(files: DemoFiles, events: duckdb.DuckDBPyConnection) -> None:
    (path,) = files.metrics
    samples = f"read_parquet('{path}')"
    assert 10_000 < one(events, f"select count(*) from {samples}") < 50_000
    used = events.sql(f"select min(cpu_used_pct), max(cpu_used_pct), min(mem_bytes) from {samples}").fetchall()[0]
    assert 0 < used[0] < used[1] <= 100 and used[2] > 0
    outside = f"""
        select count(*) from {samples} as samples
        where not exists (
            select 1 from (
                select sandbox_id, execution_id, min(event_at) as starts_at, max(event_at) as ends_at
                from events where collector = 'cluster' group by all
            ) as runs
            where runs.sandbox_id = samples.sandbox_id and samples.timestamp between runs.starts_at and runs.ends_at
        )"""
    assert one(events, outside) == 0
