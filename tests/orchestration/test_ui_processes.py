"""When `billhouse ui` ends or is killed, all processes that it started end, too."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.orchestration.serving import serving
from tests.support import copy_home

PROCESSES = Path("/proc")
SECONDS_TO_STOP = 90
"""Generous, for machines that are busy with other tests."""
pytestmark = pytest.mark.skipif(not (PROCESSES / "self" / "stat").exists(), reason="needs /proc of Linux to list processes")


def processes() -> dict[tuple[int, str], int]:
    """The parent of each running process, by process id and start time (process ids are reused)."""
    found = {}
    for folder in PROCESSES.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZX":
            found[int(folder.name), fields[19]] = int(fields[1])
    return found


def descendants(ancestor: int) -> set[tuple[int, str]]:
    parents = processes()
    found: set[tuple[int, str]] = set()
    while more := {one for one, parent in parents.items() if parent in {ancestor, *(id for id, _ in found)}} - found:
        found |= more
    return found


def command(process: tuple[int, str]) -> str:
    return (PROCESSES / str(process[0]) / "cmdline").read_text().replace("\0", " ")


@pytest.mark.parametrize(
    ("signal_", "ignores_interrupts"),
    [(signal.SIGTERM, True), (signal.SIGKILL, False)],
    ids=["SIGTERM, while interrupts are ignored", "SIGKILL"],
)
def test_no_process_that_the_ui_started_outlives_it(
    signal_: signal.Signals, ignores_interrupts: bool, tmp_path: Path, parsed_project: Path
) -> None:
    home = copy_home(parsed_project, tmp_path / "home")
    with serving(home, ignores_interrupts=ignores_interrupts) as (_, ui):
        started = wait_for_code_servers(ui.pid)
        ui.send_signal(signal_)
        ui.wait(timeout=SECONDS_TO_STOP)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while (left := started & processes().keys()) and time.monotonic() < deadline:
            time.sleep(0.2)
        commands = [command(process) for process in left]
        for id, _ in left:
            os.kill(id, signal.SIGKILL)
        assert commands == []


def wait_for_code_servers(ui: int) -> set[tuple[int, str]]:
    """The processes that the UI started, once its web server and its daemon each have a code server."""
    deadline = time.monotonic() + SECONDS_TO_STOP
    while time.monotonic() < deadline:
        started = descendants(ui)
        if sum("grpc" in command(process) for process in started & processes().keys()) >= 2:
            return started
        time.sleep(0.2)
    pytest.fail("no code server was started")
