"""A step in a process of its own, so that its memory is its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What became of a process."""

    exit_code: int
    said: str
    """Its standard output."""
    peak_gigabytes: float


def run_apart(command: Sequence[str]) -> Ran:
    """Run a command and wait for it; its errors go where ours go."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - this package itself
        assert running.stdout is not None
        said = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    return Ran(running.returncode, said, used.ru_maxrss / 1e6)
