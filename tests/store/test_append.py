"""Files appear in raw/ and ledger/ together and whole, also after kills and disk errors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.files import locked_new_folder, remove_orphaned_folders, replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.store.append import AlreadyWrittenError, append_files, finish_interrupted
from pipeline.store.integrity import adopt_files, integrity_problems, read_store_state
from pipeline.store.manifest import manifest_head, read_manifest

STEPS = ("fsync", "replace", "write", "mkdir", "open")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def append(home: Home, name: str) -> None:
    """Write two files, and a folder with one file."""
    with append_files(home, f"write {name}") as files:
        files.file(home.raw / "days" / f"{name}.parquet").write_text(f"day of {name}")
        (files.folder(home.ledger / "months" / name) / "close.parquet").write_text(f"close of {name}")
        files.file(home.raw / "landed" / f"{name}.parquet").write_text(f"row of {name}")


def state(home: Home) -> dict[str, str]:
    """The content of every file in raw/ and ledger/."""
    found = (path for top in (home.raw, home.ledger) for path in top.rglob("*") if path.is_file())
    return {path.relative_to(home.path).as_posix(): path.read_text() for path in found}


def is_intact(home: Home) -> bool:
    return list(integrity_problems(home, read_store_state(home))) == []


def test_the_files_of_a_write_are_in_the_manifest_and_at_their_targets(home: Home) -> None:
    append(home, "a")
    append(home, "b")
    written = state(home)
    manifest = read_manifest(home)
    assert written.keys() - {"ledger/manifest.jsonl"} == manifest.files.keys()
    assert len(manifest.heads) == 2 and manifest.head == manifest_head(home)
    assert is_intact(home)
    assert {path.stat().st_mode & 0o077 for path in home.path.rglob("*")} == {0}
    assert list(home.scratch.iterdir()) == []


def test_an_error_during_a_write_leaves_no_files(home: Home) -> None:
    with suppress(ZeroDivisionError), append_files(home, "write") as files:
        files.file(home.raw / "days" / "a.parquet").write_text("half")
        raise ZeroDivisionError
    assert state(home) == {} and list(home.scratch.iterdir()) == []


def test_an_existing_file_is_never_replaced(home: Home) -> None:
    append(home, "a")
    before = state(home)
    with pytest.raises(AlreadyWrittenError):
        append(home, "a")
    assert state(home) == before and is_intact(home) and list(home.scratch.iterdir()) == []


def at_every_step(home: Home, tmp_path: Path, act: Callable[[Home], None], stop: Callable[[], None]) -> Iterator[Home]:
    """For each system call of `act`, a copy of a home in which `act` was stopped before that call."""
    at = 1
    while True:
        trial = Home.open(tmp_path / f"stopped-{at:03d}")
        subprocess.run(["cp", "-a", f"{home.path}/.", str(trial.path)], check=True)
        child = os.fork()
        if child == 0:
            left = [at]

            def stepped(call: Any, left: list[int] = left) -> Any:
                def called(*words: Any, **named: Any) -> Any:
                    left[0] -= 1
                    if left[0] == 0:
                        stop()
                    return call(*words, **named)

                return called

            for name in STEPS:
                setattr(os, name, stepped(getattr(os, name)))
            act(trial)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        yield trial
        if status == 0:
            return
        at += 1


def test_a_write_that_is_killed_before_any_system_call_is_complete_or_absent(home: Home, tmp_path: Path) -> None:
    append(home, "a")
    before = state(home)
    append(home, "b")
    after = state(home)
    start = Home.open(tmp_path / "start")
    append(start, "a")
    outcomes = []
    for trial in at_every_step(start, tmp_path, lambda home: append(home, "b"), lambda: os.kill(os.getpid(), signal.SIGKILL)):
        assert is_intact(trial), "also before the next command finishes the renames"
        finish_interrupted(trial)
        assert state(trial) in (before, after)
        outcomes.append(state(trial) == after)
        if not outcomes[-1]:
            append(trial, "b")
        append(trial, "c")
        append(trial, "d")
        assert {path: text for path, text in state(trial).items() if path in after and path != "ledger/manifest.jsonl"} == {
            path: text for path, text in after.items() if path != "ledger/manifest.jsonl"
        }
        assert is_intact(trial)
        assert list(trial.scratch.iterdir()) == [], "no files of the killed writer remain"
    assert len(outcomes) > 15 and outcomes == sorted(outcomes) and set(outcomes) == {False, True}


def test_a_write_with_a_full_disk_at_any_step_is_complete_or_absent(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(home, "a")
    before = state(home)
    honest = {name: getattr(os, name) for name in ("fsync", "replace", "write")}
    seen = set()
    for at in range(1, 40):
        trial = Home.open(tmp_path / f"full-{at}")
        subprocess.run(["cp", "-a", f"{home.path}/.", str(trial.path)], check=True)
        left = [at]

        def full(name: str, left: list[int] = left) -> Callable[..., Any]:
            def called(*words: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return honest[name](*words)

            return called

        with monkeypatch.context() as patched:
            for name in honest:
                patched.setattr(os, name, full(name))
            with suppress(OSError):
                append(trial, "b")
        assert is_intact(trial)
        finish_interrupted(trial)
        is_there = "raw/landed/b.parquet" in state(trial)
        assert is_there or state(trial) == before
        seen.add(is_there)
        if not is_there:
            append(trial, "b")
        append(trial, "c")
        assert is_intact(trial) and list(trial.scratch.iterdir()) == []
        if left[0] > 0:
            break
    assert seen == {False, True} and left[0] > 0


def test_an_incomplete_manifest_line_is_ignored_and_overwritten(home: Home) -> None:
    append(home, "a")
    whole = home.manifest.read_bytes()
    home.manifest.write_bytes(whole + b'{"command": "write b", "files": {"raw/da')
    assert is_intact(home) and manifest_head(home) == read_manifest(home).head
    append(home, "b")
    assert home.manifest.read_bytes().startswith(whole) and len(read_manifest(home).heads) == 2 and is_intact(home)


def test_concurrent_writers_make_one_chain(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(home, f"{number}"), range(40)))
    assert len(read_manifest(home).heads) == 40 and is_intact(home) and list(home.scratch.iterdir()) == []


_HOLD = """
import sys
from pathlib import Path
from pipeline.core.errors import BillhouseError
from pipeline.core.files import locked_new_folder
with locked_new_folder(Path(sys.argv[1]), "land-") as folder:
    (folder / "rows").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_of_a_running_writer_is_kept_and_that_of_a_killed_one_removed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    ) as other:
        assert other.stdout is not None
        held = Path(other.stdout.readline().strip())
        with locked_new_folder(tmp_path, "land-") as own:
            remove_orphaned_folders(tmp_path, "land-")
            assert held.exists() and own.exists()
        other.kill()
        other.wait()
        assert held.exists(), "a kill does not remove it"
        remove_orphaned_folders(tmp_path, "land-")
    assert list(tmp_path.iterdir()) == []


