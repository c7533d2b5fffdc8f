"""dbt's manifest of the project, from which Dagster builds the asset graph."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.files import replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.locks import hold_lock
from pipeline.warehouse.parsed_project import parsed_project

_LOCK_TIMEOUT_SECONDS = 600
_SOURCES = ("models", "seeds", "macros", "tests/warehouse")


def ready_manifest() -> Path:
    """The path of the manifest, which is written first if a source file is newer."""
    home = Home.open()
    manifest = home.path / ".dbt" / "manifest.json"
    manifest.parent.mkdir(mode=0o700, exist_ok=True)
    lock = home.path / ".dbt" / ".lock"
    with hold_lock(lock, activity="parsing the dbt project", timeout_seconds=_LOCK_TIMEOUT_SECONDS):
        newest = _newest_source()
        if not manifest.exists() or manifest.stat().st_mtime < newest:
            parsed = parsed_project(home, PROJECT_ROOT)
            with replace_atomically(manifest, scratch=home.scratch) as path:
                parsed.write(str(path))  # type: ignore[no-untyped-call]
    return manifest


def _newest_source() -> float:
    files = [path for folder in _SOURCES for path in (PROJECT_ROOT / folder).rglob("*")]
    return max(path.stat().st_mtime for path in [PROJECT_ROOT / "dbt_project.yml", *files])
