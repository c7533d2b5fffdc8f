"""Dagster's web server behind a guard, with a start page: `python -m orchestration.ui.webserver`, options of dagster-webserver.

Dagster checks neither Host nor Origin and executes mutations by GET, so any page in the operator's browser could close a month.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from dagster_webserver import app as dagster_app
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from orchestration.ui.dagster_state import read_dagster_state
from orchestration.ui.home_state import read_home_state
from orchestration.ui.parent_watch import stop_with_parent
from orchestration.ui.start_page import render_start_page
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.request_guard import LOOPBACK_HOSTS, RequestGuard
from pipeline.core.settings import Settings


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's web server; it refuses requests that a page of another origin can send."""

    def build_middleware(self) -> list[Middleware]:
        """The guard first, then Dagster's own."""
        hosts = LOOPBACK_HOSTS | {host.strip() for host in Settings.load().ui_hosts.split(",") if host.strip()}
        return [Middleware(RequestGuard, hosts=hosts), *super().build_middleware()]

    def build_routes(self) -> list[BaseRoute]:
        """The start page at `/` before Dagster's own, where this process can read the home."""
        return [Route("/", self.start_page_endpoint), *super().build_routes()]  # type: ignore[no-untyped-call]

    def start_page_endpoint(self, request: Request) -> Response:
        """The start page; Dagster's own first page where the home is on another machine, as in deploy/compose.yaml."""
        home = Home(Path(os.environ.get(HOME_VARIABLE, "")).absolute())
        if HOME_VARIABLE not in os.environ or not home.raw.is_dir():
            response: Response = self.index_html_endpoint(request)
            return response
        now = datetime.now(UTC)
        with self.request_context(request) as context:
            dagster = read_dagster_state(context)
        page, headers = render_start_page(home, read_home_state(home, now), dagster, now)
        return HTMLResponse(page, headers=headers)


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
