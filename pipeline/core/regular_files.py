"""Opening files that others wrote: regular files alone, and no symbolic link.

A link may point at anything that we can read, a pipe waits for a writer, and a device may have no end.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class NotRegularError(OSError):
    """What a name stands for is no regular file; its text says what it is, and `next_step` what to do."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(what)
        self.next_step = next_step


def check_regular(found: os.stat_result) -> None:
    """Raise NotRegularError for anything but a regular file. `found` is of the name itself (`lstat`), or of an open file."""
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        raise NotRegularError("is a symbolic link, which is not followed.", "Name the file itself, or copy it.")
    if stat.S_ISDIR(mode):
        raise NotRegularError("is a folder.", "Name the files in it.")
    if not stat.S_ISREG(mode):
        raise NotRegularError("is a pipe or a device.", "Write its rows to a file.")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes. Raises NotRegularError and OSError; never waits, and never follows a link."""
    check_regular(os.lstat(path))  # a device may do something when it is opened
    descriptor = os.open(path, _FLAGS)
    try:
        check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
