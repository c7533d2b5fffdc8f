"""Files of the inbox that have not landed, as the metrics, the start page and the closing checklist count them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.core.errors import BillhouseError, InputFileError
from pipeline.core.home import Home
from pipeline.landing.inbox import files_in_inbox, version_of
from pipeline.landing.input_files import examine
from pipeline.landing.reading import Reading
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from pipeline.store.raw import landed_file_rows_of_sizes


@dataclass(frozen=True)
class InboxFile:
    """A file in the inbox."""

    path: Path
    written_at: float
    """When it was last written, in seconds since 1970."""
    has_landed: bool
    """Whether its content has landed: landing it again would land nothing."""


def inbox_files(home: Home) -> list[InboxFile]:
    """The files in any folder of the inbox, without hidden ones. Takes no lock, and writes nothing.

    Only files with the name and size of a landed one are read. A file that was moved away meanwhile is left out.
    """
    paths = files_in_inbox(home)
    states = {}
    for path in paths:
        with suppress(OSError):
            states[path] = path.lstat()
    landed = _LandedFiles(home, {state.st_size for state in states.values()}) if states else None
    found = []
    for path, state in states.items():
        try:
            has_landed = landed is not None and landed.has(path, state)
        except OSError:
            continue
        found.append(InboxFile(path, state.st_mtime, has_landed))
    return found


def waiting_inbox_files(home: Home) -> list[InboxFile]:
    """The files in the inbox that have not landed."""
    return [file for file in inbox_files(home) if not file.has_landed]


class _LandedFiles:
    """Finds out whether a file of the inbox has landed, by its content; reads only files with a landed name and size."""

    def __init__(self, home: Home, sizes: Set[int]) -> None:
        """`sizes`: of the files of the inbox, in bytes; landed files of other sizes are not looked at."""
        self._home = home
        rows = landed_file_rows_of_sizes(home, sizes).to_pylist()
        self._ids = {row["file_id"] for row in rows}
        self._readings: dict[tuple[str, int], set[tuple[str, str | None]]] = defaultdict(set)
        for row in rows:
            name_and_size = (Path(row["file_name"]).name, row["file_bytes"])
            self._readings[name_and_size].add((row["kind"], row["source_name"]))

    def has(self, path: Path, state: os.stat_result) -> bool:
        """Whether its content has landed, as it would be read now. Raises FileNotFoundError if it is no longer there."""
        readings = self._readings.get((path.name, state.st_size), set())
        # The last is when the file changed by the system's clock: a copy can have the modification time of another.
        version = (*version_of(state), state.st_ctime_ns)
        return any(self._id_of(path, version, kind, source_name) in self._ids for kind, source_name in readings)

    def _id_of(self, path: Path, version: tuple[int, ...], kind: str, source_name: str | None) -> str | None:
        """The file's id; None if it cannot be read, or the source is gone."""
        try:
            source = find_source(self._home, source_name) if source_name is not None else None
            return _file_id(path, version, source.kind if source is not None else Kind(kind), Reading.of(source).shown)
        except InputFileError:
            path.lstat()
            return None
        except BillhouseError:
            return None


@lru_cache(maxsize=10_000)
def _file_id(path: Path, _version: tuple[int, ...], kind: Kind, how_read: str) -> str:
    """The id of a file, read once for each version of it: a server asks again and again."""
    return examine(path, kind, how_read).file_id
