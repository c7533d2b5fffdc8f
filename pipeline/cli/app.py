"""The app: registers the commands, runs one, and turns its outcome into an exit code.

Output is human-readable; `--json` prints one JSON object on stdout, and everything else goes to stderr. Each command imports its
libraries when it runs, so that `billhouse --help` starts quickly.
"""

from __future__ import annotations

import atexit
import gc
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pipeline.cli import (
    alerts,
    collect,
    collect_sql,
    consume,
    demo,
    exports,
    feeds,
    landing,
    ledger,
    notebook,
    prices,
    quarantine,
    receive,
    stripe,
    ui,
    warehouse,
)
from pipeline.cli.support import close_broken_pipe, show_usage_error, stderr
from pipeline.core.errors import BillhouseError, PriceBookError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE
from pipeline.core.plain_text import plain_json
from pipeline.core.terminal import protected_output, show_failure

app = typer.Typer(
    name="billhouse",
    help="Turns raw usage events into exact, explainable invoices.\n\n"
    "A month, step by step: land FILE..., build, invoices PERIOD (check the drafts), close PERIOD, approve PERIOD --all,"
    " publish PERIOD, export PERIOD. Every command supports --help, and is safe to repeat.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""The base class of the errors that typer raises for invalid options and arguments; it does not export it."""
_INTERRUPTED = 130
_NEW_OBJECTS = 50_000
"""The garbage collector looks for cycles after this many. dbt's modules alone are a million objects: after every 700, which is
Python's default, it takes a quarter of the time of importing them."""


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"billhouse {importlib.metadata.version('billhouse')}")
        raise typer.Exit


@app.callback()
def main_options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help=f"The folder of all data. Default: ${HOME_VARIABLE}, else {DEFAULT_HOME}.", show_default=False),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""  # the app's own help is shown instead
    context.obj = home


for command in (
    landing.land,
    landing.sources,
    quarantine.quarantine,
    landing.compact,
    collect.poll_metrics,
    collect.poll_running,
    collect.collect,
    collect_sql.collect_sql,
    receive.receive,
    warehouse.build,
    warehouse.invoices,
    ledger.close,
    ledger.approve,
    stripe.publish,
    stripe.credit_note,
    stripe.sync_stripe,
    stripe.reconcile,
    ledger.explain,
    ledger.verify,
    prices.check_prices,
    prices.simulate,
    exports.export,
    alerts.alerts,
    warehouse.status,
    alerts.health,
    warehouse.docs,
    demo.demo,
    ui.ui,
    notebook.notebook,
):
    app.command()(command)
app.add_typer(receive.receive_key, name="receive-key")
app.add_typer(consume.app, name="consume")
app.add_typer(feeds.app, name="feeds")


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 invalid usage. A failure prints its cause and the next step."""
    os.umask(0o077)  # files hold billing data: only their owner may read them
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.disable)  # when Python ends, it would look for cycles among all objects once more
    with protected_output():
        code = _call(wants_json="--json" in sys.argv[1:])
    if code:
        sys.exit(code)


def _call(*, wants_json: bool) -> int:
    """Run the command, and return the exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _USAGE_ERROR as error:
        show_usage_error(error)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            return close_broken_pipe()
        failure = to_billhouse_error(error)
        if wants_json:
            print(plain_json({"error": failure.message, "next_step": failure.next_step, **_problems(failure)}))
        show_failure(failure, error)
        return 2 if isinstance(failure, WrongUsageError) else 1
    if code == _INTERRUPTED:
        stderr.print("Interrupted. Finished work is saved; run the command again to continue.")
    return code if isinstance(code, int) else 0


def _problems(error: BillhouseError) -> dict[str, Any]:
    if not isinstance(error, PriceBookError):
        return {}
    return {"problems": [vars(problem) for problem in error.problems]}


if __name__ == "__main__":
    main()
