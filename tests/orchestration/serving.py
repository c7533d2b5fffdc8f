"""`billhouse ui` as a process."""

from __future__ import annotations

import os
import shutil
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

# A process that a script starts in the background ignores interrupts, and its children inherit that.
_IN_FOREGROUND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pipeline.cli.app import main
main()
"""
_IN_BACKGROUND = _IN_FOREGROUND.replace("signal.default_int_handler", "signal.SIG_IGN")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
SECONDS_TO_SERVE = 180
"""Generous, for machines that are busy with other tests."""


@contextmanager
def served(home: Home) -> Iterator[str]:
    """Serve a home with `billhouse ui`; yields the address."""
    with serving(home) as (address, _):
        yield address


@contextmanager
def serving(home: Home, *, ignores_interrupts: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve a home; yields the address and the process. `ignores_interrupts`: as if a script started it in the background."""
    port = free_port()
    command = [sys.executable, "-c", _IN_BACKGROUND if ignores_interrupts else _IN_FOREGROUND]
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
        _wait_until_served(serving, f"{address}/server_info", log)
        yield address, serving
    finally:
        if serving.poll() is None:
            serving.send_signal(signal.SIGTERM if ignores_interrupts else signal.SIGINT)
        serving.wait(timeout=60)


def _wait_until_served(serving: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_SERVE
    while time.monotonic() < deadline:
        assert serving.poll() is None, log.read_text()
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"not served after {SECONDS_TO_SERVE} seconds:\n{log.read_text()}")
