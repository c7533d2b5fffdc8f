"""Digests of each input of a build, and the models that read each input, so that a build runs only what changed.

Between two builds as of the same instant, usually only the ledger has grown: an approval, a publication, a close. Models that do
not depend on the ledger are then not run again. dbt's manifest says which models read an input, and what depends on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import yaml

from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.core.sql import parquet_files
from pipeline.store.raw import landed_file_ids

_STRIPE_MODE = "stripe_mode"


@cache
def parts_with_few_readers(project: Path) -> frozenset[str]:
    """The parts that change without a landing: a build after such a change rebuilds only what depends on it.

    Folders of the sources whose yml says `rebuilds: readers`, and Stripe's mode. Mirrored objects count from their sync on.
    """
    parts = {_STRIPE_MODE}
    for file in sorted((project / "models" / "staging").glob("_*_sources.yml")):
        for source in yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["sources"]:
            for table in source["tables"]:
                meta = {**source["config"]["meta"], **table.get("config", {}).get("meta", {})}
                if meta.get("rebuilds") == "readers":
                    parts.add(meta["folder"].format(name=table["name"]))
    return frozenset(parts)


def input_digests(home: Home, as_of: datetime, project: Path) -> dict[str, str]:
    """A SHA-256 of each input of a build. Files are never changed after they were written, so their names are enough."""
    return {
        "as_of": _sha256(as_of.isoformat()),
        "settings": _sha256(Settings.load().model_dump_json()),
        "project": project_digest(project, "seeds", "models", "macros", "tests/warehouse"),
        "engine": _sha256(duckdb.__version__),
        "raw/landed_files": _sha256(*landed_file_ids(home)),
        **{part: _names(home, part) for part in parts_with_few_readers(project)},
        _STRIPE_MODE: _sha256(str(_is_live(home))),
    }


def input_fingerprint(digests: Mapping[str, str]) -> str:
    """One SHA-256 over all inputs, recorded in a close."""
    return _sha256(*(f"{part}={digests[part]}" for part in sorted(digests)))


def project_digest(project: Path, *folders: str) -> str:
    """SHA-256 over the names and the text of all files in these folders of the project."""
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in sorted((project / folder).rglob("*")) if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_version(project: Path) -> str:
    """SHA-256 over models, macros and the engine's version: an incremental build reuses rows only where it is unchanged."""
    return _sha256(project_digest(project, "models", "macros"), duckdb.__version__)


def parts_to_rebuild(before: Mapping[str, str], now: Mapping[str, str], project: Path) -> frozenset[str] | None:
    """The parts that changed, if it is enough to build their readers and what depends on those; None: build everything."""
    changed = {part for part in before.keys() | now.keys() if before.get(part) != now.get(part)}
    return frozenset(changed) if changed and changed <= parts_with_few_readers(project) else None


def readers(manifest: Any, parts: frozenset[str]) -> tuple[str, ...]:
    """The models that read these parts, by dbt's manifest: those that read one of their sources.

    A model whose yml says `rebuilt_by` is a reader of that part alone.
    """
    sources = {
        source.unique_id
        for source in manifest.sources.values()
        if source.meta.get("folder", "").format(name=source.name) in parts
    }
    found = []
    for node in manifest.nodes.values():
        if str(node.resource_type) == "model":
            part = node.config.meta.get("rebuilt_by")
            if part in parts if part is not None else not sources.isdisjoint(node.depends_on.nodes):
                found.append(node.name)
    return tuple(sorted(found))


def are_definitions_unchanged(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether seeds and views can be reused: they depend only on the project's files and the engine's version."""
    return all(part in before and before[part] == now[part] for part in ("project", "engine"))


def _names(home: Home, folder: str) -> str:
    return _sha256(*sorted(str(path.relative_to(home.path)) for path in (home.path / folder).rglob("*.parquet")))


def _is_live(home: Home) -> bool:
    """As in `stg_stripe_mode`: whether anything was ever published to, or mirrored from, Stripe's live mode."""
    folders = [home.publications, home.raw / "stripe" / "syncs"]
    modes = [
        f"select livemode from {parquet_files(folder, '**', '*.parquet')}" for folder in folders if any(folder.rglob("*.parquet"))
    ]
    if not modes:
        return False
    with duckdb.connect() as connection:
        found = connection.execute(f"select coalesce(bool_or(livemode), false) from ({' union all '.join(modes)})")
        return bool(found.fetchall()[0][0])


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
