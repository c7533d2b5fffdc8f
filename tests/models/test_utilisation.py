"""Used against billed resources: the example in the docs, and random days against the reference."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.home import Home
from pipeline.core.sql import rows_as_dictionaries
from pipeline.landing.record_kinds import Kind
from tests.reference.utilisation import Piece, Sample, rounded, utilisation
from tests.support import billhouse, event, prepare, query, write_jsonl

GB = 2**30
START = datetime(2026, 9, 1, 10, tzinfo=UTC)
VCPU_RATE, MEMORY_RATE = Decimal("0.000014"), Decimal("0.0000045")


def sample(minute: int, cpu: float, gigabytes: float, sandbox: str = "box", second: int = 0) -> dict[str, Any]:
    instant = START + timedelta(minutes=minute, seconds=second)
    memory = int(gigabytes * GB)
    return {"sandbox_id": sandbox, "timestamp": instant.isoformat(), "cpu_used_pct": cpu, "mem_bytes": memory}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """The page's example: an hour of 4 vCPUs and 8 GB, busy in three minutes; and a sandbox without samples."""
    events = [
        event("start", START.isoformat(), vcpu_count=4, memory_gb=8),
        event("stop", (START + timedelta(hours=1)).isoformat()),
        event("start", START.isoformat(), sandbox="unseen", vcpu_count=2, memory_gb=1),
    ]
    samples = [sample(minute, 100 if minute in (7, 8, 40) else 25, 1.7 if minute == 30 else 1) for minute in range(60)]
    samples.append(sample(75, 90, 7))  # when nothing was billed
    samples.append(sample(0, 50, 1, sandbox="unknown"))
    records = {Kind.USAGE: events, Kind.METRICS: samples}
    folder = prepare(tmp_path_factory.mktemp("utilisation") / "home", parsed_project, records, ("build", "--as-of", "2026-09-02"))
    return Home(folder)


def test_the_worked_example_comes_to_what_the_page_says(home: Home) -> None:
    (row,) = query(home, "from utilisation_daily")
    assert (row["customer_id"], row["sandbox_id"], row["usage_date"], row["currency"]) == ("ada", "box", date(2026, 9, 1), "USD")
    assert (row["billed_seconds"], row["sampled_minutes"]) == (3600, 60)
    assert (row["average_vcpus_used"], row["busy_vcpus_used"], row["peak_vcpus_used"]) == (Decimal("1.15"), 1, 4)
    assert row["cpu_used_percent"] == Decimal("28.75")
    assert (row["peak_memory_gb_used"], row["memory_used_percent"]) == (Decimal("1.7"), Decimal("12.65"))
    assert (row["fitting_vcpu_count"], row["fitting_memory_gb"]) == (1, 2)
    assert (row["list_amount"], row["fitting_list_amount"]) == (Decimal("0.3312"), Decimal("0.0828"))
    (session,) = query(home, "select list_amount from sessions where sandbox_id = 'box'")
    assert row["list_amount"] == session["list_amount"]


def test_late_and_corrected_samples_change_the_days_they_are_of(home: Home, tmp_path: Path) -> None:
    """A session that continues changes its earlier days, too: they are recomputed."""
    samples = [sample(minute, 100, 1.7) for minute in (9, 9, 10)]  # four busy minutes are more than 5 of 100
    samples += [sample(24 * 60 + minute, 50, 1, sandbox="unseen", second=second) for minute in range(3) for second in (5, 35)]
    more = [event("stop", (START + timedelta(days=1, minutes=1, seconds=30)).isoformat(), sandbox="unseen")]
    for kind, rows in ((Kind.METRICS, samples), (Kind.USAGE, more)):
        landed = billhouse(home.path, "land", "--kind", kind, write_jsonl(tmp_path / f"{kind}.jsonl", rows))
        assert landed.code == 0, landed.stderr
    assert billhouse(home.path, "build", "--as-of", "2026-09-03").code == 0
    rows = query(
        home,
        "select sandbox_id, usage_date, sampled_minutes, busy_vcpus_used, fitting_vcpu_count, list_amount from utilisation_daily",
    )
    assert [tuple(row.values())[:5] for row in rows] == [
        ("box", date(2026, 9, 1), 60, 4, 4),
        ("unseen", date(2026, 9, 2), 2, 1, 1),
    ]
    assert rows[0]["list_amount"] == Decimal("0.3312")


sizes = st.sampled_from([Decimal(size) for size in ("0", "0.5", "1", "2", "4", "8", "0.000001", "3.333333")])
END = START + timedelta(minutes=45)
instants = st.integers(0, 45 * 60_000_000).map(lambda microseconds: START + timedelta(microseconds=microseconds))
rates = st.sampled_from([None, VCPU_RATE, Decimal("0.000001234567")])


