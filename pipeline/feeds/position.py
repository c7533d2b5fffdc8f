"""A source that is being collected: its position, and the files that come of it.

    <home>/collecting/<name>.json           where the next run goes on: {"files": 12, "position": ..., "of": ...}
    <home>/inbox/<kind>/<name>-00000012.jsonl

A file is renamed into the inbox first and the position after it. A kill between the two leaves a file that the next run writes
anew, under the same name, with at least the same rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind

ROWS_PER_FILE = 50_000
"""So many rows, or a few more, wait in memory before they are written: what a kill makes a source tell again."""
BYTES_PER_FILE = 32 << 20
"""Or so many bytes of them, and what one page or block adds."""


@dataclass
class Collected:
    """What a run of collecting brought."""

    source: str
    kind: Kind
    rows: int = 0
    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Files of an export that are no JSON lines, and were left where they are."""
    refused: list[str] = field(default_factory=list)
    """Files of an export that could not be read, each with why and what to do; the others were."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "kind": str(self.kind),
            "rows": self.rows,
            "files": [str(path) for path in self.files],
            "skipped": self.skipped,
            "refused": self.refused,
        }


class Source:
    """One source, held by one run at a time (`open_source`)."""

    def __init__(self, home: Home, name: str, kind: Kind, *place: str) -> None:
        self._record = home.collecting / f"{name}.json"
        self._of = hashlib.sha256("\0".join([kind, *place]).encode()).hexdigest()
        self._inbox = home.inbox / kind
        self._scratch = home.scratch
        self._lines: list[bytes] = []
        self._bytes = 0
        self._files, self.position = self._read()
        self.collected = Collected(name, kind)

    def add(self, lines: Iterable[bytes], position: Any) -> None:
        """Rows as JSON, each a line, and where to go on once they are kept."""
        added = list(lines)  # a row that cannot be written leaves out its page, and not the half of it
        self._lines += added
        self._bytes += sum(map(len, added))
        self.position = position
        if len(self._lines) >= ROWS_PER_FILE or self._bytes >= BYTES_PER_FILE:
            self.keep()

    def keep(self) -> None:
        """Put what was added into the inbox, and then the position after it on record."""
        if self._lines:
            self._files += 1
            target = self._inbox / f"{self.collected.source}-{self._files:08d}.jsonl"
            with replace_atomically(target, scratch=self._scratch) as path:
                path.write_bytes(b"\n".join(self._lines) + b"\n")
            self.collected.files.append(target)
            self.collected.rows += len(self._lines)
            self._lines, self._bytes = [], 0
        with replace_atomically(self._record, scratch=self._scratch) as path:
            record = {"files": self._files, "position": self.position, "of": self._of}
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _read(self) -> tuple[int, Any]:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            files, position, of = int(record["files"]), record["position"], record.get("of", self._of)
        except FileNotFoundError:
            return 0, None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BillhouseError(
                f"The position in {self._record} cannot be read.",
                "Restore it from a back-up, or remove it to collect everything again: landing knows what has landed.",
            ) from error
        if of != self._of:
            raise WrongUsageError(
                f"{self._record.stem} is the name of another source: its position says nothing of this one.",
                f"Give this one a name of its own with --name, or remove {self._record} to collect everything anew.",
            )
        return files, position


@contextmanager
def open_source(home: Home, name: str, kind: Kind, *place: str) -> Iterator[Source]:
    """Hold a source for this run; what was added is kept at its end, also where it fails.

    `place` tells it from others that might be called the same: an address with its parameters, whose key. A hash is kept.
    Raises BillhouseError where another run holds it, and WrongUsageError where the position of that name is of another place.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
        raise WrongUsageError(f"'{name}' cannot name a source.", "Use small letters, digits, dots, dashes and underscores.")
    for folder in (home.collecting, home.inbox / kind):
        folder.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(home.collecting / f".{name}.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BillhouseError(f"Another command is collecting {name}.", "Wait until it is done.") from None
    try:
        source = Source(home, name, kind, *place)
        try:
            yield source
        except BillhouseError:
            source.keep()
            raise
        source.keep()
    finally:
        lock.release()
