"""Lock files: one process at a time does a thing, others wait for a limited time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.core.errors import LockedError


@contextmanager
def hold_lock(path: Path, *, activity: str, timeout_seconds: float, is_reentrant: bool = False) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs. Its folder must exist.

    `activity`: what the holder does, as in "Another command is <activity>.". `is_reentrant`: a thread that holds the lock may
    acquire it again. Raises LockedError if another process still holds the lock after `timeout_seconds`; 0 does not wait.
    """
    lock = FileLock(path, is_singleton=is_reentrant, mode=0o600)
    try:
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        held = f"has been {activity} for over {timeout_seconds:g} seconds" if timeout_seconds else f"is {activity}"
        raise LockedError(
            f"Another command {held}.", "Wait until it is done, or end it if it hangs; then run this command again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether some process, also this one, holds the lock file at `path`. Does not wait, and does not create the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)  # which also releases the shared lock
    return False