@st.composite
def days_of_sandboxes(draw: st.DrawFn) -> tuple[list[Piece], list[Sample]]:
    """Part of an hour of some sandboxes, resized and stopped as it comes, and samples of them in the order of landing."""
    pieces: list[Piece] = []
    samples: list[Sample] = []
    for number in range(draw(st.integers(1, 4))):
        sandbox = f"box-{number}"
        is_watched = draw(st.booleans())  # all along, minute by minute
        cuts = sorted(draw(st.lists(instants, min_size=2, max_size=6, unique=True)) + [START, END][: 2 * is_watched])
        prices = draw(rates), draw(rates)
        for start, end in itertools.pairwise(cuts):
            if is_watched or draw(st.integers(0, 4)):
                pieces.append(Piece(sandbox, f"user-{number}", start, end, draw(sizes), draw(sizes), *prices))
        percents = st.decimals(0, 100, places=6) | st.sampled_from([Decimal(0), Decimal(25), Decimal(100)])
        bytes_used = st.integers(0, 8 * GB) | st.sampled_from([0, 1, GB // 2, GB // 2 + 1, 2**50])
        samples += draw(st.lists(st.builds(Sample, st.just(sandbox), instants, percents, bytes_used), max_size=15))
        levels = draw(st.lists(st.integers(0, 100).map(Decimal), min_size=21, max_size=45))
        levels = levels if is_watched else []
        samples += [Sample(sandbox, START + timedelta(minutes=at), level, GB) for at, level in enumerate(levels)]
    return pieces, draw(st.permutations(samples))


@pytest.fixture(scope="module")
def models(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The compiled models over tables that a test fills: `raw_samples` is what landed."""
    compiled = home.path / ".dbt" / "target" / "compiled" / "billhouse" / "models" / "utilisation"
    minutes = re.sub(
        r"read_parquet\(.*?union_by_name = true\s*\)", "raw_samples", (compiled / "sandbox_minutes.sql").read_text(), flags=re.S
    )
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("attach ':memory:' as warehouse; use warehouse")
        for schema in ("staging", "utilisation", "rating", "price_book", "sample_state"):
            connection.execute(f"create schema {schema}")
        connection.execute("""
            create table raw_samples (sandbox_id varchar, sampled_at timestamptz, cpu_used_pct decimal(18, 6), mem_bytes bigint,
                file_id varchar, file_row bigint);
            create table staging.stg_landed_files as select 'only' as file_id, 1 as landed_sequence;
            create table staging.stg_build_inputs (as_of timestamp);
            create table rating.priced_segments (customer_id varchar, sandbox_id varchar, usage_date date, currency varchar,
                meter_id varchar, rate_id varchar, started_at timestamp, ended_at timestamp, quantity decimal(38, 12));
            create table price_book.rates (rate_id varchar, charge_model varchar, allowance_level decimal(18, 6),
                unit_amount decimal(18, 12))""")
        connection.execute(f"create view utilisation.sandbox_minutes as {minutes}")
        stale = "select distinct sandbox_id, sample_date from utilisation.sandbox_minutes"
        connection.execute(f"create view sample_state.stale_utilisation as {stale}")
        connection.execute(f"create view utilisation as {(compiled / 'sandbox_utilisation.sql').read_text()}")
        yield connection


def fill(models: duckdb.DuckDBPyConnection, pieces: list[Piece], samples: list[Sample], as_of: datetime) -> None:
    for table in ("raw_samples", "staging.stg_build_inputs", "rating.priced_segments", "price_book.rates"):
        models.execute(f"delete from {table}")
    models.execute("insert into staging.stg_build_inputs values (?::timestamptz at time zone 'UTC')", [as_of])
    landed = [[s.sandbox_id, s.sampled_at, s.cpu_used_pct, s.mem_bytes, "only", row] for row, s in enumerate(samples)]
    if landed:
        models.executemany("insert into raw_samples values (?, ?, ?, ?, ?, ?)", landed)
    for place, piece in enumerate(pieces):
        for meter, size, price in (
            ("vcpu", piece.vcpu_count, piece.vcpu_rate),
            ("memory", piece.memory_gb, piece.memory_rate),
            ("storage", Decimal(10), MEMORY_RATE),
        ):
            model = "per_unit" if price is not None else "graduated"
            models.execute("insert into price_book.rates values (?, ?, 0, ?)", [f"{meter}-{place}", model, price])
            quantity = size * ((piece.ended_at - piece.started_at) // timedelta(microseconds=1)) / 1_000_000
            if quantity:
                where = [piece.customer_id, piece.sandbox_id, piece.started_at.date(), "USD", meter, f"{meter}-{place}"]
                when = [piece.started_at.replace(tzinfo=None), piece.ended_at.replace(tzinfo=None), quantity]
                models.execute("insert into rating.priced_segments values (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*where, *when])


@settings(max_examples=40, deadline=None)
@given(days_of_sandboxes(), st.just(END) | instants)
def test_random_days_are_what_the_page_says(
    models: duckdb.DuckDBPyConnection, drawn: tuple[list[Piece], list[Sample]], as_of: datetime
) -> None:
    pieces, samples = drawn
    fill(models, pieces, samples, as_of)
    expected = utilisation(samples, pieces, as_of)
    result = models.execute("select * exclude (currency) from utilisation order by sandbox_id")
    found = rows_as_dictionaries(result)
    assert {(row.pop("sandbox_id"), row.pop("usage_date")): row for row in found} == {
        key: {name: as_stored(value) for name, value in row.items()} for key, row in expected.items()
    }


def as_stored(value: object) -> object:
    """An exact quantity or amount as the table keeps it: with twelve decimals."""
    return rounded(value, 12) if isinstance(value, Fraction) else value
