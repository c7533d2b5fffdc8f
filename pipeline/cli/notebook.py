"""The command that serves the notebook: notebook."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.core.home import Home


def notebook(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1; 0: any free port.", min=0, max=65535)] = 2718,
) -> None:
    """Serve the notebook on this machine: revenue, customers, credits and usage as charts, each with its SQL. Ctrl-C stops it.

    It reads billhouse.duckdb, changes nothing, and follows each build. It listens on the loopback address only, and the address
    that it prints contains a token, new at each start. Needs the extra `notebook` of the package.
    """
    from pipeline.notebook.serve import serve

    serve(Home.open(context.obj), port)
