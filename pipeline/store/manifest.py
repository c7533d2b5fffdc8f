"""ledger/manifest.jsonl: every file that was written to raw/ and ledger/, with its SHA-256; only ever appended to.

A line is a JSON object, the files of one write that came together:

    {"command": "close 2026-10", "files": {"ledger/closes/2026-10/close.parquet": ["<SHA-256>", <bytes>], ...},
     "previous": "<SHA-256 of the line before>"}

The SHA-256 of the last line is the head. It stands for everything: whoever has written a head down elsewhere can tell, for ever
after, that nothing which was written up to it has been edited, deleted, exchanged, forged or put back to an earlier state.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.core.errors import BillhouseError
from pipeline.core.files import sync_folder
from pipeline.core.home import Home

_BLOCK = 65_536


@dataclass(frozen=True)
class WrittenFile:
    """What a file was when it was written."""

    sha256: str
    size: int
    """In bytes."""

    @classmethod
    def of(cls, path: Path) -> WrittenFile:
        """Read a file whole."""
        with path.open("rb") as content:
            return cls(hashlib.file_digest(content, "sha256").hexdigest(), os.fstat(content.fileno()).st_size)


@dataclass
class Manifest:
    """All that the manifest says."""

    files: dict[str, WrittenFile] = field(default_factory=dict)
    """By their path in the home."""
    journals: set[str] = field(default_factory=set)
    """Files that a run of publishing is appending to, or was when it was killed."""
    closed_journals: set[str] = field(default_factory=set)
    """Those whose content is in other files since."""
    heads: dict[str, int] = field(default_factory=dict)
    """The head after each line, and the line's number."""
    broken_lines: list[tuple[int, str]] = field(default_factory=list)
    """Lines that are not as they were written, and how that shows."""

    @property
    def head(self) -> str:
        """Empty where nothing was ever written."""
        return next(reversed(self.heads), "")


def read_manifest(home: Home) -> Manifest:
    """Read all of it. A last line without an end is of a write that was cut off, and says nothing."""
    manifest = Manifest()
    previous = ""
    try:
        lines = home.manifest.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return manifest
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            _typed(row["command"], str)
            written = {path: WrittenFile(*map(_typed, found, (str, int))) for path, found in row.get("files", {}).items()}
            if row["previous"] != previous:
                manifest.broken_lines.append((number, "does not follow the line before it: one of them was changed or removed"))
            if again := sorted(path for path in written if manifest.files.get(path, written[path]) != written[path]):
                manifest.broken_lines.append((number, f"has {again[0]} a second time, as another file"))
            manifest.files |= written
            manifest.journals |= set(row.get("opened", ()))
            manifest.closed_journals |= set(row.get("closed", ()))
            manifest.journals -= manifest.closed_journals
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            manifest.broken_lines.append((number, "cannot be read"))
        previous = hashlib.sha256(line).hexdigest()
        manifest.heads[previous] = number
    return manifest


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def manifest_head(home: Home) -> str:
    """The SHA-256 of the last line; empty where there is none. Reads no more than that line."""
    line = last_line(home)
    return hashlib.sha256(line).hexdigest() if line else ""


def head_after(home: Home, path: str) -> str:
    """The head after the line that has a file, by its path in the home; empty where no line has it.

    It never changes: of a month's close it is the same whatever is written later.
    """
    named = json.dumps(path, ensure_ascii=False).encode()
    try:
        with home.manifest.open("rb") as manifest:
            for line in manifest:
                if named in line and path in json.loads(line).get("files", {}):
                    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    except FileNotFoundError:
        pass
    return ""


def last_line(home: Home) -> bytes:
    """The last line that has an end, without it; empty where there is none."""
    try:
        with home.manifest.open("rb") as manifest:
            end = manifest.seek(0, os.SEEK_END)
            tail = b""
            while end and tail.count(b"\n") < 2:
                start = max(0, end - _BLOCK)
                manifest.seek(start)
                tail, end = manifest.read(end - start) + tail, start
    except FileNotFoundError:
        return b""
    ended = tail.split(b"\n")[:-1]
    return ended[-1] if ended else b""


def new_line(home: Home, said: Mapping[str, Any]) -> bytes:
    """What would be appended now: what is said, but for what is empty, chained to the last line. Hold the manifest meanwhile."""
    told = {name: value for name, value in said.items() if value}
    return json.dumps({**told, "previous": manifest_head(home)}, ensure_ascii=False).encode()


def append_line(home: Home, line: bytes) -> None:
    """Append a line, and sync it: whole, or, where the disk refuses, not at all. Hold the manifest meanwhile."""
    descriptor = os.open(home.manifest, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        length = _length_of_whole_lines(descriptor)
        os.ftruncate(descriptor, length)
        try:
            os.lseek(descriptor, length, os.SEEK_SET)
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, length)
            with suppress(OSError):
                os.fsync(descriptor)
            raise
    finally:
        os.close(descriptor)
    if not length:
        sync_folder(home.ledger)


def _length_of_whole_lines(descriptor: int) -> int:
    """In bytes, up to the end of the last line that has one."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextmanager
def holding_manifest(home: Home, timeout_seconds: float = 600) -> Iterator[None]:
    """Hold the manifest: one writer appends at a time, for an instant. Raises BillhouseError when the wait is over."""
    lock = FileLock(home.path / ".manifest.lock", mode=0o600)
    try:
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        raise BillhouseError(
            f"Another command has been writing to {home.manifest} for over {timeout_seconds:.0f} seconds.",
            "See whether it hangs, end it, and call this again.",
        ) from None
    try:
        yield
    finally:
        lock.release()
