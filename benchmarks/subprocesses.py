"""Runs a step in a separate process, to measure its memory."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """The result of a process."""

    exit_code: int
    output: str
    """Standard output."""
    peak_gigabytes: float


def call_in_process(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a separate process, so that its memory does not count for processes that are started later.

    Linux starts the peak memory of a process with the memory of its parent.
    """
    making = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    making.start()
    making.join()
    if making.exitcode:
        sys.exit(f"{function.__name__} failed")


def run_process(command: Sequence[str]) -> Ran:
    """Run a command and wait for it; standard error is inherited."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - this package itself
        assert running.stdout is not None
        output = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    return Ran(running.returncode, output, used.ru_maxrss / 1e6)
