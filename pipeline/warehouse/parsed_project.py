"""dbt's parse of the project, stored once for all homes: a build parses only a project that was never parsed before.

A parse depends on the project's files, the versions of dbt and the engine, not on the home: models name their files relative to
it. It is stored under a digest of all of these in the user's cache folder (pipeline.warehouse.user_cache).
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pipeline.core.home import Home
from pipeline.warehouse.dbt_run import QUIET, dbt_arguments, dbt_environment, dbt_log, environment, raise_dbt_error
from pipeline.warehouse.user_cache import cache_folder, package_versions, read_cached, write_cached

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_FORMAT = "1"
"""Part of the digest; another value where this module stores other parts of a parse."""
_FOLDERS = ("models", "macros", "tests/warehouse")
_FILES = ("dbt_project.yml", "profiles.yml", "seeds/_seeds.yml")
_PACKAGES = ("dbt-core", "dbt-common", "dbt-adapters", "dbt-duckdb", "dbt-spark")
"""dbt's own macros are part of a parse."""
_STORED_PARSES = 10
"""Parses that the cache folder holds; the oldest are removed."""


def parsed_project(home: Home, project: Path, *, target: str = "duckdb", folder: str = ".dbt") -> Manifest:
    """The manifest of a project: the stored one, or a new one, which is then stored.

    `target`: of profiles.yml. `folder`: under the home, for dbt's own files. A build changes its manifest: each build needs its
    own. Raises BillhouseError where dbt cannot parse the project.
    """
    file = cache_folder(home) / f"{_key(project, target)}.msgpack"
    manifest = _read(file)
    if manifest is None:
        manifest = _parse(home, project, target, folder)
        with contextlib.suppress(OSError):  # the next build parses again
            _store(manifest, file)
    _use_seeds_of(manifest, project)
    return manifest


def _key(project: Path, target: str) -> str:
    """SHA-256 over all that a parse depends on. Of a seed, that is its name: its rows are read when a build loads it."""
    digest = hashlib.sha256()
    for part in (_FORMAT, target, sys.version, *package_versions(_PACKAGES)):
        digest.update(part.encode() + b"\0")
    paths = [project / name for name in _FILES]
    paths += [path for folder in _FOLDERS for path in sorted((project / folder).rglob("*")) if path.is_file()]
    for path in paths:
        text = path.read_bytes()
        digest.update(f"{path.relative_to(project)}\0{len(text)}\0".encode() + text)
    for path in sorted((project / "seeds").glob("*.csv")):
        digest.update(path.name.encode() + b"\0")
    return digest.hexdigest()


def _read(file: Path) -> Manifest | None:
    """The stored manifest; None where there is none, or where the file is incomplete after a power cut."""
    contents = read_cached(file)
    if contents is None:
        return None
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    with _without_garbage_collection():
        manifest = Manifest.from_msgpack(contents, decoder=extended_mashumuro_decoder)
        manifest.build_parent_and_child_maps()  # type: ignore[no-untyped-call]
        manifest.build_flat_graph()  # type: ignore[no-untyped-call]
    return manifest


def _parse(home: Home, project: Path, target: str, folder: str) -> Manifest:
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import

    arguments = ["parse", *dbt_arguments(home, project, folder), "--target", target, *QUIET]
    with environment(dbt_environment(home)):
        outcome = dbtRunner().invoke(arguments)
    if outcome.exception is not None:
        raise_dbt_error(outcome.exception, dbt_log(home, folder))
    return cast("Manifest", outcome.result)


def _store(manifest: Manifest, file: Path) -> None:
    from dbt.parser.manifest import extended_mashumaro_encoder

    files = dict(manifest.files)
    manifest.files.clear()  # only needed to parse what has changed, which dbt does from its own copy
    try:
        contents = manifest.to_msgpack(extended_mashumaro_encoder)
    finally:
        manifest.files.update(files)
    write_cached(file, contents)
    by_age = sorted(file.parent.glob("*.msgpack"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[_STORED_PARSES:]:
        old.unlink(missing_ok=True)


def _use_seeds_of(manifest: Manifest, project: Path) -> None:
    """Read the price book from this project: the parse may be of another folder with the same models."""
    from dbt.artifacts.resources.base import FileHash
    from dbt.contracts.graph.nodes import SeedNode
    from dbt_common.clients.system import load_file_contents

    for node in manifest.nodes.values():
        if isinstance(node, SeedNode):
            node.root_path = str(project.absolute())
            node.checksum = FileHash.from_contents(load_file_contents(str(project / node.original_file_path), strip=True))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A manifest is some 100,000 objects without a cycle; looking for cycles takes half of the time of reading it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
