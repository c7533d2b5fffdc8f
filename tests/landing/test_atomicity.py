"""Landings that are killed, run at the same time, or find the disk full lose no row and store none twice."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.files import sync_folder
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files
from pipeline.store.raw import SCHEMAS
from tests.landing.raw import Row, event_line, events, land, landed_files, quarantined, rows_of, write_lines


def _line(place: int, **more: Any) -> str:
    return event_line(f"evt-{place}", timestamp=f"2026-01-{1 + place % 2:02d}T10:00:00Z", vcpu_count=place, **more)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files of different formats that overlap, with good and bad rows on several days. In one call they are a group."""
    first = [_line(place) for place in range(5)]
    second = [_line(place) for place in range(3, 8)]
    return [
        write_lines(tmp_path / "first.jsonl", [*first, "{", first[0]]),
        write_lines(tmp_path / "second.csv", _as_csv([*second, _line(9, sandbox_id=""), _line(0, memory_gb=1)])),
    ]


def _as_csv(lines: list[str]) -> list[str]:
    events = [json.loads(line) for line in lines]
    names = ["memory_gb", *events[0]]
    return [",".join(names), *(",".join(str(event.get(name, "")) for name in names) for event in events)]


def _by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row["event_id"]))


def _state(home: Home) -> dict[str, Any]:
    """Everything that must not depend on interruptions; without the times of landing."""
    return {
        "rows": _by_id(rows_of(home)),
        "quarantine": quarantined(home),
        "files": [{name: value for name, value in row.items() if name != "landed_at"} for row in landed_files(home)],
        "paths": sorted(str(path.relative_to(home.path)) for path in home.raw.rglob("*")),
    }


KILLED_AT_EVERY_STEP = """
import os, shutil, sys
from pathlib import Path
import duckdb, pandas, pyarrow.dataset  # once, and not in every child
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.store.raw import ensure_raw_collections

folder, *arguments = sys.argv[1:]

class Connection:
    '''A database of which writing a file is a step.'''
    def __init__(self, connection):
        self.connection = connection
    def execute(self, sql, *words):
        if "copy (" in sql:
            step()
        return self.connection.execute(sql, *words)
    def __getattr__(self, name):
        return getattr(self.connection, name)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.connection.close()

def stepped(call):
    def called(*words, **named):
        step()
        return call(*words, **named)
    return called

def act_and_exit(home, at):
    global step
    steps = 0
    def step():
        nonlocal steps
        steps += 1
        if steps == at:
            os._exit(9)
    connect = duckdb.connect
    duckdb.connect = lambda: Connection(connect())
    home = Home.open(home)
    if not is_merge:
        ensure_raw_collections(home)
        shutil.rmtree(home.raw / "credit_grants")  # creating one collection is enough
    for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
        setattr(os, name, stepped(getattr(os, name)))
    merge_raw_files(home) if is_merge else land_files(home, [Path(file) for file in arguments])
    os._exit(0)

is_merge = Path(arguments[0]).is_dir()
at = 1
while True:
    home = Path(folder) / f"killed-at-{at:04d}"
    if is_merge:
        shutil.copytree(arguments[0], home)
    child = os.fork()
    if child == 0:
        act_and_exit(home, at)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        print(at)
        break
    assert status == 9, status
    at += 1
"""
"""Lands the files in one home after another, killed one step later each time, until a landing finishes. Given a home instead of
files, merges the raw files of copies of it."""


