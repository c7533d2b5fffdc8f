"""The ui command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline.core.home import Home


def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port on the loopback address.", min=1, max=65535)] = 3000,
) -> None:
    """Open the Dagster UI on this machine: the whole graph, its checks, and a button for every step."""
    home = Home.open(context.obj)
    # In place of this process: what ends the command ends the UI. pipeline does not import orchestration.
    os.execv(sys.executable, [sys.executable, "-m", "orchestration.ui.serve", str(home.path), str(port)])  # noqa: S606 - no shell is needed
