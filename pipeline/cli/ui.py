"""The command that serves the Dagster UI: ui."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline.core.home import Home


def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = 3000,
) -> None:
    """Serve the Dagster UI on this machine: the asset graph, its checks, and a job for each task. Stop it with Ctrl-C.

    The UI has no authentication: it listens on the loopback address only.
    """
    home = Home.open(context.obj)
    # Replaces this process, so that signals to the command reach the UI. pipeline does not import orchestration.
    # -P: nothing is imported from the current folder.
    arguments = [sys.executable, "-P", "-m", "orchestration.ui.serve", str(home.path), str(port)]
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell is needed
