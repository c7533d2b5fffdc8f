"""dbt's manifest of the project, from which Dagster builds the asset graph."""

from __future__ import annotations

from argparse import Namespace
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
            _write_manifest(home, manifest)
    return manifest


def _write_manifest(home: Home, manifest: Path) -> None:
    from dbt.flags import set_from_args

    parsed = parsed_project(home, PROJECT_ROOT)
    # `write` records this setting, which has no value in a process that has not run dbt.
    set_from_args(Namespace(SEND_ANONYMOUS_USAGE_STATS=False), {})
    with replace_atomically(manifest, scratch=home.scratch) as path:
        parsed.write(str(path))  # type: ignore[no-untyped-call]


def _newest_source() -> float:
    files = [path for folder in _SOURCES for path in (PROJECT_ROOT / folder).rglob("*")]
    return max(path.stat().st_mtime for path in [PROJECT_ROOT / "dbt_project.yml", *files])
