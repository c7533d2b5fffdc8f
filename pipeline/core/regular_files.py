"""Opens files that other programs wrote: regular files only, no symbolic links.

A link may point to any file that this user can read, a pipe blocks until something writes to it, and a device may be endless.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class NotRegularError(OSError):
    """A path is not a regular file. The text says what it is, `next_step` what to do."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.next_step = next_step


def check_regular(found: os.stat_result) -> None:
    """Raise NotRegularError unless the stat result, of a path (`lstat`) or an open file, is that of a regular file."""
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        raise NotRegularError("is a symbolic link, which is not followed.", "Name the file itself, or copy it.")
    if stat.S_ISDIR(mode):
        raise NotRegularError("is a folder.", "Name the files in it.")
    if not stat.S_ISREG(mode):
        raise NotRegularError("is a pipe or a device.", "Write its rows to a file.")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes. Never blocks, never follows a link. Raises NotRegularError and OSError."""
    check_regular(os.lstat(path))  # before opening, since opening a device can have side effects
    descriptor = os.open(path, _FLAGS)
    try:
        check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
