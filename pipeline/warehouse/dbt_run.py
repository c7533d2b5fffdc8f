"""Runs dbt in this process: its arguments and environment, and one `dbt build`.

What is built, and from what, is decided in pipeline.warehouse.build.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import to_known_error
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.progress import OnProgress
from pipeline.warehouse.build_steps import BuildStep, build_steps
from pipeline.warehouse.dbt_overhead import without_dbt_overhead
from pipeline.warehouse.project import project_of
from pipeline.warehouse.user_cache import user_cache_folder

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

QUIET = ("--quiet", "--log-level", "none", "--log-level-file", "info", "--no-send-anonymous-usage-stats", "--no-write-json")
"""Without dbt's JSON artifacts: nothing reads them, and writing them takes a sixth of a small build."""


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
    manifest: Manifest,
    folder: str = ".dbt",
    unit_tests: bool = False,
) -> list[BuildStep]:
    """Run one `dbt build` in this process, with more arguments, and return its steps.

    `manifest`: the parsed project. `folder`: under the home, for dbt's own files. `unit_tests`: also run the models' unit tests.
    Raises BuildFailedError where a step failed, BillhouseError where dbt could not run at all.
    """
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import; only a build needs it

    def report_step(event: Any) -> None:
        if on_progress is not None and event.info.name == "LogStartLine":
            on_progress(event.data.description.rsplit(".", 1)[-1], event.data.index, event.data.total)

    log = dbt_log(home, folder)
    # An exposure is a step that does nothing.
    without = ["--exclude-resource-type", "exposure", *([] if unit_tests else ["--exclude-resource-type", "unit_test"])]
    arguments = ["build", *dbt_arguments(home, project, folder), *without, *more]
    with environment(dbt_environment(home)), without_dbt_overhead(user_cache_folder()), _without_collecting_old_objects():
        try:
            outcome = dbtRunner(manifest, callbacks=[report_step]).invoke([*arguments, *QUIET])
        finally:
            close_dbt_connections()
    if outcome.exception is not None:
        raise_dbt_error(outcome.exception, log)
    results: list[Any] = list(outcome.result)  # type: ignore[arg-type]
    return build_steps(home, results, manifest.nodes, log)


@contextmanager
def _without_collecting_old_objects() -> Iterator[None]:
    """Inside a block, the garbage collector skips the million objects of dbt's modules and of the manifest."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def raise_dbt_error(error: BaseException, log: Path) -> NoReturn:
    """Raise BillhouseError for an exception with which dbt ended before it ran all steps. `log`: dbt's log."""
    if (failure := to_known_error(error)) is not None:
        raise failure from error
    raise BillhouseError(f"The models could not be built: {error}", f"The log is in {log}.")


def dbt_log(home: Home, folder: str = ".dbt") -> Path:
    """The log that dbt writes in a home. `folder`: under the home, for dbt's own files."""
    return home.path / folder / "logs" / "dbt.log"


def close_dbt_connections() -> None:
    """dbt-duckdb holds its database open for the life of the process; the snapshot and other processes need it closed."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    manager: Any = DuckDBConnectionManager
    if manager._ENV is not None:  # noqa: SLF001 - the public env() raises where no environment was opened
        manager._ENV.close()  # noqa: SLF001
        manager.close_all_connections()


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
