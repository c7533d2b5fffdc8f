"""An incremental build gives the same bytes as a build from scratch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.landing.record_kinds import Kind
from pipeline.warehouse.build import build
from pipeline.warehouse.build_steps import BuildFailedError
from tests.models.test_against_reference import land_listings, land_records, land_voids
from tests.reference import Void
from tests.reference.strategies import Batch, random_batch, to_jsonl_parts
from tests.support import event, query, write_jsonl

MORE = [(1, None), (3, 5), *((seed, 5) for seed in range(4, 12))] if "BILLHOUSE_SOAK" in os.environ else []
"""Random histories that `make soak` takes besides."""


def reports(home: Home) -> dict[str, str]:
    """SHA-256 of each file of the reports."""
    files = sorted(path for path in home.marts.rglob("*") if path.is_file())
    return {str(path.relative_to(home.marts)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def samples_of(batch: Batch, random: Random) -> list[dict[str, object]]:
    """What some sandboxes used, now and then, in the minutes after an event."""
    return [
        {
            "sandbox_id": event.sandbox_id,
            "timestamp": (event.event_at + timedelta(seconds=10 * random.randrange(12))).isoformat(),
            "cpu_used_pct": random.randrange(101),
            "mem_bytes": random.randrange(2**33),
        }
        for event in random.sample(batch.events, min(len(batch.events), 150))
    ]


def just_at_its_limit(sandbox: str, as_of: datetime, heartbeat: int) -> list[dict[str, object]]:
    """An hour of ticks, as long as Hobby lets a session be, and then none: at as_of it has not been silent for too long yet."""
    instants = [as_of - timedelta(seconds=seconds) for seconds in range(3600, 0, -heartbeat)]
    return [event("start" if at == instants[0] else "heartbeat", at.isoformat(), user="edge", sandbox=sandbox) for at in instants]


def of_two_executions(number: int, as_of: datetime) -> list[dict[str, object]]:
    """Events of a sandbox with executions, some of which name none: where they belong changes with each part that lands."""

    def at(what: str, minute: int, execution: str | None = None, **more: object) -> dict[str, object]:
        instant = (as_of - timedelta(days=3) + timedelta(minutes=minute)).isoformat()
        return event(what, instant, user="mixed", sandbox="mixed", execution_id=execution, **more)

    parts = [
        [at("start", 0), at("update", 30, vcpu_count=8), at("stop", 60), at("update", 90, vcpu_count=2, tokens=5)],
        [at("start", 10, "x", vcpu_count=1), at("start", 80, "y"), at("usage", 85, tokens=7)],
        [at("stop", 20, "x"), at("update", 2000, vcpu_count=3), at("stop", 1500, "y")],
    ]
    return parts[number]


def built_from_scratch(home: Home, other: Home, as_of: datetime) -> Home:
    """The same truth, copied to a new home and built there once."""
    for folder in ("raw", "ledger"):
        shutil.copytree(home.path / folder, other.path / folder, dirs_exist_ok=True)
    build(other, as_of)
    return other


def merge_and_put_aside(home: Home, aside: Path) -> int:
    """Merge the raw files of every day that has several; keep a copy of those that landing wrote. Returns how many there were."""
    shutil.copytree(home.raw / "usage_events", aside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("merged-*"))
    merged = merge_raw_files(home)
    assert merged.problems == []
    return merged.files


def days_read(home: Home) -> set[str]:
    """The days of which the last build read raw events."""
    compiled = home.path / ".dbt" / "target" / "compiled" / "billhouse" / "models" / "staging" / "compacted_events.sql"
    return {part[:10] for part in compiled.read_text().split("event_date=")[1:]}


@pytest.mark.parametrize(("seed", "heartbeat"), [(2, 60), *MORE])
def test_builds_between_landings_come_to_what_one_build_at_the_end_does(
    seed: int,
    heartbeat: int | None,
    home: Home,
    make_home: Callable[[str], Home],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Landings, builds and merges of raw files in between; the build at the end reads the files as they landed."""
    if heartbeat is not None:
        monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", str(heartbeat))
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    random, when_to_merge = Random(seed), Random(seed)
    merged_files = 0
    batch = random_batch(random, 40, vary_prices=False)
    parts = to_jsonl_parts(batch, tmp_path, 3)
    random.shuffle(parts)
    as_of = batch.as_of
    landed_voids: list[Void] = []
    for number, part in enumerate(parts):
        land_files(home, [part])
        land_files(home, [write_jsonl(tmp_path / f"samples-{number}.jsonl", samples_of(batch, random))], Kind.METRICS)
        if number == 1:
            land_records(batch, home, tmp_path / "records", PROJECT_ROOT)
        if number > 0:  # An event that is voided may not come again: voids land after it.
            landed_ids = {json.loads(line).get("event_id") for landed in parts[: number + 1] for line in landed.open()}
            voids = [void for void in batch.event_voids if void.event_id in landed_ids and void not in landed_voids]
            land_voids(voids, home, tmp_path / f"voids-{number}", PROJECT_ROOT)
            landed_voids += voids
        # Also as of an instant before many landed events, and before the last build's.
        as_of = batch.as_of - random.choice((timedelta(0), timedelta(days=1), timedelta(days=25, microseconds=1)))
        # Some listings come late, and some in parts of which one comes later.
        land_listings(batch.listings[number :: len(parts)], home, tmp_path / f"listings-{number}.jsonl")
        if heartbeat is not None:
            edge = just_at_its_limit(f"edge-{number}", as_of, heartbeat)
            land_files(home, [write_jsonl(tmp_path / f"edge-{number}.jsonl", edge)])
        mixed = of_two_executions(number, batch.as_of)
        land_files(home, [write_jsonl(tmp_path / f"mixed-{number}.jsonl", mixed)])
        if number == 1 or when_to_merge.random() < 0.5:
            merged_files += merge_and_put_aside(home, tmp_path / "as-landed")
        build(home, as_of)
        if number == 0 or when_to_merge.random() < 0.5:
            merged_files += merge_and_put_aside(home, tmp_path / "as-landed")
    merged_files += merge_and_put_aside(home, tmp_path / "as-landed")
    build(home, batch.as_of)
    assert merged_files > 50
    assert query(home, "from utilisation_daily")
    for reason in ("voided", "no_execution"):
        assert query(home, "from ignored_events where reason = ?", reason)
    assert query(home, "from sessions where end_reason = 'gone_from_listing'")
    as_landed = make_home("from-scratch")
    for folder in ("raw", "ledger"):
        shutil.copytree(home.path / folder, as_landed.path / folder, dirs_exist_ok=True)
    shutil.rmtree(as_landed.raw / "usage_events")
    shutil.copytree(tmp_path / "as-landed", as_landed.raw / "usage_events")
    build(as_landed, batch.as_of)
    assert reports(home) == reports(as_landed)
    with duckdb.connect(str(home.warehouse), read_only=True) as warehouse:
        columns = "columns(* exclude build_number)"
        events = warehouse.execute(f"select {columns} from staging.compacted_events order by all").fetchall()
    with duckdb.connect(str(as_landed.warehouse), read_only=True) as warehouse:
        assert events == warehouse.execute(f"select {columns} from staging.compacted_events order by all").fetchall()


