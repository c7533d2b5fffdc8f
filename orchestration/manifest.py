"""dbt's parse of the project, which Dagster draws the graph from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from filelock import FileLock

from pipeline.errors import BillhouseError
from pipeline.files import replace_atomically
from pipeline.home import PROJECT_ROOT, Home
from pipeline.warehouse import dbt_environment, environment

_SOURCES = ("models", "seeds", "macros", "tests/warehouse")


def ready_manifest() -> Path:
    """The manifest, made again where the project is newer. Nothing has to be run before the UI is opened the first time."""
    home = Home.open()
    manifest = home.path / ".dbt" / "manifest.json"
    manifest.parent.mkdir(mode=0o700, exist_ok=True)
    with FileLock(home.path / ".dbt" / ".lock", mode=0o600):
        newest = _newest_source()
        if not manifest.exists() or manifest.stat().st_mtime < newest:
            built = home.path / ".dbt" / "target" / "manifest.json"
            if not _take_over(built, manifest, newest):
                _parse(home, manifest)
    return manifest


def _take_over(built: Path, manifest: Path, newest: float) -> bool:
    """Use what the last build parsed, where that is of today's project: seconds sooner. A build may be writing it just now."""
    try:
        if built.stat().st_mtime < newest:
            return False
        text = built.read_text(encoding="utf-8")
        json.loads(text)
    except (FileNotFoundError, ValueError):
        return False
    with replace_atomically(manifest) as path:
        path.write_text(text, encoding="utf-8")
    return True


def _newest_source() -> float:
    files = [path for folder in _SOURCES for path in (PROJECT_ROOT / folder).rglob("*")]
    return max(path.stat().st_mtime for path in [PROJECT_ROOT / "dbt_project.yml", *files])


def _parse(home: Home, manifest: Path) -> None:
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import

    target = home.path / ".dbt" / "parse"
    folders = ["--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT), "--target-path", str(target)]
    with environment(dbt_environment(home)):
        outcome = dbtRunner().invoke(
            ["parse", *folders, "--log-path", str(home.path / ".dbt" / "logs"), "--quiet", "--no-send-anonymous-usage-stats"]
        )
    if outcome.exception is not None or not outcome.success:
        raise BillhouseError(f"The models could not be parsed: {outcome.exception}", "Call `make check`.")
    with replace_atomically(manifest) as path:
        shutil.copyfile(target / "manifest.json", path)
