"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_atomically(target: Path, mode: int = 0o600, *, durably: bool = True) -> Iterator[Path]:
    """Write to the path yielded; on leaving, it is synced and renamed to `target`. An error leaves `target` as it was.

    `durably=False` leaves out the syncing: for what can be made again, since a power cut may leave it empty.
    """
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield scratch
        if durably:
            with scratch.open("rb") as written:
                os.fsync(written.fileno())
        scratch.chmod(mode)
        os.replace(scratch, target)
        if durably:
            sync_folder(target.parent)
    finally:
        scratch.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
