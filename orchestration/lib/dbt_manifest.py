"""dbt's parse of the project, which Dagster draws the graph from."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.core.errors import BillhouseError
from pipeline.core.files import replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.locks import hold_lock
from pipeline.warehouse.build import dbt_arguments, dbt_environment, environment

_LONGEST_WAIT_SECONDS = 600
_SOURCES = ("models", "seeds", "macros", "tests/warehouse")


def ready_manifest() -> Path:
    """The manifest, made again where the project is newer. Nothing has to be run before the UI is opened the first time."""
    home = Home.open()
    manifest = home.path / ".dbt" / "manifest.json"
    manifest.parent.mkdir(mode=0o700, exist_ok=True)
    lock = home.path / ".dbt" / ".lock"
    with hold_lock(lock, activity="parsing the dbt project", timeout_seconds=_LONGEST_WAIT_SECONDS):
        newest = _newest_source()
        if not manifest.exists() or manifest.stat().st_mtime < newest:
            _parse(home, manifest)
    return manifest


def _newest_source() -> float:
    files = [path for folder in _SOURCES for path in (PROJECT_ROOT / folder).rglob("*")]
    return max(path.stat().st_mtime for path in [PROJECT_ROOT / "dbt_project.yml", *files])


def _parse(home: Home, manifest: Path) -> None:
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import

    # Where builds keep their parse: what they have parsed is not parsed again.
    with environment(dbt_environment(home)):
        outcome = dbtRunner().invoke(["parse", *dbt_arguments(home), "--quiet", "--no-send-anonymous-usage-stats"])
    if outcome.exception is not None or not outcome.success:
        raise BillhouseError(f"The models could not be parsed: {outcome.exception}", "Call `make check`.")
    with replace_atomically(manifest, scratch=home.scratch) as path:
        shutil.copyfile(home.path / ".dbt" / "target" / "manifest.json", path)
