"""Records what commands do while another process runs them: `python -m orchestration.ui.record HOME`, for `billhouse demo`.

Reads standard input until it ends, which is when the other process has done its work or was killed; then records the rest and
ends. It loads Dagster once for all commands, meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

from orchestration.ui.serve import prepare_instance
from pipeline.core.errors import BillhouseError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.terminal import protected_output, show_failure
from pipeline.monitoring.command_reports import waiting_reports

_SECONDS_BETWEEN = 0.5
_SECONDS_FOR_THE_REST = 60
"""What is not recorded by then, `billhouse ui` records when it starts."""


def record_until(home: Home, is_over: threading.Event) -> None:
    """Record the home's reports until the event is set and no report waits, at most _SECONDS_FOR_THE_REST longer."""
    instance_folder = prepare_instance(home)
    from dagster import DagsterInstance

    from orchestration.commands import record_reports  # loads all definitions

    ends_at: float | None = None
    with DagsterInstance.from_config(str(instance_folder)) as instance:
        while True:
            was_over = is_over.is_set()
            with suppress(BillhouseError):  # another process records
                record_reports(instance, home)
            if was_over:
                ends_at = ends_at or time.monotonic() + _SECONDS_FOR_THE_REST
                if not waiting_reports(home) or time.monotonic() > ends_at:
                    return
            is_over.wait(_SECONDS_BETWEEN) if not was_over else time.sleep(_SECONDS_BETWEEN)


def main() -> None:
    """Record the home (the argument); exit with 1 on failure."""
    (path,) = sys.argv[1:]
    home = Home.open(path)
    os.environ[HOME_VARIABLE] = str(home.path)
    is_over = threading.Event()

    def wait_for_end() -> None:
        while sys.stdin.buffer.read(1):
            pass
        is_over.set()

    threading.Thread(target=wait_for_end, name="end-of-input", daemon=True).start()
    with protected_output():
        try:
            record_until(home, is_over)
        except Exception as error:
            show_failure(to_billhouse_error(error), error)
            sys.exit(1)


if __name__ == "__main__":
    main()
