"""Appends files to raw/ and ledger/: a group of files appears together, whole, and is never overwritten.

The files are written to a scratch folder and synced. Then one line is appended to the manifest that lists them all; this commits
the write. Then they are renamed to their targets, and files of which they have all rows are removed. A write that was killed
before the commit leaves nothing; after the commit, the next command does the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.core.files import are_on_same_disk, make_folders, sync_folder, sync_tree
from pipeline.core.home import Home
from pipeline.store.manifest import WrittenFile, append_line, last_line, lock_manifest, new_line, read_manifest
from pipeline.store.scratch_folders import COMMITTED, remove_orphaned_scratch, scratch_folder


class AlreadyWrittenError(BillhouseError):
    """A file exists already; files are never replaced."""


@dataclass
class NewFiles:
    """A group of files that is being written."""

    home: Home
    scratch: Path
    """The folder that they are written in."""
    targets: list[str] = field(default_factory=list)
    """Paths relative to the home, in the order in which the files are renamed."""
    folders: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def file(self, target: Path) -> Path:
        """The path to write the file `target` to. Files are renamed to their targets in the order of these calls."""
        self.targets.append(self._relative(target))
        return self.scratch / _scratch_name(len(self.targets), self.targets[-1])

    def folder(self, target: Path) -> Path:
        """A folder to write files in; it is renamed to `target` as a whole."""
        written = self.file(target)
        written.mkdir(mode=0o700)
        self.folders.append(self.targets[-1])
        return written

    def journal(self, target: Path) -> Path:
        """Like `file`, for a journal: it may be appended to afterwards, until `close_journal`."""
        self.opened.append(self._relative(target))
        return self.file(target)

    def close_journal(self, target: Path) -> None:
        """Record that the content of a journal is in other files now, and that it may be removed."""
        self.closed.append(self._relative(target))

    def replace(self, existing: Path) -> None:
        """Record that all rows of an existing file are in the files of this write; it is removed when those are in place."""
        self.replaced.append(self._relative(existing))

    def _relative(self, target: Path) -> str:
        return target.relative_to(self.home.path).as_posix()


def _scratch_name(number: int, target: str) -> str:
    return f"{number:06d}-{Path(target).name}"


@contextmanager
def append_files(home: Home, command: str) -> Iterator[NewFiles]:
    """Write a group of files; they appear together when the block ends, and not at all if it fails.

    `command` is recorded in the manifest. Raises AlreadyWrittenError if one of the files exists.
    """
    with scratch_folder(home, "write") as scratch:
        files = NewFiles(home, scratch)
        yield files
        if files.targets or files.closed:
            _commit(files, command)


def finish_interrupted(home: Home) -> None:
    """Finish the renames and removals of a committed write that was killed, and remove the scratch folders of killed commands.

    Every command that reads raw/ or ledger/ to decide what to write there, or reads the rows of raw/, calls this after it has
    acquired its lock.
    """
    if any(home.scratch.glob(f"{COMMITTED}*")):
        with lock_manifest(home):
            place_committed(home)
    remove_orphaned_scratch(home)


def unplaced_files(home: Home) -> dict[str, Path]:
    """Committed files that a killed command has not renamed yet: by their target, the path of each now."""
    scratch = _unplaced_folder(home)
    if scratch is None:
        return {}
    found = {}
    for number, target in enumerate(_targets_of(json.loads(last_line(home))), 1):
        written = scratch / _scratch_name(number, target)
        for path in _files_at(written):
            found[(Path(target) / path.relative_to(written)).as_posix()] = path
    return found


def unremoved_files(home: Home) -> frozenset[str]:
    """Files (relative to the home) that a committed write has replaced and a killed command has not removed yet."""
    is_unfinished = _unplaced_folder(home) is not None
    return frozenset(json.loads(last_line(home)).get("replaced", ()) if is_unfinished else ())


def _commit(files: NewFiles, command: str) -> None:
    home = files.home
    written = {}
    for number, target in enumerate(files.targets, 1):
        at = files.scratch / _scratch_name(number, target)
        for path in _files_at(at):
            path.chmod(path.stat().st_mode & 0o700)
            if target not in files.opened:
                written[(Path(target) / path.relative_to(at)).as_posix()] = path
    sync_tree(files.scratch)
    with ThreadPoolExecutor() as pool:
        hashed = dict(zip(written, pool.map(WrittenFile.of, written.values()), strict=True))
    entry = {
        "command": command,
        "files": {path: [file.sha256, file.size] for path, file in hashed.items()},
        "folders": files.folders,
        "opened": files.opened,
        "closed": files.closed,
        "replaced": files.replaced,
    }
    assert _targets_of(entry) == files.targets, "every requested file is written, and journals come last"
    with lock_manifest(home):
        place_committed(home)
        _require_one_disk(home, files.targets)
        _move_uncommitted_files(home, files.targets, files.scratch)
        line = new_line(home, entry)
        committed = _committed_folder(home, line)
        os.replace(files.scratch, committed)
        sync_folder(home.scratch)
        try:
            append_line(home, line)
        except OSError:
            if last_line(home) != line:
                shutil.rmtree(committed, ignore_errors=True)
            raise
        _place_all(home, entry, committed)


def _targets_of(entry: dict[str, Any]) -> list[str]:
    """The files and folders of a manifest line, in the order in which they are renamed."""
    folders = entry.get("folders", [])
    inside = {path: folder for folder in folders for path in entry.get("files", {}) if path.startswith(f"{folder}/")}
    paths = [*entry.get("files", {}), *entry.get("opened", [])]
    return list(dict.fromkeys(inside.get(path, path) for path in paths))


def _files_at(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(inside for inside in path.rglob("*") if inside.is_file())


def _committed_folder(home: Home, line: bytes) -> Path:
    """The scratch folder of a committed write, by its line in the manifest."""
    return home.scratch / f"{COMMITTED}{hashlib.sha256(line).hexdigest()[:32]}"


def _unplaced_folder(home: Home) -> Path | None:
    """The scratch folder of the last committed write, if not all of its files have been renamed."""
    line = last_line(home)
    folder = _committed_folder(home, line)
    return folder if line and folder.is_dir() else None


def place_committed(home: Home) -> None:
    """Finish the last committed write, and remove uncommitted writes. The caller locks the manifest."""
    folder = _unplaced_folder(home)
    if folder is not None:
        # The line may not have reached the disk yet: it must, before its files are renamed.
        sync_tree(home.manifest)
        sync_folder(home.ledger)
        _place_all(home, json.loads(last_line(home)), folder)
    for uncommitted in home.scratch.glob(f"{COMMITTED}*"):
        shutil.rmtree(uncommitted, ignore_errors=True)


def _require_one_disk(home: Home, targets: list[str]) -> None:
    """Raise BillhouseError, before the commit, if a file could not be renamed to its target."""
    for folder in {(home.path / target).parent for target in targets}:
        make_folders(folder)
        if not are_on_same_disk(home.scratch, folder):
            raise BillhouseError(
                f"{folder} is on another disk than {home.scratch}, so files cannot be renamed into it.",
                "Keep raw/ and ledger/ on the disk of the home. To use another disk, choose a home there with --home DIR.",
            )


def _move_uncommitted_files(home: Home, targets: list[str], scratch: Path) -> None:
    """Move existing files that are not in the manifest out of the way. Raises AlreadyWrittenError for those that are."""
    existing = [target for target in targets if (home.path / target).exists()]
    if not existing:
        return
    manifest = read_manifest(home)
    for number, target in enumerate(existing):
        if any(path == target or path.startswith(f"{target}/") for path in manifest.files):
            raise AlreadyWrittenError(
                f"{home.path / target} exists already, and files in raw/ and ledger/ are never replaced.",
                "Check the home: billhouse verify",
            )
        os.replace(home.path / target, scratch / f"never-committed-{number}")


def _place_all(home: Home, entry: dict[str, Any], committed: Path) -> None:
    targets = _targets_of(entry)
    folders = dict.fromkeys((home.path / target).parent for target in targets)
    for folder in folders:
        make_folders(folder)
    for number, relative in enumerate(targets, 1):
        written, target = committed / _scratch_name(number, relative), home.path / relative
        if written.exists() and not target.exists():
            os.replace(written, target)
    for folder in folders:
        sync_folder(folder)
    replaced = [home.path / path for path in entry.get("replaced", ())]
    if replaced and all((home.path / target).exists() for target in targets):
        for path in replaced:
            path.unlink(missing_ok=True)
        for folder in dict.fromkeys(path.parent for path in replaced):
            sync_folder(folder)
    shutil.rmtree(committed, ignore_errors=True)