def _python(code: str, *words: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


def test_a_landing_that_is_killed_at_any_step_leaves_whole_files_and_the_next_one_finishes_it(
    files: list[Path], tmp_path: Path
) -> None:
    undisturbed = Home.open(tmp_path / "undisturbed")
    land_files(undisturbed, files)
    expected = _state(undisturbed)
    whole = [row["file_id"] for row in landed_files(undisturbed)]
    assert [len(expected["rows"]), len(expected["quarantine"])] == [8, 3]

    homes = tmp_path / "homes"
    homes.mkdir()
    died = subprocess.run(
        _python(KILLED_AT_EVERY_STEP, homes, *files), capture_output=True, text=True, cwd=PROJECT_ROOT, check=True
    )
    steps = int(died.stdout)
    assert steps > 30, "there are steps to die at"
    seen, before = set(), None
    for path in sorted(homes.iterdir()):
        left = _names_and_sizes(path)
        if left == before:
            continue  # a step that changes no file, such as a sync, leaves what the one before has left
        before = left
        home = Home.open(path)
        landed = [row["file_id"] for row in landed_files(home)]
        assert landed == whole[: len(landed)]
        assert _by_id(rows_of(home)) == [row for row in expected["rows"] if row["file_id"] in landed]
        assert quarantined(home) == [row for row in expected["quarantine"] if row["file_id"] in landed]
        seen.add(len(landed))
        summary = land_files(home, files)
        assert summary.received == summary.accepted + summary.duplicates + summary.quarantined == 14
        assert _state(home) == expected, path.name
        assert list((home.path / ".tmp").iterdir()) == [], "the scratch folder of the killed landing is removed"
    assert seen == {0, 2}, "the files of a group land together"


def _names_and_sizes(folder: Path) -> list[tuple[str, int]]:
    """The files and folders in a folder; scratch files have random names."""
    found = [
        (re.sub("[0-9a-f]{8,}", "*", str(path.relative_to(folder))), path.stat().st_size if path.is_file() else -1)
        for path in folder.rglob("*")
    ]
    return sorted(found)


_LAND_AFTER_SIGNAL = """
import sys, time
from pathlib import Path
from pipeline.core.home import Home
from pipeline.landing import land_files

home, go, *files = sys.argv[1:]
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.001)
for file in files:
    summary = land_files(Home.open(home), [Path(file)])
    assert not summary.problems
    print(summary.received, summary.accepted, summary.duplicates, summary.quarantined, flush=True)
"""


def test_two_processes_that_land_overlapping_files_at_once_lose_nothing_and_land_nothing_twice(tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / f"{start}.jsonl", [*(_line(place) for place in range(start, start + 40)), "{"])
        for start in range(0, 120, 20)
    ]
    home = Home.open(tmp_path / "home")
    orders = [files, list(reversed(files))]
    landing = [
        subprocess.Popen(
            _python(_LAND_AFTER_SIGNAL, home.path, tmp_path / "go", *order), stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
        )
        for order in orders
    ]
    for process in landing:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    counts = []
    for process in landing:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        counts += [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert len(counts) == 2 * len(files)
    assert all(received == accepted + duplicates + bad == 41 for received, accepted, duplicates, bad in counts)
    assert sum(accepted for _, accepted, _, _ in counts) == 140
    assert [row["event_id"] for row in events(home)] == sorted(f"evt-{place}" for place in range(140))
    assert len(quarantined(home)) == len(files)
    assert [row["landed_sequence"] for row in landed_files(home)] == list(range(1, 1 + len(files)))


def test_threads_of_one_process_take_turns_too(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / f"{place}.jsonl", [_line(place), _line(place + 1)]) for place in range(6)]
    home = Home.open(tmp_path / "home")
    with ThreadPoolExecutor(4) as threads:
        landed = list(threads.map(lambda path: land(home, path), [*files, *files]))
    assert sum(file.accepted for file in landed) == 7
    assert [row["event_id"] for row in events(home)] == [f"evt-{place}" for place in range(7)]


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_a_full_disk_is_one_clear_error_and_the_file_lands_when_there_is_room(
    name: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Home.open(tmp_path / "undisturbed")
    for file in files:
        land_files(undisturbed, [file])
    expected = _state(undisturbed)
    honest: Callable[..., Any] = getattr(os, name)
    home = Home.open(tmp_path / "home")
    land(home, files[0])
    calls_of_a_landing = _calls(monkeypatch, name, honest, Home.open(tmp_path / "another"), files)
    before = _state(home)
    for full_from in range(1, calls_of_a_landing + 1):
        trial = Home.open(tmp_path / f"trial-{full_from}")
        shutil.copytree(home.path, trial.path, dirs_exist_ok=True)
        calls = iter(range(1, 10_000))

        def full(*words: Any, calls: Any = calls, full_from: int = full_from) -> Any:
            if next(calls) >= full_from:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return honest(*words)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(BillhouseError, match="The disk is full") as failed:
                land_files(trial, [files[1]])
        assert "Make room" in failed.value.next_step
        seen = _state(trial)
        parts = ("rows", "quarantine", "files")
        # A file that is in the manifest has landed, even if a later sync failed.
        assert [seen[part] for part in parts] in ([before[part] for part in parts], [expected[part] for part in parts])
        land(trial, files[1])
        assert _state(trial) == expected


def _calls(monkeypatch: pytest.MonkeyPatch, name: str, honest: Callable[..., Any], home: Home, files: list[Path]) -> int:
    """How often landing the second file calls it."""
    land(home, files[0])
    called = []

    def counted(*words: Any) -> Any:
        called.append(words)
        return honest(*words)

    with monkeypatch.context() as patched:
        patched.setattr(os, name, counted)
        land(home, files[1])
    return len(called)


def test_a_disk_that_is_full_from_the_start_is_reported(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.open(tmp_path / "home")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(BillhouseError, match=r"Nothing landed.*The disk is full"):
            land_files(home, files)
    assert land_files(home, files).accepted == 8


_LAND_WITH_LITTLE_ROOM = """
import resource, sys
from pipeline.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def test_a_disk_that_fills_up_while_parquet_is_written_is_reported_without_a_traceback(tmp_path: Path) -> None:
    """The operating system limits the size of files, and DuckDB fails in the middle of a write."""
    path = write_lines(tmp_path / "large.jsonl", [event_line(os.urandom(16).hex(), user_id="ada") for _ in range(8000)])
    home = Home.open(tmp_path / "home")
    small = write_lines(tmp_path / "small.jsonl", [event_line("small")])
    for limit in (20_000, 100_000):
        outcome = subprocess.run(
            _python(_LAND_WITH_LITTLE_ROOM, limit, "--home", home.path, "land", small, path),
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
        )
        assert outcome.returncode == 1
        assert "Traceback" not in outcome.stderr
        assert f"{path} did not land" in outcome.stderr.replace("\n", "")
        assert [row["event_id"] for row in events(home)] == ["small"], "what came before it has landed"
    assert land(home, path).accepted == 8000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_rows_of_a_failed_landing_are_new_in_the_next_one(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a landing that failed before its commit did not land."""
    home = Home.open(tmp_path / "home")

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.landing.land.write_landed_file", fail)
        with pytest.raises(BillhouseError, match="The disk cannot be read or written"):
            land_files(home, [files[0]])
    assert rows_of(home) == []
    landed = land(home, files[0])
    assert (landed.accepted, landed.duplicates, landed.quarantined) == (5, 1, 1)


def test_a_power_cut_after_the_commit_finds_every_folder_on_the_disk(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename is safe once its folder is synced, and a new folder once the folder that it is in is."""
    synced: list[str] = []
    home = Home.open(tmp_path / "home")

    def sync(folder: Path) -> None:
        synced.append(str(folder.relative_to(home.path)))
        sync_folder(folder)

    for module in ("core.files", "store.append"):
        monkeypatch.setattr(f"pipeline.{module}.sync_folder", sync)
    land(home, files[0])
    assert synced[-1] == "raw/landed_files", "the commit comes last"
    for day in ("01", "02"):
        folder = synced.index(f"raw/usage_events/event_date=2026-01-{day}")
        assert "raw/usage_events" in synced[:folder]
    made = [synced.index(f"raw/{collection}") for collection in SCHEMAS]
    assert [synced[:place].count("raw") for place in sorted(made)] == list(range(1, len(SCHEMAS) + 1))
