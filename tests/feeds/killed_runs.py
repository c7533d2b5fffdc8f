"""Runs the command line in a process of its own that is killed between two of its steps.

In one home, again and again: some rows are added to the source, and a run is killed at its n-th call that changes a file, before
or after it; so each run begins with what a kill at the step before has left.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.kills.fork_server import run_command_line
from tests.kills.harness import KILLED
from tests.kills.hooks import install

SOAK = int(os.environ.get("BILLHOUSE_SOAK_COLLECT", "0"))
"""Kills for each feed, half of them at random instants; 0 in the suite, which has a few, at chosen steps."""
_MOST_SECONDS = 60


def killed_run(
    home: Path, words: list[str], *, at: int = 0, when: str = "after", seconds: float = _MOST_SECONDS, log: str | None = None
) -> int:
    """Run `billhouse`, killed at a call that changes a file of the home (0: at none), or after some seconds; its exit code."""
    process = os.fork()
    if process == 0:
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            random.seed()
            install(home, {"kill": {"at": at, "when": when}, "log": log})
            os._exit(run_command_line(["--home", str(home), *words]))
        finally:
            os._exit(70)
    until = time.monotonic() + seconds
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_between_steps(home: Path, words: list[str], add_rows: Callable[[int], object], steps: list[int]) -> int:
    """Add rows and kill a run, for each of these steps (in a soak: for all, and at random instants); at the end one whole run.

    `add_rows` is called with the number of the run. Returns the number of kills, without runs that ended earlier.
    """
    kills = number = 0
    for number, kill in enumerate(_soak_kills(home, words, add_rows) if SOAK else _few_kills(steps), 1):
        add_rows(number)
        code = killed_run(home, words, **kill)
        assert code in (0, KILLED), (kill, code)
        kills += code == KILLED
        if SOAK and (kills == SOAK or number == 4 * SOAK):
            break
    add_rows(10_000)
    assert killed_run(home, words) == 0
    if SOAK:
        print(f"\n{' '.join(words)}: {kills} kills, {number} runs")
        assert kills == SOAK
    return kills


def _few_kills(steps: list[int]) -> Iterator[dict[str, Any]]:
    for step in steps:
        for when in ("before", "after"):
            yield {"at": step, "when": when}


def _soak_kills(home: Path, words: list[str], add_rows: Callable[[int], object]) -> Iterator[dict[str, Any]]:
    """Without end: at each of the calls that a whole run made, before and after it, and at a random instant."""
    log = home.parent / "calls"
    add_rows(0)
    began = time.monotonic()
    assert killed_run(home, words, log=str(log)) == 0
    whole, calls, chosen = time.monotonic() - began, len(log.read_text().splitlines()), Random(1)
    while True:
        for at in range(1, calls + 1):
            yield {"at": at, "when": ("before", "after")[at % 2]}
            yield {"seconds": chosen.uniform(0, whole)}
