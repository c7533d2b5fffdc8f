"""Built-in sources: rows in the shapes of other systems land as they are."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import LandedFile, land_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import BUILT_IN, all_sources, find_source
from tests.landing.raw import events, landed_files, quarantined, rows_of, write_lines

SHAPES = PROJECT_ROOT / "tests" / "data" / "source-shapes"
E2B_EVENTS = (
    "e2b-redis-stream.jsonl",
    "e2b-events-api.jsonl",
    "e2b-events-api-page.json",
    "e2b-clickhouse-sandbox-events.parquet",
)
FILES = {
    "e2b-events": E2B_EVENTS,
    "e2b-metrics": (
        "e2b-metrics-sdk.jsonl",
        "e2b-sandbox-metrics-answer.jsonl",
        "e2b-sandboxes-metrics-answer.json",
        "e2b-clickhouse-metrics-gauge.jsonl",
    ),
    "cloudevents": ("cloudevent.jsonl",),
    "lago-events": ("lago-event.jsonl",),
    "daytona-usage-periods": ("daytona-usage-period.jsonl",),
}
SANDBOX, TEAM = "i7gk0pz4mndx2l6w8e0qa", "460355b3-4f64-48f9-9a16-4442817f79f5"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def land_with(home: Home, source: str, *paths: Path) -> list[LandedFile]:
    """Land files with a source, and check what holds for every file."""
    summary = land_files(home, paths, source=find_source(home, source))
    assert summary.problems == []
    for file in summary.files:
        assert file.received == file.accepted + file.duplicates + file.quarantined + file.omitted
        assert sum(file.by_reason.values()) == file.quarantined
    return summary.files


def counts(file: LandedFile) -> tuple[int, int, int, int]:
    return file.accepted, file.duplicates, file.quarantined, file.omitted


def test_every_file_lands_with_its_source_and_none_of_its_rows_is_quarantined(home: Home) -> None:
    for source, names in FILES.items():
        land_with(home, source, *(SHAPES / name for name in names))
    assert quarantined(home) == []
    recorded = landed_files(home)
    assert {row["source_name"] for row in recorded} == FILES.keys()
    assert {row["file_name"] for row in recorded} == {path.name for path in SHAPES.iterdir()} - {"README.md"}
    assert all(row["received_rows"] == row["accepted_rows"] + row["duplicate_rows"] for row in recorded)


@pytest.mark.parametrize("order", [E2B_EVENTS[place:] + E2B_EVENTS[:place] for place in range(4)], ids=lambda order: order[0])
def test_the_same_events_of_e2b_in_four_shapes_land_once(order: tuple[str, ...], home: Home) -> None:
    first, *others = land_with(home, "e2b-events", *(SHAPES / name for name in order))
    assert counts(first) == (9, 0, 0, 0)
    assert [counts(file) for file in others] == [(0, 9, 0, 0)] * 3
    again = land_with(home, "e2b-events", *(SHAPES / name for name in reversed(order)))
    assert [counts(file) for file in again] == [(0, 9, 0, 0)] * 4
    assert len(events(home)) == 9


def test_what_e2b_says_of_an_execution_is_what_lands(home: Home) -> None:
    land_with(home, "e2b-events", SHAPES / "e2b-redis-stream.jsonl")
    rows = sorted((row for row in rows_of(home) if row["sandbox_id"] == SANDBOX), key=lambda row: row["event_at"])
    assert [row["event_type"] for row in rows] == [
        *("sandbox_started", "resources_updated", "resources_updated", "sandbox_stopped"),
        *("sandbox_started", "sandbox_stopped") * 2,
    ]
    assert {row["user_id"] for row in rows} == {TEAM}
    assert [row["file_row"] for row in rows] == list(range(1, 9)), "each row keeps its line"
    # Nanoseconds are cut off.
    assert rows[0]["event_at"] == datetime(2026, 9, 1, 10, 0, 0, 123456, UTC)
    closing = [row for row in rows if row["event_type"] == "sandbox_stopped"]
    assert [(row["vcpu_count"], row["memory_gb"]) for row in closing] == [(Decimal(8), Decimal(4))] * 3
    # The start is the end minus the execution's milliseconds, not E2B's whole seconds.
    assert [(row["event_at"] - row["started_at"]).total_seconds() for row in closing] == [1800, 900, 2700]
    opening = {row["execution_id"]: row["event_at"] for row in rows if row["event_type"] == "sandbox_started"}
    assert {row["execution_id"]: row["started_at"] for row in closing} == opening
    assert all(row["vcpu_count"] is None and row["started_at"] is None for row in rows if row not in closing)


def test_the_memory_of_an_execution_is_exact_or_rounded_to_six_decimals(home: Home, tmp_path: Path) -> None:
    row = json.loads((SHAPES / "e2b-redis-stream.jsonl").read_text().splitlines()[3])
    lines = []
    for number, megabytes in enumerate((512, 1000, 16)):
        row["id"] = f"e{number}"
        row["event_data"]["execution"]["memory_mb"] = megabytes
        lines.append(json.dumps(row))
    land_with(home, "e2b-events", write_lines(tmp_path / "killed.jsonl", lines))
    assert [row["memory_gb"] for row in events(home)] == [Decimal("0.5"), Decimal("0.976563"), Decimal("0.015625")]


def test_measurements_of_e2b_in_four_shapes_are_the_same_samples(home: Home, tmp_path: Path) -> None:
    shutil.copy(SHAPES / "e2b-sandbox-metrics-answer.jsonl", tmp_path / f"{SANDBOX}.jsonl")
    files = land_with(
        home,
        "e2b-metrics",
        SHAPES / "e2b-metrics-sdk.jsonl",
        tmp_path / f"{SANDBOX}.jsonl",
        SHAPES / "e2b-sandboxes-metrics-answer.json",
        SHAPES / "e2b-clickhouse-metrics-gauge.jsonl",
    )
    # Six gauges are three samples: of each pair, one row lands and the other is joined to it.
    assert [counts(file) for file in files] == [(6, 0, 0, 0), (0, 6, 0, 0), (0, 1, 0, 0), (0, 3, 0, 3)]
    samples = rows_of(home, "sandbox_metrics")
    assert {row["sandbox_id"] for row in samples} == {SANDBOX}
    assert {(row["cpu_used_pct"], row["mem_bytes"]) for row in samples} == {(Decimal("25.5"), 123456789)}


def test_a_gauge_without_its_pair_is_quarantined_whole(home: Home, tmp_path: Path) -> None:
    lines = (SHAPES / "e2b-clickhouse-metrics-gauge.jsonl").read_text().splitlines()
    late = [line.replace("2026-09", "2099-09") for line in lines[:2]]
    other = lines[2].replace("e2b.sandbox.cpu.used", "e2b.sandbox.disk.used")
    path = write_lines(tmp_path / "gauges.jsonl", [lines[0], other, lines[3], *late])
    (file,) = land_with(home, "e2b-metrics", path)
    assert counts(file) == (0, 0, 3, 2)
    assert file.by_reason == {"missing_field": 2, "future_timestamp": 1}
    stored = {row["file_row"]: row["raw_row"] for row in quarantined(home)}
    assert stored == {1: lines[0], 3: lines[3], 4: "\n".join(late)}, "rows that were joined are stored together"


def _landed(home: Home, source: str, *lines: Any, name: str = "rows.jsonl") -> list[dict[str, Any]]:
    path = home.path.parent / name
    if name.endswith(".json"):
        path.write_text(json.dumps(list(lines), indent=1))
    else:
        write_lines(path, [json.dumps(line) for line in lines])
    land_with(home, source, path)
    return [{name: value for name, value in row.items() if value is not None} for row in events(home)]


CLOUD_EVENT = json.loads((SHAPES / "cloudevent.jsonl").read_text())


@pytest.mark.parametrize("shape", ["lines", "a line that is a batch", "a batch"])
def test_cloudevents_land_single_and_batched(shape: str, home: Home) -> None:
    stop = CLOUD_EVENT | {
        "id": "00002",
        "type": "com.example.sandbox.stopped",
        "time": "2026-09-05T11:00:00Z",
        "data": {"sandbox_id": "sb1"},
    }
    update = CLOUD_EVENT | {"id": "00003", "type": "resources.updated", "time": "2026-09-05T10:30:00Z"}
    both = [CLOUD_EVENT, stop, update]
    rows = _landed(
        home, "cloudevents", *([both] if "line that" in shape else both), name="b.json" if shape == "a batch" else "b.jsonl"
    )
    assert [(row["event_id"], row["event_type"]) for row in rows] == [
        ("orchestrator-0/00001", "sandbox_started"),
        ("orchestrator-0/00002", "sandbox_stopped"),
        ("orchestrator-0/00003", "resources_updated"),
    ]
    assert {(row["user_id"], row["sandbox_id"]) for row in rows} == {(TEAM, "sb1")}
    assert (rows[0]["vcpu_count"], rows[0]["memory_gb"]) == (Decimal(2), Decimal(4))


def test_openmeters_tokens_land_as_quantities(home: Home) -> None:
    prompt = CLOUD_EVENT | {"type": "prompt", "data": {"tokens": "123456789012345678901234567890", "model": "m"}}
    assert land_files(
        home, [write_lines(home.path.parent / "huge.jsonl", [json.dumps(prompt)])], source=find_source(home, "openmeter")
    ).files[0].by_reason == {"bad_number": 1}
    prompt["data"] = {"tokens": "1234", "model": "m"}
    (row,) = _landed(home, "openmeter", prompt)
    assert (row["event_type"], row["tokens"], row["user_id"], row["sandbox_id"]) == ("usage_recorded", Decimal(1234), TEAM, TEAM)


def test_a_lago_event_with_seconds_is_a_session_that_names_all_its_resources(home: Home) -> None:
    event = json.loads((SHAPES / "lago-event.jsonl").read_text())
    tokens = event | {"transaction_id": "t-2", "timestamp": "1788600000.123456789", "properties": {"tokens": 5}}
    first, second = _landed(home, "lago-events", {"events": [event, tokens]})
    assert (first["event_type"], first["duration_seconds"], first["vcpu_count"]) == ("sandbox_stopped", Decimal(3600), Decimal(2))
    # Not the default sandbox of the plan: the event says what it measured.
    assert [first[name] for name in ("memory_gb", "storage_gb", "gpu_count")] == [0, 0, 0]
    assert first["event_at"] == datetime(2026, 9, 5, 9, 20, tzinfo=UTC)
    assert (second["event_type"], second["tokens"]) == ("usage_recorded", Decimal(5))
    assert second["event_at"] == datetime(2026, 9, 5, 9, 20, 0, 123456, UTC)


def test_a_period_that_grows_an_end_later_is_one_start_and_one_stop(home: Home, tmp_path: Path) -> None:
    ended = json.loads((SHAPES / "daytona-usage-period.jsonl").read_text())
    running = ended | {"endAt": None}
    (first,) = land_with(home, "daytona-usage-periods", write_lines(tmp_path / "1.jsonl", [json.dumps(running)]))
    (second,) = land_with(home, "daytona-usage-periods", write_lines(tmp_path / "2.jsonl", [json.dumps(ended)]))
    (third,) = land_with(home, "daytona-usage-periods", write_lines(tmp_path / "3.jsonl", [json.dumps(ended) + " "]))
    assert [counts(file) for file in (first, second, third)] == [(1, 0, 0, 0), (1, 1, 0, 0), (0, 2, 0, 0)]
    start, stop = events(home)
    assert (start["event_id"], stop["event_id"]) == ("p1:start", "p1:stop")
    assert start["event_at"] == stop["started_at"]
    held = {"vcpu_count": Decimal(2), "memory_gb": Decimal(4), "storage_gb": Decimal(10), "gpu_count": Decimal(0)}
    assert held.items() <= start.items() and held.items() <= stop.items()


def test_the_built_in_sources_are_listed_with_what_they_read(home: Home) -> None:
    found, problems = all_sources(home)
    assert problems == []
    assert [source.name for source in found] == sorted([*FILES, "openmeter", "e2b-running"])
    assert [source.path for source in found] == sorted(BUILT_IN.iterdir())
    assert all(source.description and source.reads and source.is_built_in for source in found)
    assert {source.kind for source in found} == {Kind.USAGE, Kind.METRICS, Kind.RUNNING}


def test_the_ids_of_events_stay_as_they_are_and_others_are_refused(home: Home, tmp_path: Path) -> None:
    row = json.loads((SHAPES / "e2b-redis-stream.jsonl").read_text().splitlines()[0])
    ids = [2**53 + 1, 12345678901234567890123, "007", {"a": 1}, 1.5, True]
    path = write_lines(tmp_path / "ids.jsonl", [json.dumps(row | {"id": id}) for id in ids])
    (file,) = land_with(home, "e2b-events", path)
    assert file.by_reason == {"bad_id": 3}
    assert [event["event_id"] for event in events(home)] == ["007", "12345678901234567890123", "9007199254740993"]
