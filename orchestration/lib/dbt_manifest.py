"""dbt's manifest of the project, from which Dagster builds the asset graph."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.core.errors import BillhouseError
from pipeline.core.files import replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.locks import hold_lock
from pipeline.warehouse.dbt_run import dbt_arguments, dbt_environment, environment

_LOCK_TIMEOUT_SECONDS = 600
_SOURCES = ("models", "seeds", "macros", "tests/warehouse")


def ready_manifest() -> Path:
    """The path of the manifest; dbt parses the project first if a source file is newer."""
    home = Home.open()
    manifest = home.path / ".dbt" / "manifest.json"
    manifest.parent.mkdir(mode=0o700, exist_ok=True)
    lock = home.path / ".dbt" / ".lock"
    with hold_lock(lock, activity="parsing the dbt project", timeout_seconds=_LOCK_TIMEOUT_SECONDS):
        newest = _newest_source()
        if not manifest.exists() or manifest.stat().st_mtime < newest:
            _parse(home, manifest)
    return manifest


def _newest_source() -> float:
    files = [path for folder in _SOURCES for path in (PROJECT_ROOT / folder).rglob("*")]
    return max(path.stat().st_mtime for path in [PROJECT_ROOT / "dbt_project.yml", *files])


def _parse(home: Home, manifest: Path) -> None:
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import

    # In the folder that builds use, so that dbt parses only what has changed since the last build.
    with environment(dbt_environment(home)):
        outcome = dbtRunner().invoke(["parse", *dbt_arguments(home), "--quiet", "--no-send-anonymous-usage-stats"])
    if outcome.exception is not None or not outcome.success:
        raise BillhouseError(f"dbt cannot parse the project: {outcome.exception}", "Run make check.")
    with replace_atomically(manifest, scratch=home.scratch) as path:
        shutil.copyfile(home.path / ".dbt" / "target" / "manifest.json", path)