def test_a_build_with_another_setting_or_as_of_an_earlier_instant_is_what_one_from_scratch_is(
    home: Home, make_home: Callable[[str], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hobby session of 1000 vCPU: until as_of 25.20 of half an hour; cut by a silence after 45 minutes 37.80."""
    usage = [
        event("start", "2026-09-10T10:00:00Z", user="lost", sandbox="lost", vcpu_count=1000, memory_gb=0, storage_gb=0),
        *(
            event("heartbeat", f"2026-09-10T10:{minute}:00Z", user="ticks", sandbox="ticks", vcpu_count=1000)
            for minute in (10, 20, 30)
        ),
        event("start", "2026-09-10T10:00:00Z", user="ticks", sandbox="ticks", vcpu_count=1000, memory_gb=0, storage_gb=0),
        event("stop", "2026-09-10T12:00:00Z", user="ticks", sandbox="ticks"),
        event("start", "2026-08-10T10:00:00Z", user="before", sandbox="before", vcpu_count=1000, memory_gb=0, storage_gb=0),
    ]
    land_files(home, [write_jsonl(tmp_path / "usage.jsonl", usage)])

    def vcpu() -> dict[str, Decimal]:
        return {row["customer_id"]: row["amount"] for row in query(home, "from invoice_lines where meter_id = 'vcpu'")}

    late, early = (datetime.fromisoformat(f"2026-09-{day}+00:00") for day in ("20T00:00:00", "10T10:30:00"))
    build(home, late)
    assert vcpu() == {"lost": Decimal("50.40"), "ticks": Decimal("100.80"), "before": Decimal("50.40")}
    build(home, early)
    assert vcpu()["lost"] == Decimal("25.20")
    monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", "900")
    build(home, late)
    assert vcpu()["ticks"] == Decimal("37.80")
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-09")
    build(home, late)
    assert vcpu().keys() == {"lost", "ticks"}
    assert [row["reason"] for row in query(home, "from ignored_events where customer_id = 'before'")] == ["before_books_open"]
    assert reports(home) == reports(built_from_scratch(home, make_home("from-scratch"), late))


KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path

from pipeline.core.home import Home
from pipeline.warehouse.build import build

def die(step, done, total):
    if step == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

build(Home(Path(sys.argv[1])), datetime.fromisoformat(sys.argv[2]), on_progress=die)
"""


def test_a_build_that_is_killed_takes_nothing_from_the_next(home: Home, make_home: Callable[[str], Home], tmp_path: Path) -> None:
    batch = random_batch(Random(5), 40, vary_prices=False)
    parts = to_jsonl_parts(batch, tmp_path, 3)
    for part, step in zip(parts, ("sandbox_sessions", "usage_segments", "invoice_lines"), strict=True):
        land_files(home, [part])
        command = [sys.executable, "-c", KILLED, str(home.path), batch.as_of.isoformat(), step]
        assert subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode == -signal.SIGKILL
    build(home, batch.as_of)
    assert reports(home) == reports(built_from_scratch(home, make_home("from-scratch"), batch.as_of))


def test_a_build_that_fails_leaves_nothing_of_its_price_book_to_the_next(home: Home, tmp_path: Path) -> None:
    start = event("start", "2026-09-01T10:00:00Z", vcpu_count=2, memory_gb=4)
    assert land_files(home, [write_jsonl(tmp_path / "start.jsonl", [start])]).problems == []
    as_of = datetime.fromisoformat("2026-09-20T00:00:00+00:00")
    build(home, as_of)
    before = reports(home)

    project = tmp_path / "project"
    project.mkdir()
    for name in ("models", "macros", "dbt_project.yml", "profiles.yml"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    plans = project / "seeds" / "plans.csv"
    plans.write_text(plans.read_text().replace("Hobby,none,3600", "Hobby,none,7200"))
    (project / "tests" / "warehouse").mkdir(parents=True)
    (project / "tests" / "warehouse" / "nothing_is_good_enough.sql").write_text(
        "select 1 as wrong from {{ ref('journal') }} limit 1"
    )
    with pytest.raises(BuildFailedError, match="nothing_is_good_enough"):
        build(home, as_of, project=project)
    assert reports(home) == before
    build(home, as_of)
    assert reports(home) == before


def test_a_build_reads_only_the_days_that_something_landed_for(home: Home, tmp_path: Path) -> None:
    def land(name: str, *events: str) -> None:
        (tmp_path / name).write_text("\n".join(events))
        assert land_files(home, [tmp_path / name]).problems == []

    def written() -> dict[str, int]:
        """When each day's file of sessions was written."""
        return {path.stem: path.stat().st_mtime_ns for path in (home.marts / "sessions").iterdir()}

    def usage_event(number: int, day: int, what: str, sandbox: str = "box") -> str:
        return (
            f'{{"event_id": "e{number}", "sandbox_id": "{sandbox}", "user_id": "ada", '
            f'"timestamp": "2026-09-{day:02d}T10:00:00Z", "event_type": "{what}", "vcpu_count": 2, "memory_gb": 4}}'
        )

    as_of = datetime.fromisoformat("2026-09-20T00:00:00+00:00")
    land(
        "first.jsonl",
        usage_event(1, 1, "sandbox_started"),
        usage_event(2, 3, "resources_updated"),
        usage_event(3, 5, "sandbox_stopped"),
    )
    build(home, as_of)
    assert days_read(home) == {"2026-09-01", "2026-09-03", "2026-09-05"}

    first = written()
    land("second.jsonl", usage_event(4, 6, "sandbox_started", "crate"))
    build(home, as_of)
    assert days_read(home) == {"2026-09-06"}

    assert written().keys() == {"2026-09-01", "2026-09-06"}
    assert written()["2026-09-01"] == first["2026-09-01"]

    land("late.jsonl", usage_event(5, 3, "sandbox_stopped", "crate"))
    build(home, as_of)
    assert days_read(home) == {"2026-09-03"}

    build(home, as_of)
    assert days_read(home) == set()
    with duckdb.connect(str(home.warehouse), read_only=True) as warehouse:
        assert warehouse.execute("select count(*) from staging.compacted_events").fetchone() == (5,)

    # A back-up is put back that knows nothing of the last two files.
    for number in (2, 3):
        (landed,) = (home.raw / "landed_files").glob(f"*{number}-*.parquet")
        landed.unlink()
    build(home, as_of)
    assert written().keys() == first.keys()
    assert {row["sandbox_id"] for row in query(home, "from sessions")} == {"box"}


def test_the_number_of_a_build_does_not_fall_when_the_newest_events_are_voided(home: Home, tmp_path: Path) -> None:
    """What changed is found by comparing numbers: one that came twice would hide a change."""

    def number_after(kind: Kind, row: dict[str, object]) -> int:
        land_files(home, [write_jsonl(tmp_path / f"{row['event_id']}-{kind}.jsonl", [row])], kind)
        build(home)
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            ((number,),) = connection.execute("select build_number from build_state.compaction_state").fetchall()
        return int(number)

    first, voided = (event("start", "2026-09-01T10:00:00Z", sandbox=sandbox) for sandbox in ("first", "voided"))
    void = {"event_id": voided["event_id"], "voided_at": "2026-09-02T00:00:00Z", "reason": "a test"}
    numbers = [number_after(Kind.USAGE, first), number_after(Kind.USAGE, voided), number_after(Kind.VOIDS, void)]
    assert numbers == [1, 2, 2]
    assert number_after(Kind.USAGE, event("start", "2026-09-03T10:00:00Z", sandbox="later")) == 3
