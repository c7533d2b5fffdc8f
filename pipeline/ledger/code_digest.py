"""The digest of the code that computes invoices and closes months, which each close records."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.home import PROJECT_ROOT

PYTHON_PACKAGE = Path(__file__).resolve().parents[1]
COMPUTING_PACKAGES = ("core", "store", "pricebook", "landing", "warehouse", "ledger")
"""Packages of pipeline/ that compute invoices or close months: this one, and those that `close` imports (tested)."""
_PROJECT_FILES = ("dbt_project.yml", "profiles.yml")
_PROJECT_FOLDERS = ("models", "macros")
_ENGINES = ("duckdb", "dbt-core", "dbt-duckdb")


def code_digest(project: Path = PROJECT_ROOT, package: Path = PYTHON_PACKAGE) -> str:
    """SHA-256 over the models, the macros, the Python that computes or closes, and the versions of DuckDB and dbt.

    `project`: the dbt project's folder. `package`: the folder of the Python package `pipeline`. The price book is not part of the
    digest: a close records it by a hash of its own.
    """
    digest = hashlib.sha256()
    for name, path in sorted([*_project_files(project), *_python_files(package)]):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for engine in _ENGINES:
        digest.update(f"{engine}=={importlib.metadata.version(engine)}\n".encode())
    return digest.hexdigest()


def _project_files(project: Path) -> Iterator[tuple[str, Path]]:
    for name in _PROJECT_FILES:
        yield name, project / name
    for folder in _PROJECT_FOLDERS:
        for path in (project / folder).rglob("*"):
            if path.is_file():
                yield f"{folder}/{path.relative_to(project / folder).as_posix()}", path


def _python_files(package: Path) -> Iterator[tuple[str, Path]]:
    yield "pipeline/__init__.py", package / "__init__.py"
    for name in COMPUTING_PACKAGES:
        for path in (package / name).rglob("*.py"):
            yield f"pipeline/{path.relative_to(package).as_posix()}", path
