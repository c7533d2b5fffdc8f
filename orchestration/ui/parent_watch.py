"""Child processes that stop when their parent ends, also when the parent is killed.

The parent starts a child in its own process group with a pipe as standard input, and writes nothing. When the parent ends, the
pipe closes: the child's group is interrupted, and killed after SECONDS_TO_STOP.
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
    """Start a program that calls `stop_with_parent`. The terminal interrupts only the parent, which must stop its children."""
    return subprocess.Popen(  # noqa: S603 - callers pass our own programs only
        command, cwd=folder, env=variables, stdin=subprocess.PIPE, start_new_session=True
    )


def stop_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt the group of each child, so that it can finish its work; kill it after SECONDS_TO_STOP."""
    for child in children:
        _signal_group(child.pid, signal.SIGINT)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while time.monotonic() < deadline and any(child.poll() is None or _has_members(child.pid) for child in children):
        time.sleep(0.1)
    for child in children:
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()


def stop_with_parent() -> None:
    """If the first argument is OPTION, remove it and stop this process when its parent ends."""
    if sys.argv[1:2] != [OPTION]:
        return
    del sys.argv[1]
    # A process that a script starts in the background ignores interrupts, and its children inherit that.
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
    with suppress(ProcessLookupError, PermissionError):  # macOS raises PermissionError if only zombies are left
        os.killpg(group, number)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
