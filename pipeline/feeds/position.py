"""The position of a collected source, and the files that its rows are written to.

    <home>/collecting/<name>.json                the position: {"files": 12, "position": ..., "of": ...}
    <home>/inbox/<folder>/<name>-00000012.jsonl  the rows; the folder is that of a kind, or of a source that selects from them

A file is renamed into the inbox before its position is stored. After a kill between the two, the next run writes the file again,
with the same name and the same first rows, and the others in the files after it; or, from a queue, which may deliver other rows,
it writes another file.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import make_folders, replace_atomically
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.landing.record_kinds import Kind

ROWS_PER_FILE = 50_000
"""Rows in memory before they are written. After a kill, a source must send at most these again."""
BYTES_PER_FILE = 32 << 20
"""Bytes in memory before they are written, plus one page or block."""

SECONDS_IN_MEMORY = 30
"""After so long, rows in memory are written with the next ones that come: a slow source that is ended loses little of a run."""


@dataclass
class Collected:
    """The result of a run."""

    source: str
    folder: str
    """The folder of the inbox: a kind, or the source that landing reads the rows with."""
    rows: int = 0
    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Files of an export that are not JSON lines; they were not read."""
    refused: list[str] = field(default_factory=list)
    """Messages about files of an export that could not be read; the others were."""
    warnings: list[str] = field(default_factory=list)
    """What may be missing from what was collected."""

    @property
    def land_options(self) -> str:
        """The options with which `billhouse land` reads the files."""
        return f"--{'kind' if self.folder in set(Kind) else 'source'} {self.folder}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "inbox_folder": str(self.folder),
            "rows": self.rows,
            "files": [str(path) for path in self.files],
            "skipped": self.skipped,
            "refused": self.refused,
            "warnings": self.warnings,
        }


class Source:
    """A source, locked by one run at a time (`open_source`)."""

    def __init__(self, home: Home, name: str, folder: str, *place: str, replaces_files: bool = True) -> None:
        self._record = home.collecting / f"{name}.json"
        self._place_hash = hashlib.sha256("\0".join([folder, *place]).encode()).hexdigest()
        self._inbox = home.inbox / folder
        self._scratch = home.scratch
        self._replaces_files = replaces_files
        self._lines: list[bytes] = []
        self._bytes = 0
        self._oldest_at = 0.0
        """When the first of the rows in memory came."""
        self._files, self.position = self._read()
        self.collected = Collected(name, folder)

    def add(self, lines: Iterable[bytes], position: Any) -> None:
        """Add rows, as lines of JSON, and the position after them."""
        added = list(lines)  # an error in the iterator must not add half of the lines
        if not self._lines:
            self._oldest_at = time.monotonic()
        self._lines += added
        self._bytes += sum(map(len, added))
        self.position = position
        is_old = self._lines and time.monotonic() - self._oldest_at >= SECONDS_IN_MEMORY
        if is_old or len(self._lines) >= ROWS_PER_FILE or self._bytes >= BYTES_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write the added rows to the inbox, then store the position."""
        if self._lines:
            target = self._next_file()
            with replace_atomically(target, scratch=self._scratch) as path:
                path.write_bytes(b"\n".join(self._lines) + b"\n")
            self.collected.files.append(target)
            self.collected.rows += len(self._lines)
            self._lines, self._bytes = [], 0
        if self.position is None and not self._files:
            return  # nothing was collected, perhaps because an option was wrong: the name stays free for another place
        with replace_atomically(self._record, scratch=self._scratch) as path:
            record = {"files": self._files, "position": self.position, "of": self._place_hash}
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _next_file(self) -> Path:
        """The next numbered file. Where files are not replaced, the first one that does not wait in the inbox already."""
        while True:
            self._files += 1
            path = self._inbox / f"{self.collected.source}-{self._files:08d}.jsonl"
            if self._replaces_files or not path.exists():
                return path

    def _read(self) -> tuple[int, Any]:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            files, position, of = int(record["files"]), record["position"], record.get("of", self._place_hash)
        except FileNotFoundError:
            return 0, None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BillhouseError(
                f"The position in {self._record} cannot be read.",
                "Restore it from a backup, or remove it to collect everything again: landing skips duplicates.",
            ) from error
        if of != self._place_hash:
            raise WrongUsageError(
                f"The stored position of {self._record.stem} is that of another source.",
                f"Choose another name with --name, or remove {self._record} to collect everything again.",
            )
        return files, position


def is_source_name(name: str) -> bool:
    """Whether a source can be named so: the name is part of file names."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name) is not None


@contextmanager
def open_source(home: Home, name: str, folder: str, *place: str, replaces_files: bool = True) -> Iterator[Source]:
    """Lock a source for this run; added rows are written at the end, also after a BillhouseError.

    `folder`: of the inbox, a kind or the name of a source of landing. `place` identifies the source, as its URL and the name of
    its key; a hash of it is stored with the position. `replaces_files`: after a kill, the next run writes the last file again,
    which needs a source that sends the same rows again; otherwise that file stays, and the rows go to another one.

    Raises BillhouseError if another run has locked the source, and WrongUsageError if the position of that name is of another
    place.
    """
    if not is_source_name(name):
        raise WrongUsageError(f"Invalid source name '{name}'.", "Use lower-case letters, digits, dots, dashes and underscores.")
    for path in (home.collecting, home.inbox / folder):
        make_folders(path)
    with hold_lock(home.collecting / f".{name}.lock", activity=f"collecting {name}", timeout_seconds=0):
        source = Source(home, name, folder, *place, replaces_files=replaces_files)
        try:
            yield source
        except BillhouseError:
            source.flush()
            raise
        source.flush()
