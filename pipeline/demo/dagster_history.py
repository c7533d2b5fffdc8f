"""Dagster's history of the demo: a process that loads Dagster once, and records each step while the next one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pipeline.core.files import make_folders
from pipeline.core.home import HOME_VARIABLE, SEEDS, SEEDS_VARIABLE, Home
from pipeline.monitoring.command_reports import report_command

_SECONDS_TO_FINISH = 180


@dataclass
class DagsterHistory:
    """Reports of steps, and the process that records them. A failure to record is a text in `problems`, no error."""

    home: Home
    recorder: subprocess.Popen[bytes]
    problems: list[str] = field(default_factory=list)

    def report(self, work: str, result: object, **details: object) -> None:
        """Report a step, as the command of that name does."""
        try:
            report_command(self.home, work, result, **details)
        except Exception as error:  # the step's own work is done
            self.problems.append(str(error))

    def finish(self) -> None:
        """Wait until everything is recorded."""
        try:
            _, errors = self.recorder.communicate(timeout=_SECONDS_TO_FINISH)
        except subprocess.TimeoutExpired:
            self.problems.append("It takes too long. `billhouse ui` records the rest when it starts.")
            return
        if self.recorder.returncode:
            self.problems += errors.decode(errors="replace").strip().splitlines()[-1:] or ["The recording process failed."]


@contextmanager
def recorded_history(home: Home) -> Iterator[DagsterHistory]:
    """Create Dagster's instance in the home, and record the steps of the block."""
    make_folders(home.command_reports)
    environment = os.environ | {HOME_VARIABLE: str(home.path), "PYTHONWARNINGS": "ignore"}
    if SEEDS_VARIABLE in os.environ:
        environment[SEEDS_VARIABLE] = str(SEEDS)
    # pipeline does not import orchestration. -P: nothing is imported from the current folder.
    recorder = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "orchestration.ui.record", str(home.path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # an interrupt ends the demo; the recorder then finishes and ends
    )
    try:
        yield DagsterHistory(home, recorder)
    finally:
        if recorder.stdin is not None:
            with suppress(OSError):
                recorder.stdin.close()
