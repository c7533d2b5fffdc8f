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

from tests.kills.fork_server import run_command_line
from tests.kills.harness import KILLED
from tests.kills.hooks import install

SOAK = int(os.environ.get("BILLHOUSE_SOAK_COLLECT", "0"))
"""Kills for each feed, half of them at random instants; 0 in the suite, which has a few at chosen steps."""
_MOST_SECONDS = 60


def killed_run(home: Path, words: list[str], *, at: int = 0, when: str = "after", seconds: float = _MOST_SECONDS) -> int:
    """Run `billhouse`, killed at a call that changes a file of the home (0: at none), or after some seconds; its exit code."""
    process = os.fork()
    if process == 0:
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            random.seed()
            install(home, {"kill": {"at": at, "when": when}})
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
    """Add rows and kill a run, for each of these steps (in a soak: for all of them, and at random instants); then one whole run.

    `add_rows` is called with the number of the round. Returns the number of kills.
    """
    kills = number = 0
    for number, kill in enumerate(_kills(home, words, add_rows, steps), 1):
        add_rows(number)
        code = killed_run(home, words, **kill)  # type: ignore[arg-type]
        assert code in (0, KILLED), (kill, code)
        kills += code == KILLED
    add_rows(10_000)
    assert killed_run(home, words) == 0
    if SOAK:
        print(f"\n{' '.join(words)}: {kills} kills of {number} runs, all rows collected")
    return kills


def _kills(
    home: Path, words: list[str], add_rows: Callable[[int], object], steps: list[int]
) -> Iterator[dict[str, int | str | float]]:
    if not SOAK:
        for step in steps:
            for when in ("before", "after"):
                yield {"at": step, "when": when}
        return
    add_rows(0)
    began = time.monotonic()
    assert killed_run(home, words) == 0
    whole = time.monotonic() - began
    chosen = Random(1)
    for number in range(SOAK // 2):  # a run has some twenty such calls
        yield {"at": 1 + number // 2 % 25, "when": ("before", "after")[number % 2]}
    for _ in range(SOAK - SOAK // 2):
        yield {"seconds": chosen.uniform(0, whole)}
