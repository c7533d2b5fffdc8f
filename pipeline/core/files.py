"""Files and folders that are there whole or not at all, and what a killed command leaves of them: nothing that stays.

Whatever is being written is in a folder that its writer holds locked. The system lets go of the lock when the writer dies,
however it dies; so a folder that nobody holds is of the dead, and whoever comes next removes it.
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
def replace_atomically(target: Path, mode: int = 0o600, *, aside: Path | None = None, durably: bool = True) -> Iterator[Path]:
    """Write to the path yielded; on leaving, it is synced and renamed to `target`. An error leaves `target` as it was.

    `aside`: where to write it meanwhile, in a folder of its own; beside the target where none is given, or it is on another disk.
    What killed writers left there is removed. `durably=False` leaves out the syncing: for what can be made again, since a power
    cut may leave it empty.
    """
    make_folders(target.parent)
    if aside is not None:
        make_folders(aside)
        if not are_on_one_disk(aside, target.parent):
            aside = None
    prefix = f".{target.name}." if aside is None else "file-"
    parent = target.parent if aside is None else aside
    remove_abandoned(parent, prefix)
    with hold_new_folder(parent, prefix) as folder:
        written = folder / target.name
        yield written
        written.chmod(mode)
        place(written, target, durably=durably)


def place(written: Path, target: Path, *, durably: bool = True) -> None:
    """Rename a file or a folder to `target`, after all that it holds is synced; and sync the rename."""
    if durably:
        sync_tree(written)
    os.replace(written, target)
    if durably:
        sync_folder(target.parent)


def are_on_one_disk(one: Path, other: Path) -> bool:
    """Whether a file can be renamed from one folder to the other."""
    return one.stat().st_dev == other.stat().st_dev


def sync_tree(path: Path) -> None:
    """Make a file, or a folder with all that it holds, survive a power cut: contents first, then the names."""
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
    """Make a folder and those above it, for their owner alone, so that they survive a power cut."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for made in reversed(missing):
        made.mkdir(mode=0o700, exist_ok=True)
        sync_folder(made.parent)


@contextmanager
def hold_new_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder, locked while it is used and removed afterwards, unless its user has renamed it."""
    folder, descriptor = _new_held_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _new_held_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = parent / f"{prefix}{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # somebody took it for abandoned before it was locked
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)


def remove_abandoned(parent: Path, *prefixes: str) -> None:
    """Remove the folders that `hold_new_folder` made under these prefixes, and whose holders have died. Others stay."""
    of_this_kind = re.compile(f"({'|'.join(map(re.escape, prefixes))})[0-9a-f]{{32}}")
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if of_this_kind.fullmatch(entry.name)]
    except FileNotFoundError:
        return
    for folder in found:
        _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # no folder, or gone by now
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locked until it is gone: whoever has made it this instant, and not locked it yet, makes another.
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use
        pass
    finally:
        os.close(descriptor)
