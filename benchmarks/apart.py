"""A step in a process of its own, so that its memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What became of a process."""

    exit_code: int
    said: str
    """Its standard output."""
    peak_gigabytes: float


def make_apart(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a process of its own, so that what it takes is not counted as the peak of what is run later.

    Linux counts for a process also what the one that started it held by then.
    """
    making = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    making.start()
    making.join()
    if making.exitcode:
        sys.exit(f"{function.__name__} failed")


def run_apart(command: Sequence[str]) -> Ran:
    """Run a command and wait for it; its errors go where ours go."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - this package itself
        assert running.stdout is not None
        said = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    return Ran(running.returncode, said, used.ru_maxrss / 1e6)