_APPEND = """
import sys
from pathlib import Path
from pipeline.core.home import Home
from pipeline.store.append import append_files
home = Home(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    with append_files(home, "write") as files:
        files.file(home.ledger / "alerts" / f"{number}.parquet").write_text(f"{number}")
"""


def test_verifying_during_a_write_finds_no_problem(home: Home) -> None:
    append(home, "a")
    with subprocess.Popen([sys.executable, "-c", _APPEND, str(home.path), "150"], cwd=PROJECT_ROOT) as writer:
        verified = 0
        while writer.poll() is None:
            assert list(integrity_problems(home, read_store_state(home))) == []
            verified += 1
    assert verified > 3 and len(read_manifest(home).heads) == 151


def test_an_uncommitted_file_at_the_target_is_moved_away(home: Home) -> None:
    """As left by a killed landing of an older version: the target exists and is not in the manifest."""
    append(home, "a")
    orphan = home.raw / "days" / "b.parquet"
    orphan.write_text("half")
    append(home, "b")
    assert orphan.read_text() == "day of b" and is_intact(home)


def test_a_target_on_another_disk_is_rejected_before_the_commit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    append(home, "a")
    before = state(home)
    monkeypatch.setattr("pipeline.store.append.are_on_same_disk", lambda *_: False)
    with pytest.raises(BillhouseError, match="on another disk"):
        append(home, "b")
    monkeypatch.undo()
    finish_interrupted(home)
    assert state(home) == before and is_intact(home)
    append(home, "b")


def test_a_file_on_another_disk_is_written_in_the_folder_of_its_target(home: Home) -> None:
    disks = (Path("/dev/shm"), Path("/var/tmp"))  # the home may be in one of them
    other = [disk for disk in disks if disk.is_dir() and disk.stat().st_dev != home.path.stat().st_dev]
    if not other:
        pytest.skip("there is no second disk here")
    with TemporaryDirectory(dir=other[0]) as folder:
        with replace_atomically(Path(folder) / "figures.prom", scratch=home.scratch) as path:
            path.write_text("whole")
        assert [path.name for path in Path(folder).iterdir()] == ["figures.prom"]


def test_a_manifest_line_is_synced_before_its_files_are_renamed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line whose writer was killed before syncing it may not be on the disk: the next command syncs it first."""
    order: list[str] = []

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr("pipeline.store.append._place_all", dies)
        append(home, "a")
    fsync, replace = os.fsync, os.replace

    def recorded_sync(descriptor: int) -> None:
        order.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def recorded_rename(source: Path, target: Path) -> None:
        order.append(f"rename to {target}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "replace", recorded_rename)
    finish_interrupted(home)
    renamed = [place for place, what in enumerate(order) if what.startswith("rename")]
    assert order.index(str(home.manifest)) < renamed[0] and len(renamed) == 3 and is_intact(home)


def test_a_journal_of_a_killed_run_can_be_adopted_and_a_lost_one_given_up(home: Home) -> None:
    journal = home.outbox / "run.jsonl"
    journal.write_text("{}")
    assert adopt_files(home) == 1
    assert read_manifest(home).journals == {"ledger/outbox/run.jsonl"} and is_intact(home)
    journal.write_text("{}\n{}")
    assert is_intact(home), "it is appended to"
    journal.unlink()
    (problem,) = integrity_problems(home, read_store_state(home))
    assert "--adopt" in problem.next_step
    adopt_files(home)
    assert is_intact(home)


def test_the_next_writer_removes_the_scratch_folder_of_a_killed_one(tmp_path: Path) -> None:
    leftover = tmp_path / f".figures.prom.{0:032x}"
    leftover.mkdir()
    (leftover / "figures.prom").write_text("half")
    with replace_atomically(tmp_path / "figures.prom") as path:
        path.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.prom"]
