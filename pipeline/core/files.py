"""Atomic writes: a file or folder appears whole or not at all, and a killed writer leaves nothing behind for good.

A writer works in a folder of its own that it holds locked (flock). The operating system releases the lock when the process ends,
however it ends. An unlocked folder is therefore orphaned, and the next writer removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_atomically(target: Path, mode: int = 0o600, *, scratch: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """Write to the yielded path; when the block ends it is synced and renamed to `target`. An error leaves `target` unchanged.

    `scratch`: the folder to write in; by default, and if `scratch` is on another disk, the folder of the target. Files that
    killed writers left there are removed. `sync=False` skips the syncing, for files that can be generated again: after a power
    cut they may be empty.
    """
    make_folders(target.parent)
    if scratch is not None:
        make_folders(scratch)
        if not are_on_same_disk(scratch, target.parent):
            scratch = None
    prefix = f".{target.name}." if scratch is None else "file-"
    parent = target.parent if scratch is None else scratch
    remove_orphaned_folders(parent, prefix)
    with locked_new_folder(parent, prefix) as folder:
        written = folder / target.name
        yield written
        written.chmod(mode)
        move_into_place(written, target, sync=sync)


def move_into_place(written: Path, target: Path, *, sync: bool = True) -> None:
    """Sync a file, or a folder with everything in it, rename it to `target`, and sync the rename."""
    if sync:
        sync_tree(written)
    os.replace(written, target)
    if sync:
        sync_folder(target.parent)


def are_on_same_disk(one: Path, other: Path) -> bool:
    """Whether a file can be renamed from one folder to the other."""
    return one.stat().st_dev == other.stat().st_dev


def sync_tree(path: Path) -> None:
    """Make a file, or a folder with everything in it, survive a power cut: contents first, then the directory entries."""
    if path.is_file():
        with path.open("rb") as written:
            os.fsync(written.fileno())
        return
    for inside in sorted(path.iterdir()):
        sync_tree(inside)
    sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700, so that they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for created in reversed(missing):
        created.mkdir(mode=0o700, exist_ok=True)
        sync_folder(created.parent)


@contextmanager
def locked_new_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a folder `<prefix><hex>`, locked while the block runs, and remove it afterwards unless it was renamed."""
    folder, descriptor = _create_locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _create_locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = parent / f"{prefix}{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process removed it as orphaned before it was locked
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)


def remove_orphaned_folders(parent: Path, *prefixes: str) -> None:
    """Remove the folders that `locked_new_folder` created with these prefixes and whose processes have ended."""
    pattern = re.compile(f"({'|'.join(map(re.escape, prefixes))})[0-9a-f]{{32}}")
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    except FileNotFoundError:
        return
    for folder in found:
        _remove_if_orphaned(folder)


def _remove_if_orphaned(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # not a folder, or already removed
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Stays locked until it is removed: a process that has just created it and not locked it yet creates another.
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use
        pass
    finally:
        os.close(descriptor)
