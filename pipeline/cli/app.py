"""The command line. Human output by default; `--json` prints one JSON object on stdout, and everything else goes to stderr.

Heavy libraries are imported by the command that needs them: `billhouse --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pipeline.cli import alerts, collect, demo, exports, landing, ledger, prices, stripe, ui, warehouse
from pipeline.cli.support import close_broken_pipe, show_failure, show_usage_error, stderr
from pipeline.core.errors import BillhouseError, PriceBookError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE
from pipeline.core.plain_text import plain_json
from pipeline.core.terminal import protected_output

app = typer.Typer(
    name="billhouse",
    help="Turns raw usage events into invoices that are right to the cent.\n\n"
    "The usual month: land files, build, look at the drafts, close the month, publish it, export it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""What the command line raises for an option or argument that it does not know."""
_INTERRUPTED = 130


@app.callback()
def main_options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help=f"Where everything is kept. Default: ${HOME_VARIABLE}, else {DEFAULT_HOME}.", show_default=False),
    ] = None,
) -> None:
    """Options of every command; --help shows the program's own text."""
    context.obj = home


for command in (
    landing.land,
    collect.poll_metrics,
    collect.collect,
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
):
    app.command()(command)


def main() -> None:
    """Run the command line: 0 done, 1 failed, 2 wrong usage. A failure is told in words, with the next step."""
    os.umask(0o077)  # what is written holds money: for its owner alone
    with protected_output():
        code = _call(wants_json="--json" in sys.argv[1:])
    if code:
        sys.exit(code)


def _call(*, wants_json: bool) -> int:
    """The exit code of one call."""
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
        stderr.print("Interrupted. What was finished is kept; call the command again to go on.")
    return code if isinstance(code, int) else 0


def _problems(error: BillhouseError) -> dict[str, Any]:
    if not isinstance(error, PriceBookError):
        return {}
    return {"problems": [vars(problem) for problem in error.problems]}


if __name__ == "__main__":
    main()
