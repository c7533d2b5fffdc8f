"""`billhouse ui`, as a person starts and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from tests.support import free_port

# Where the tests run in the background of a script, an interrupt is ignored, also by what they start.
_BY_HAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pipeline.cli.app import main
main()
"""
_IN_BACKGROUND = _BY_HAND.replace("signal.default_int_handler", "signal.SIG_IGN")
SECONDS_TO_SERVE = 180
"""Far longer than it takes, for machines that are busy with other tests."""


@contextmanager
def served(home: Home) -> Iterator[str]:
    """The address at which `billhouse ui` serves a home, with its daemon."""
    with serving(home) as (address, _):
        yield address


@contextmanager
def serving(home: Home, *, ignores_interrupts: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of `billhouse ui`; `ignores_interrupts`: as a script starts it in the background."""
    port = free_port()
    command = [sys.executable, "-c", _IN_BACKGROUND if ignores_interrupts else _BY_HAND]
    log = home.path.parent / "ui.log"
    with log.open("wb") as output:
        environment = os.environ | {"BILLHOUSE_FIRST_BILLING_MONTH": "2026-01"}
        serving = subprocess.Popen(
            [*command, "--home", str(home.path), "ui", "--port", str(port)],
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(serving, f"{address}/server_info", log)
        yield address, serving
    finally:
        if serving.poll() is None:
            serving.send_signal(signal.SIGTERM if ignores_interrupts else signal.SIGINT)
        serving.wait(timeout=60)


def _wait_until_it_answers(serving: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_SERVE
    while time.monotonic() < deadline:
        assert serving.poll() is None, log.read_text()
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"nothing served after {SECONDS_TO_SERVE} seconds:\n{log.read_text()}")
