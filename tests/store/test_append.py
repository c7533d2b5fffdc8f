"""Files come into raw/ and ledger/ together and whole, whatever happens meanwhile."""

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
    """Two files, and a folder with one."""
    with append_files(home, f"write {name}") as files:
        files.file(home.raw / "days" / f"{name}.parquet").write_text(f"day of {name}")
        (files.folder(home.ledger / "months" / name) / "close.parquet").write_text(f"close of {name}")
        files.file(home.raw / "landed" / f"{name}.parquet").write_text(f"row of {name}")


def state(home: Home) -> dict[str, str]:
    """Every file of truth, with its content."""
    found = (path for top in (home.raw, home.ledger) for path in top.rglob("*") if path.is_file())
    return {path.relative_to(home.path).as_posix(): path.read_text() for path in found}


def is_sound(home: Home) -> bool:
    return list(integrity_problems(home, read_store_state(home))) == []


def test_files_of_one_write_are_in_the_manifest_and_in_their_places(home: Home) -> None:
    append(home, "a")
    append(home, "b")
    written = state(home)
    manifest = read_manifest(home)
    assert written.keys() - {"ledger/manifest.jsonl"} == manifest.files.keys()
    assert len(manifest.heads) == 2 and manifest.head == manifest_head(home)
    assert is_sound(home)
    assert {path.stat().st_mode & 0o077 for path in home.path.rglob("*")} == {0}
    assert list(home.scratch.iterdir()) == []


def test_an_error_while_writing_leaves_nothing(home: Home) -> None:
    with suppress(ZeroDivisionError), append_files(home, "write") as files:
        files.file(home.raw / "days" / "a.parquet").write_text("half")
        raise ZeroDivisionError
    assert state(home) == {} and list(home.scratch.iterdir()) == []


def test_what_is_there_is_never_replaced(home: Home) -> None:
    append(home, "a")
    before = state(home)
    with pytest.raises(AlreadyWrittenError):
        append(home, "a")
    assert state(home) == before and is_sound(home) and list(home.scratch.iterdir()) == []


def at_every_step(home: Home, tmp_path: Path, act: Callable[[Home], None], stop: Callable[[], None]) -> Iterator[Home]:
    """A copy of a home for each system call that `act` makes, in which it was stopped before that call."""
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


def test_killed_before_any_system_call_a_write_is_there_whole_or_not_at_all(home: Home, tmp_path: Path) -> None:
    append(home, "a")
    before = state(home)
    append(home, "b")
    after = state(home)
    start = Home.open(tmp_path / "start")
    append(start, "a")
    outcomes = []
    for trial in at_every_step(start, tmp_path, lambda home: append(home, "b"), lambda: os.kill(os.getpid(), signal.SIGKILL)):
        assert is_sound(trial), "also before the next command puts things into their places"
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
        assert is_sound(trial)
        assert list(trial.scratch.iterdir()) == [], "nothing stays of the killed"
    assert len(outcomes) > 15 and outcomes == sorted(outcomes) and set(outcomes) == {False, True}


def test_a_disk_that_is_full_at_any_step_leaves_it_whole_or_not_at_all(
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
        assert is_sound(trial)
        finish_interrupted(trial)
        is_there = "raw/landed/b.parquet" in state(trial)
        assert is_there or state(trial) == before
        seen.add(is_there)
        if not is_there:
            append(trial, "b")
        append(trial, "c")
        assert is_sound(trial) and list(trial.scratch.iterdir()) == []
        if left[0] > 0:
            break
    assert seen == {False, True} and left[0] > 0


def test_a_line_that_was_cut_off_says_nothing_and_is_written_over(home: Home) -> None:
    append(home, "a")
    whole = home.manifest.read_bytes()
    home.manifest.write_bytes(whole + b'{"command": "write b", "files": {"raw/da')
    assert is_sound(home) and manifest_head(home) == read_manifest(home).head
    append(home, "b")
    assert home.manifest.read_bytes().startswith(whole) and len(read_manifest(home).heads) == 2 and is_sound(home)


def test_many_writers_at_once_make_one_chain(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(home, f"{number}"), range(40)))
    assert len(read_manifest(home).heads) == 40 and is_sound(home) and list(home.scratch.iterdir()) == []


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


def test_the_folder_of_a_living_writer_stays_and_that_of_a_dead_one_goes(tmp_path: Path) -> None:
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
        assert held.exists(), "a kill leaves it"
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


def test_who_verifies_while_another_writes_finds_nothing_wrong(home: Home) -> None:
    append(home, "a")
    with subprocess.Popen([sys.executable, "-c", _APPEND, str(home.path), "150"], cwd=PROJECT_ROOT) as writer:
        verified = 0
        while writer.poll() is None:
            assert list(integrity_problems(home, read_store_state(home))) == []
            verified += 1
    assert verified > 3 and len(read_manifest(home).heads) == 151


def test_what_lies_in_a_place_and_was_never_committed_is_no_hindrance(home: Home) -> None:
    """A landing of an older version that was killed: the file's own name is taken, and nobody counts what is there."""
    append(home, "a")
    orphan = home.raw / "days" / "b.parquet"
    orphan.write_text("half")
    append(home, "b")
    assert orphan.read_text() == "day of b" and is_sound(home)


def test_a_folder_on_another_disk_is_refused_before_anything_is_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    append(home, "a")
    before = state(home)
    monkeypatch.setattr("pipeline.store.append.are_on_same_disk", lambda *_: False)
    with pytest.raises(BillhouseError, match="on another disk"):
        append(home, "b")
    monkeypatch.undo()
    finish_interrupted(home)
    assert state(home) == before and is_sound(home)
    append(home, "b")


def test_a_file_on_another_disk_than_the_scratch_folder_is_written_beside_its_place(home: Home) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == home.path.stat().st_dev:
        pytest.skip("there is no second disk here")
    with TemporaryDirectory(dir=shared_memory) as folder:
        with replace_atomically(Path(folder) / "figures.prom", scratch=home.scratch) as path:
            path.write_text("whole")
        assert [path.name for path in Path(folder).iterdir()] == ["figures.prom"]


def test_a_line_is_on_the_disk_before_its_files_are_in_their_places(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between writing the line and syncing it, it is in the system's memory alone: the next command syncs it first."""
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
    assert order.index(str(home.manifest)) < renamed[0] and len(renamed) == 3 and is_sound(home)


def test_a_journal_of_a_killed_run_is_adopted_as_one_and_one_that_is_lost_can_be_given_up(home: Home) -> None:
    journal = home.outbox / "run.jsonl"
    journal.write_text("{}")
    assert adopt_files(home) == 1
    assert read_manifest(home).journals == {"ledger/outbox/run.jsonl"} and is_sound(home)
    journal.write_text("{}\n{}")
    assert is_sound(home), "it is appended to"
    journal.unlink()
    (problem,) = integrity_problems(home, read_store_state(home))
    assert "--adopt" in problem.next_step
    adopt_files(home)
    assert is_sound(home)


def test_what_a_killed_writer_of_a_file_left_goes_with_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / f".figures.prom.{0:032x}"
    leftover.mkdir()
    (leftover / "figures.prom").write_text("half")
    with replace_atomically(tmp_path / "figures.prom") as path:
        path.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.prom"]
