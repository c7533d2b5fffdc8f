"""The benchmarks measure what they say: the peers do the same job, and each day's events are a day's own."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from benchmarks import hostile, safety_cost, usage
from pipeline.core.home import Home
from pipeline.landing import land_files
from tests.support import copy_home, event, write_jsonl


@pytest.mark.parametrize("shape", ["lifecycle", "heartbeat"])
def test_days_are_copies_with_ids_and_sandboxes_of_their_own(shape: str, tmp_path: Path) -> None:
    for day in (2, 0, 1, 2):
        usage.generate_day(tmp_path, shape, day, 9000)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            "select cast(event_at as date) as day, count(*), count(distinct event_id), min(file_id) = max(file_id),"
            f" sum(epoch_us(event_at) % 86400000000) from read_parquet('{tmp_path}/raw/usage_events/**/*.parquet',"
            " hive_partitioning = false) group by all order by all"
        ).fetchall()
        events, sandboxes = connection.execute(
            "select count(distinct event_id), count(distinct sandbox_id)"
            f" from read_parquet('{tmp_path}/raw/usage_events/**/*.parquet', hive_partitioning = false)"
        ).fetchall()[0]
    assert [(row[1:4]) for row in found] == [(9000, 9000, True)] * 3
    assert len({row[4] for row in found}) == 1
    assert (events, sandboxes) == (27000, 27000 // usage.EVENTS_PER_SESSION[shape])


@pytest.mark.parametrize("peer", usage.PEERS)
def test_a_peer_comes_to_the_same_invoices(peer: str, built: Path) -> None:
    pytest.importorskip(peer)
    ours = usage.STEPS["invoiced"](built).partition(" ")[2]
    assert Decimal(json.loads(ours)["total"]) > 0
    assert usage.STEPS[peer](built).partition(" ")[2] == ours


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """Two days as the benchmark makes them, and sandboxes whose sessions have no order in them."""
    folder = tmp_path_factory.mktemp("benchmark") / "lifecycle-3000-2"
    copy_home(parsed_project, folder)
    for day in range(2):
        usage.generate_day(folder, "lifecycle", day, 1500)
    land_files(Home.open(folder), [write_jsonl(folder / "disorder.jsonl", disorder())], landed_at=usage.AS_OF)
    for step in ("scan", "build", "scan_last_day"):
        assert float(usage.STEPS[step](folder).split()[0]) > 0
    return folder


def disorder() -> list[dict[str, Any]]:
    """Starts, updates and stops in any order, over midnight and the end of a month; an update names some resources."""
    random = Random(5)
    rows = []
    for box in range(300):
        days = 40 if box % 2 else 1.5
        seconds = sorted(random.sample(range(int(days * 86_400)), random.randint(1, 12)))  # no two alike
        for place, second in enumerate(seconds):
            kind = random.choice(["start", "update", "update", "stop"])
            names = {
                "vcpu_count": random.randint(1, 8),
                "memory_gb": random.randint(1, 16),
                "storage_gb": random.randint(1, 5000),
            }
            if kind == "update" and place > 0:
                names = {name: value for name, value in names.items() if random.random() < 0.6}
            at = (datetime(2026, 1, 20) + timedelta(seconds=second)).isoformat() + "Z"
            rows.append(event(kind, at, sandbox=f"box-{box}", user=f"customer-{box % 20}", **({} if kind == "stop" else names)))
    return rows


def test_a_step_is_measured_in_the_checkout_that_is_named_and_must_do_all_of_its_work(tmp_path: Path) -> None:
    ours = safety_cost.Side("this", safety_cost.HERE, tmp_path)
    files = [write_jsonl(tmp_path / "usage.jsonl", [event("start", "2026-01-20T10:00:00Z", vcpu_count=1)])]
    measured = ours.measure("land", tmp_path / "home", 1, files)
    assert measured.keys() == {"seconds", "cpu"}
    assert min(measured.values()) > 0
    assert not (tmp_path / "home").exists()
    with pytest.raises(SystemExit, match=r"AssertionError: \(1, 2\)"):
        ours.measure("land", tmp_path / "home", 2, files)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SystemExit, match="AssertionError"):
        safety_cost.Side("base", tmp_path / "elsewhere", tmp_path).measure("land", tmp_path / "other", 1, files)


def test_ratios_are_those_of_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    def runs(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": one, "cpu": one / 2} for one in seconds]

    safety_cost.table({"close": {"base": runs(1, 2, 10), "this": runs(1.1, 3, 10)}})
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| close | 2.00 | 3.00 | 1.10 (1.00 to 1.50) | 1.00 | 1.50 | 1.10 (1.00 to 1.50) |"


def test_hostile_rows_and_files_are_all_accounted_for(tmp_path: Path) -> None:
    """`make bench-hostile`, smaller: landing it asserts that no row and no file is lost."""
    files = 24
    hostile.make(tmp_path, 20_000, files)
    found = hostile.land(tmp_path)
    assert found["files_landed"] + found["files_refused"] == files + len(hostile.SHARES)
    assert found["received"] == found["accepted"] + found["duplicates"] + found["quarantined"]
    assert found["received"] >= 20_000
    reasons = {"bad_id", "bad_number", "bad_timestamp", "conflicting_duplicate", "over_limit", "unreadable"}
    assert reasons <= found["by_reason"].keys()
    assert found["accepted"] > 3000, "the good rows among them land"
