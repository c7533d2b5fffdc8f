"""The state of the landing index: its parts, and the position in the manifest up to which it holds all raw files.

It is replaced as a whole after the parts that it names were written. It is not synced: one that is damaged, or that is not of the
files in the home, is found, and the index is built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.landing.index_updates import KEYS
from pipeline.landing.landing_totals import LandingTotals
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.key_index_part import PartInfo
from pipeline.store.manifest_tail import ManifestPosition, lines_after
from pipeline.store.raw import read_beside_merges

FORMAT = f"1 {duckdb.__version__}"
"""Changes if the index is to be built again: the hashes are those of DuckDB."""
_STATE = "state.json"


@dataclass
class IndexState:
    """What is in state.json."""

    position: ManifestPosition = field(default_factory=ManifestPosition)
    folder_changed_at: int = 0
    """Modification time of raw/landed_files in nanoseconds: it changes if files are added or removed without the manifest."""
    totals: LandingTotals = field(default_factory=LandingTotals)
    parts: dict[str, list[PartInfo]] = field(default_factory=dict)
    """By index, in order of landing."""
    next_part: int = 1

    def save(self, home: Home) -> None:
        """Replace the state of the home."""
        self.folder_changed_at = folder_changed_at(home)
        content = {
            "format": FORMAT,
            "position": asdict(self.position),
            "folder_changed_at": self.folder_changed_at,
            "totals": self.totals.as_dict(),
            "parts": {index: [part.as_dict() for part in parts] for index, parts in self.parts.items()},
            "next_part": self.next_part,
        }
        with replace_atomically(home.landing_index / _STATE, scratch=home.scratch, sync=False) as path:
            path.write_text(json.dumps({"sha256": _digest(content), "state": content}))


@dataclass(frozen=True)
class StateWithChanges:
    """The saved state, and the raw files that were written since."""

    state: IndexState
    position: ManifestPosition
    """After these files."""
    new_files: dict[str, list[str]]
    """By collection, files relative to raw/, in order of writing; those that were removed since are not in it."""


def read_state(home: Home) -> StateWithChanges | None:
    """The state; None if there is none, it is damaged, of another version, or not of the files in this home."""
    try:
        saved = json.loads((home.landing_index / _STATE).read_bytes())
        content = saved["state"]
        if content["format"] != FORMAT or saved["sha256"] != _digest(content):
            return None
        state = IndexState(
            ManifestPosition(**content["position"]),
            content["folder_changed_at"],
            LandingTotals(**content["totals"]),
            {index: [PartInfo.parse(part) for part in parts] for index, parts in content["parts"].items()},
            content["next_part"],
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    followed = lines_after(home, state.position)
    if followed is None:
        return None
    entries, position = followed
    if any(entry.get("command") == "verify --adopt" for entry in entries):
        return None  # it lists files that are not new
    new_files = _raw_files(home, (path for entry in entries for path in entry.get("files", {})))
    if not new_files.get("landed_files") and folder_changed_at(home) != state.folder_changed_at:
        return None
    return StateWithChanges(state, position, new_files)


def landing_totals(home: Home) -> LandingTotals | None:
    """The totals of all landed files; None if the home was never landed into. Safe at any time, also during a landing."""
    if not any((home.raw / "landed_files").glob("*.parquet")):
        return None
    return read_beside_merges(lambda: _landing_totals(home))


def _landing_totals(home: Home) -> LandingTotals:
    found = read_state(home)
    with duckdb.connect() as connection:
        if found is None:
            return LandingTotals.of(connection, [home.raw / name for name in _files_of(home, "landed_files")])
        new = [home.raw / name for name in found.new_files.get("landed_files", ())]
        totals = found.state.totals
        return totals.plus(LandingTotals.of(connection, new, after=totals.rows))


def remove_state(home: Home) -> None:
    """Remove the state, before parts that it may name are written again."""
    (home.landing_index / _STATE).unlink(missing_ok=True)


def all_raw_files(home: Home) -> dict[str, list[str]]:
    """By collection of the index, every raw file, relative to raw/, in order of their names."""
    return {collection: _files_of(home, collection) for collection in KEYS}


def _files_of(home: Home, collection: str) -> list[str]:
    paths = (home.raw / collection).rglob("*.parquet")
    return sorted(path.relative_to(home.raw).as_posix() for path in paths if path.name != EMPTY_FILE)


def folder_changed_at(home: Home) -> int:
    """Modification time of raw/landed_files in nanoseconds."""
    try:
        return (home.raw / "landed_files").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _raw_files(home: Home, paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        top, _, name = path.partition("/")
        collection = name.partition("/")[0]
        if top == "raw" and collection in KEYS and path.endswith(".parquet") and Path(home.path, path).exists():
            found.setdefault(collection, []).append(name)
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
