"""Small files that are landed in one call are taken together, with the results of landing them one after another."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from pipeline.store.manifest import read_manifest
from tests.landing.random_files import state_of
from tests.landing.raw import event_line, landed_files, write_lines


def _usage_files(folder: Path, seed: int) -> list[Path]:
    """Files with repeated and conflicting ids, several users of a sandbox, invalid rows, unread columns, and unreadable files."""
    draw = random.Random(seed)
    folder.mkdir()
    files = []
    for number in range(14):
        lines = []
        for _ in range(draw.randrange(1, 9)):
            more: dict[str, Any] = draw.choice([{}, {}, {"vcpus": 3}, {"resources": {"cpu": 1}}, {"metadata": {"any": [1]}}])
            line = event_line(
                draw.choice([None, *(f"evt-{place}" for place in range(40))]),
                sandbox_id=f"box-{draw.randrange(8)}",
                user_id=draw.choice(["ada"] * 5 + ["bob"]),
                timestamp=f"2026-01-0{draw.randrange(1, 4)}T1{draw.randrange(2)}:00:00Z",
                event_type=draw.choice(["sandbox_started", "resources_updated"]),
                vcpu_count=draw.choice([1, 2, "two", ...]),
                **more,
            )
            lines.append(draw.choice([line] * 8 + ["{", "", '{"a": 1, "a": 2}']))
        match draw.randrange(8):
            case 0:
                path = folder / f"{number}.jsonl.gz"
                path.write_bytes(gzip.compress("\n".join(lines).encode()))
            case 1:  # cut off
                path = folder / f"{number}.jsonl.gz"
                path.write_bytes(gzip.compress("\n".join(lines * 50).encode())[:-20])
            case 2:
                path = write_lines(folder / f"{number}.jsonl", ["", ""])
            case _:
                path = write_lines(folder / f"{number}.jsonl", lines)
        files.append(path)
    (folder / "empty.jsonl").touch()
    files.insert(draw.randrange(len(files)), folder / "empty.jsonl")
    files.insert(draw.randrange(len(files)), folder / "missing.jsonl")
    files.append(draw.choice(files))
    return files


def _land(home: Home, calls: Sequence[Sequence[Path]]) -> dict[str, Any]:
    summaries = [land_files(home, files) for files in calls]
    return {
        # Names of unread columns that are in different rows have no order.
        "files": [
            vars(file) | {"unread_columns": sorted(file.unread_columns)} for summary in summaries for file in summary.files
        ],
        "paths": [path for summary in summaries for path in summary.landed_paths],
        "problems": [vars(problem) for summary in summaries for problem in summary.problems],
    }


@pytest.mark.parametrize("seed", range(4))
def test_files_in_one_call_one_by_one_and_in_random_groups_leave_the_same_rows(tmp_path: Path, seed: int) -> None:
    files = _usage_files(tmp_path / "files", seed)
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(1, len(files)), 3))
    in_groups = [files[start:end] for start, end in zip([0, *cuts], [*cuts, len(files)], strict=True)]
    calls = {"one_by_one": [[file] for file in files], "in_one_call": [files], "in_groups": in_groups}
    found = {}
    for name, each in calls.items():
        home = Home.open(tmp_path / name)
        found[name] = (_land(home, each), state_of(home))
    assert found["in_one_call"] == found["one_by_one"]
    assert found["in_groups"] == found["one_by_one"]
    summary, rows = found["one_by_one"]
    assert len(summary["files"]) > 8
    assert len(summary["problems"]) >= 2
    assert rows["usage_events"]
    assert rows["quarantine"]


def test_samples_in_one_call_correct_those_of_earlier_files(tmp_path: Path) -> None:
    def sample(minute: int, percent: int) -> str:
        at = f"2026-01-01T10:0{minute}:00Z"
        return json.dumps({"sandbox_id": "box", "timestamp": at, "cpu_used_pct": percent, "mem_bytes": 1})

    contents = [[sample(1, 5), sample(2, 5)], [sample(1, 6), sample(2, 5)], [sample(1, 6), sample(1, 5), sample(3, 1)]]
    files = [write_lines(tmp_path / f"{number}.jsonl", lines) for number, lines in enumerate(contents)]
    together, apart = Home.open(tmp_path / "together"), Home.open(tmp_path / "apart")
    summary = land_files(together, files, Kind.METRICS)
    for file in files:
        land_files(apart, [file], Kind.METRICS)
    assert [(file.accepted, file.duplicates) for file in summary.files] == [(2, 0), (1, 1), (2, 1)]
    assert state_of(together) == state_of(apart)


def test_a_group_is_one_line_of_the_manifest_and_one_row_of_landed_files_for_each_file(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    files = [write_lines(tmp_path / f"{number}.jsonl", [event_line(f"evt-{number}")]) for number in range(5)]
    land_files(home, files)
    assert len(read_manifest(home).heads) == 1
    assert [(row["landed_sequence"], row["file_name"]) for row in landed_files(home)] == [
        (number + 1, f"{number}.jsonl") for number in range(5)
    ]
    again = land_files(home, [*files, write_lines(tmp_path / "new.jsonl", [event_line("evt-5")])])
    assert [file.is_already_landed for file in again.files] == [True] * 5 + [False]


def test_the_first_row_with_an_id_is_named_by_its_file_if_it_is_in_an_earlier_file_of_the_group(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    first = write_lines(tmp_path / "1.jsonl", ["", event_line("evt-1")])
    second = write_lines(
        tmp_path / "2.jsonl", [event_line("evt-1", user_id="ada", event_type="sandbox_stopped"), event_line("evt-2")]
    )
    third = write_lines(tmp_path / "3.jsonl", [event_line("evt-3"), event_line("evt-3", event_type="sandbox_stopped")])
    summary = land_files(home, [first, second, third])
    first_id = summary.files[0].file_id[:12]
    assert f"(file {first_id}, row 2)" in summary.files[1].example
    assert "line 1:" in summary.files[1].example
    assert "(row 1)" in summary.files[2].example
