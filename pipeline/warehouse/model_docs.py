"""Writes dbt's documentation of the models (descriptions, columns, SQL, graph) as one HTML file that needs no network."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.core.errors import BillhouseError
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.warehouse.dbt_run import close_dbt_connections, dbt_arguments, dbt_environment, environment
from pipeline.warehouse.parsed_project import parsed_project
from pipeline.warehouse.project import project_of


def write_model_docs(home: Home) -> Path:
    """Write <home>/docs/index.html from the last build; returns its path. Raises BillhouseError where nothing was built yet."""
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import

    if not home.warehouse.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Build first: billhouse build")
    quiet = ["--quiet", "--log-level", "none", "--no-send-anonymous-usage-stats"]
    with home.writing(), environment(dbt_environment(home)):
        manifest = parsed_project(home, project_of(home))
        try:
            outcome = dbtRunner(manifest).invoke(["docs", "generate", "--static", *dbt_arguments(home), *quiet])
        finally:
            close_dbt_connections()
        if outcome.exception is not None or not outcome.success:
            raise BillhouseError(
                f"The documentation could not be written: {outcome.exception}",
                f"The log is in {home.path / '.dbt' / 'logs' / 'dbt.log'}.",
            )
        home.docs.mkdir(mode=0o700, exist_ok=True)
        target = home.docs / "index.html"
        with replace_atomically(target, scratch=home.scratch) as path:
            shutil.copyfile(home.path / ".dbt" / "target" / "static_index.html", path)
    return target
