"""The command that runs the demo: demo."""

from __future__ import annotations

import typer

from pipeline.cli.support import Json
from pipeline.core.home import Home
from pipeline.core.plain_text import plain_json


def demo(context: typer.Context, as_json: Json = False) -> None:
    """Run a whole month on generated usage, from raw events to published invoices and exports. Takes under three minutes.

    Fills the home with the demo's data, and refuses a home with other data. Publishes to the local Stripe emulator only. Safe to
    repeat: the second run changes nothing. Next: billhouse ui.
    """
    from pipeline.cli.demo_run import run_demo

    report = run_demo(Home.open(context.obj), as_json=as_json)
    if as_json:
        print(plain_json(report))
