"""Dagster's web server behind a guard: `python -m orchestration.ui.webserver`, with the options of dagster-webserver.

Dagster checks neither Host nor Origin and executes mutations by GET, so any page in the operator's browser could close a month.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from dagster_webserver import app as dagster_app
from dagster_webserver import cli
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware

from orchestration.ui.parent_watch import stop_with_parent
from pipeline.core.request_guard import LOOPBACK_HOSTS, RequestGuard
from pipeline.core.settings import Settings


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's web server; it refuses requests that a page of another origin can send."""

    def build_middleware(self) -> list[Middleware]:
        """The guard first, then Dagster's own."""
        hosts = LOOPBACK_HOSTS | {host.strip() for host in Settings.load().ui_hosts.split(",") if host.strip()}
        return [Middleware(RequestGuard, hosts=hosts), *super().build_middleware()]


def main() -> None:
    """Serve until interrupted, or with `--stop-with-parent` until the parent ends."""
    stop_with_parent()
    # dagster-webserver has no option for middleware. tests/orchestration/test_guard.py checks that this takes effect.
    vars(dagster_app)["DagsterWebserver"] = GuardedWebserver
    serve: Callable[[], None] = cli.main
    sys.argv[0] = "dagster-webserver"
    serve()


if __name__ == "__main__":
    main()
