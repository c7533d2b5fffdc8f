"""Runs dbt in this process: its arguments and environment, one `dbt build`, and failed steps as errors with the rows found.

What is built, and from what, is decided in pipeline.warehouse.build.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import find_system_error, to_known_error
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.plain_text import plain_line
from pipeline.core.progress import OnProgress
from pipeline.warehouse.connection import open_warehouse
from pipeline.warehouse.project import project_of

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

QUIET = ("--quiet", "--log-level", "none", "--log-level-file", "info", "--no-send-anonymous-usage-stats", "--no-write-json")
"""Without dbt's JSON artifacts: nothing reads them, and writing them takes a sixth of a small build."""
_SHOWN_FAILURES = 20
"""Failed steps listed in the error message."""
_SHOWN_ROWS = 3
"""Rows listed for each failed check."""
_NODE_NAMES = {"model": "model", "seed": "price book file", "test": "check"}
_UNCHANGED_REPORTS = "The reports are unchanged since the last successful build."


@dataclass(frozen=True)
class BuildStep:
    """One seed, model or check that a build ran."""

    unique_id: str
    """As in dbt's manifest: model.billhouse.invoices."""
    status: str
    """success, pass, warn, fail, error or skipped."""
    seconds: float
    failures: int | None = None
    """Rows that a check found wrong."""
    message: str = ""

    @property
    def has_failed(self) -> bool:
        return self.status in ("error", "fail", "runtime error")


class BuildFailedError(BillhouseError):
    """Models or checks failed; the reports are unchanged since the last successful build."""

    def __init__(self, message: str, next_step: str, steps: Sequence[BuildStep]) -> None:
        self.steps = steps
        super().__init__(message, next_step)


def dbt_environment(home: Home) -> dict[str, str]:
    """The environment variables that profiles.yml and the models read."""
    return {HOME_VARIABLE: str(home.path)}


def dbt_arguments(home: Home, project: Path | None = None, folder: str = ".dbt") -> list[str]:
    """Where dbt finds the project and writes its own files: one folder for each home and engine."""
    project = project or project_of(home)
    return [
        *("--project-dir", str(project)),
        *("--profiles-dir", str(project)),
        *("--target-path", str(home.path / folder / "target")),
        *("--log-path", str(home.path / folder / "logs")),
    ]


def run_dbt(
    home: Home,
    project: Path,
    on_progress: OnProgress | None,
    *more: str,
    folder: str = ".dbt",
    unit_tests: bool = False,
    manifest: Manifest | None = None,
) -> list[BuildStep]:
    """Run one `dbt build` in this process, with more arguments, and return its steps.

    `folder`: under the home, for dbt's own files. `unit_tests`: also run the models' unit tests. `manifest`: the project
    as parsed before, if it was. Raises BuildFailedError where a step failed, BillhouseError where dbt could not run at all.
    """
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import; only a build needs it

    def report_step(event: Any) -> None:
        if on_progress is not None and event.info.name == "LogStartLine":
            on_progress(event.data.description.rsplit(".", 1)[-1], event.data.index, event.data.total)

    log = dbt_log(home, folder)
    # An exposure is a step that does nothing.
    without = ["--exclude-resource-type", "exposure", *([] if unit_tests else ["--exclude-resource-type", "unit_test"])]
    arguments = ["build", *dbt_arguments(home, project, folder), *without, *more]
    with environment(dbt_environment(home)):
        try:
            outcome = dbtRunner(manifest, callbacks=[report_step]).invoke([*arguments, *QUIET])
        finally:
            close_dbt_connections()
    if outcome.exception is not None:
        raise_dbt_error(outcome.exception, log)
    results: list[Any] = list(outcome.result)  # type: ignore[arg-type]
    steps = [
        BuildStep(result.node.unique_id, str(result.status), result.execution_time, result.failures, _message(result))
        for result in results
    ]
    _raise_for_failures(home, results, steps, log)
    return steps


def raise_dbt_error(error: BaseException, log: Path) -> NoReturn:
    """Raise BillhouseError for an exception with which dbt ended before it ran all steps. `log`: dbt's log."""
    if (failure := to_known_error(error)) is not None:
        raise failure from error
    raise BillhouseError(f"The models could not be built: {error}", f"The log is in {log}.")


def dbt_log(home: Home, folder: str = ".dbt") -> Path:
    """The log that dbt writes in a home. `folder`: under the home, for dbt's own files."""
    return home.path / folder / "logs" / "dbt.log"


def _raise_for_failures(home: Home, results: Sequence[Any], steps: Sequence[BuildStep], log: Path) -> None:
    failed = [result for result, step in zip(results, steps, strict=True) if step.has_failed]
    if not failed:
        return
    by_system = (find_system_error(_message(result)) for result in failed)
    if (failure := next(filter(None, by_system), None)) is not None:
        raise BuildFailedError(f"{failure.message} The build stopped. {_UNCHANGED_REPORTS}", failure.next_step, steps)
    listed = "\n".join(f"  {_failure_text(result)}{_failing_rows(home, result.node)}" for result in failed[:_SHOWN_FAILURES])
    raise BuildFailedError(
        f"{len(failed)} of {len(results)} steps of the build failed. {_UNCHANGED_REPORTS}\n{listed}\n",
        f"The log is in {log}.",
        steps,
    )


def close_dbt_connections() -> None:
    """dbt-duckdb holds its database open for the life of the process; the snapshot and other processes need it closed."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    manager: Any = DuckDBConnectionManager
    if manager._ENV is not None:  # noqa: SLF001 - the public env() raises where no environment was opened
        manager._ENV.close()  # noqa: SLF001
        manager.close_all_connections()


def _message(result: Any) -> str:
    return " ".join(str(result.message or "").split())


def _failure_text(result: Any) -> str:
    node = result.node
    kind = _NODE_NAMES.get(str(node.resource_type), "step")
    description = f" ({node.description.strip()})" if kind == "check" and node.description else ""
    return f"{kind} {node.name}{description}: {_message(result)}"


def _failing_rows(home: Home, node: Any) -> str:
    """The first rows that a failed check found, a line each, such as 'customer_id paula, period 2026-09'."""
    query = getattr(node, "compiled_code", None)
    if str(node.resource_type) != "test" or not query:
        return ""
    try:
        with open_warehouse(home) as warehouse:
            found = warehouse.execute(f"select * from ({query}) as found limit {_SHOWN_ROWS}")
            columns = [column[0] for column in found.description or ()]
            rows = found.fetchall()
    except (duckdb.Error, BillhouseError):  # the check itself is broken, or ran on another engine: the log has the error
        return ""
    return "".join(
        "\n    "
        + ", ".join(f"{column} {plain_line(value)}" for column, value in zip(columns, row, strict=True) if value is not None)
        for row in rows
    )


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside a block, and restore them after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
