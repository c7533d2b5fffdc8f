"""Serves the Dagster UI on this machine: `python -m orchestration.ui.serve HOME PORT`, called by `billhouse ui`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from orchestration.ui.parent_watch import OPTION, start_child, stop_children
from pipeline.core.errors import BillhouseError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.files import make_folders
from pipeline.core.home import HOME_VARIABLE, PROJECT_ROOT, SEEDS, SEEDS_VARIABLE, Home
from pipeline.core.terminal import protected_output, show_failure
from pipeline.monitoring.home_history import report_history

LOOPBACK = "127.0.0.1"

_INSTANCE = """\
# Written by billhouse ui at each start.
# One writer to the warehouse at a time: other runs wait in the queue.
concurrency:
  pools:
    granularity: run
    default_limit: 1
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
# Fail runs whose process has ended; they would block the queue.
run_monitoring:
  enabled: true
  max_resume_run_attempts: 0
  poll_interval_seconds: 30
event_log_storage:
  module: orchestration.ui.event_storage
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {events}
telemetry:
  enabled: false
nux:
  enabled: false
"""


def serve(home: Home, port: int = 3000) -> None:
    """Serve the UI and its daemon on the loopback address until interrupted. Raises BillhouseError if the port is in use."""
    _require_free(port)
    instance = prepare_instance(home)
    print(f"Billhouse at http://{LOOPBACK}:{port} (Ctrl-C stops it); home {home.path}", flush=True)
    print(f"It shows what needs a person and what ran; the graph is at http://{LOOPBACK}:{port}/asset-groups", flush=True)
    variables = os.environ | {HOME_VARIABLE: str(home.path), "DAGSTER_HOME": str(instance), "PYTHONWARNINGS": "ignore"}
    if SEEDS_VARIABLE in os.environ:  # a relative path would have another meaning in PROJECT_ROOT
        variables[SEEDS_VARIABLE] = str(SEEDS)
    code = ["-m", "orchestration.definitions"]
    web = ["orchestration.ui.webserver", OPTION, "-h", LOOPBACK, "-p", str(port), "--dagster-log-level", "warning", *code]
    daemon = ["orchestration.ui.daemon", OPTION, "run", "--log-level", "warning", *code]
    started: list[subprocess.Popen[bytes]] = []
    # SIGTERM stops this process like an interrupt. After SIGKILL its children stop themselves (parent_watch).
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        started.extend(start_child([sys.executable, "-m", *program], PROJECT_ROOT, variables) for program in (web, daemon))
        while all(process.poll() is None for process in started):
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        signal.signal(signal.SIGTERM, previous)
        stop_children(started)


def prepare_instance(home: Home) -> Path:
    """Write the configuration of Dagster's instance in a home; return its folder."""
    from dagster import DagsterInstance  # takes a second to import

    folder = home.path / ".dagster"
    if not home.command_reports.is_dir():
        make_folders(home.command_reports)  # from now on commands report what they do
        try:
            report_history(home)
        except Exception as error:  # the UI also has to start where, say, a file of the ledger is damaged
            print(f"The graph does not show what ran before: {to_billhouse_error(error)}", flush=True)
    (folder / "dagster.yaml").write_text(_INSTANCE.format(events=json.dumps(str(folder / "history" / "runs"))))
    # Without an explicit limit, the daemon applies the default limit of a pool only from its second pass over the queue; the
    # first would launch all waiting runs.
    with DagsterInstance.from_config(str(folder)) as instance:
        instance.event_log_storage.set_concurrency_slots("warehouse", 1)
        instance.event_log_storage.set_concurrency_slots("alerts", 1)
    return folder


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise BillhouseError(
                f"Port {port} is in use.", f"Stop the program that uses it, or choose another: --port {port + 1}"
            ) from None


def main() -> None:
    """Serve the home (first argument) on the port (second argument); exit with 1 on failure."""
    home, port = sys.argv[1:]
    with protected_output():
        try:
            serve(Home.open(home), int(port))
        except Exception as error:
            show_failure(to_billhouse_error(error), error)
            sys.exit(1)


if __name__ == "__main__":
    main()
