"""Dagster's web server behind a guard: `python -m orchestration.ui.webserver`, with the options of dagster-webserver.

Dagster checks neither Host nor Origin and executes mutations by GET, so any page in the operator's browser could close a month.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

from dagster_webserver import app as dagster_app
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
    # dagster-webserver has no option for middleware (docs/internals/private-api.md).
    vars(dagster_app)["DagsterWebserver"] = GuardedWebserver
    sys.argv[0] = "dagster-webserver"
    (script,) = entry_points(group="console_scripts", name="dagster-webserver")
    script.load()()


if __name__ == "__main__":
    main()
