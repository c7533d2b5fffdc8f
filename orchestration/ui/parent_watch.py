"""A process that ends with the one that started it, also where that one is killed and can end nothing itself.

The parent starts the process in a process group of its own, with a pipe as its standard input, and writes nothing. When the
parent is gone, the pipe ends: the whole group is interrupted, and killed where that takes too long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

OPTION = "--stop-with-parent"
"""First argument of a program that calls `stop_with_parent`."""
SECONDS_TO_STOP = 20


def start_child(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program that calls `stop_with_parent`. A terminal interrupts the parent alone, which passes it on."""
    return subprocess.Popen(  # noqa: S603 - callers pass our own programs only
        command, cwd=folder, env=variables, stdin=subprocess.PIPE, start_new_session=True
    )


def stop_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt each child with its whole group, which lets it end what it does; kill what takes longer than 20 seconds."""
    for child in children:
        _signal_group(child.pid, signal.SIGINT)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while time.monotonic() < deadline and any(child.poll() is None or _has_members(child.pid) for child in children):
        time.sleep(0.1)
    for child in children:
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()


def stop_with_parent() -> None:
    """Stop with the parent, where the first argument says so, which is removed; nothing happens where it does not."""
    if sys.argv[1:2] != [OPTION]:
        return
    del sys.argv[1]
    # What a script starts in the background ignores interrupts, and so does what it starts itself.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_stop_when_parent_ends, name="parent-watch", daemon=True).start()


def _stop_when_parent_ends() -> None:
    while os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1):
        pass
    group = os.getpgrp()
    _signal_group(group, signal.SIGINT)
    time.sleep(SECONDS_TO_STOP)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says PermissionError where only zombies are left
        os.killpg(group, number)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
