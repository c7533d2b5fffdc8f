"""ledger/manifest.jsonl: the SHA-256 of every file that was written to raw/ and ledger/; append-only.

Each line is a JSON object that lists the files of one write:

    {"command": "close 2026-10", "files": {"ledger/closes/2026-10/close.parquet": ["<SHA-256>", <bytes>], ...},
     "previous": "<SHA-256 of the line before>"}

"replaced" lists files of earlier lines whose rows are all in the files of the line: they no longer exist.

The SHA-256 of the last line is the head. A head that was recorded elsewhere proves that no file written up to it has since been
edited, deleted, replaced, forged or rolled back to an earlier state.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.files import sync_folder
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock

REPLACEABLE = ("raw/usage_events/", "raw/landed_files/")
"""The files that a line may list as replaced are below these folders; others are never replaced."""
_BLOCK = 65_536


@dataclass(frozen=True)
class WrittenFile:
    """Hash and size of a file when it was written."""

    sha256: str
    size: int
    """In bytes."""

    @classmethod
    def of(cls, path: Path) -> WrittenFile:
        """Hash a file."""
        with path.open("rb") as content:
            return cls(hashlib.file_digest(content, "sha256").hexdigest(), os.fstat(content.fileno()).st_size)


@dataclass
class Manifest:
    """The content of the manifest."""

    files: dict[str, WrittenFile] = field(default_factory=dict)
    """By path relative to the home; without those that were replaced."""
    replaced: set[str] = field(default_factory=set)
    """Files that no longer exist, because all their rows are in files of a later write."""
    journals: set[str] = field(default_factory=set)
    """Journals of publishing runs that are running or were killed: they are still appended to, so they have no hash."""
    closed_journals: set[str] = field(default_factory=set)
    """Journals whose content is in other files now."""
    heads: dict[str, int] = field(default_factory=dict)
    """Line number by head."""
    broken_lines: list[tuple[int, str]] = field(default_factory=list)
    """Lines that were changed since they were written: (line number, what is wrong)."""

    @property
    def head(self) -> str:
        """The SHA-256 of the last line; empty if there is none."""
        return next(reversed(self.heads), "")


def read_manifest(home: Home) -> Manifest:
    """Read the whole manifest. A last line without a line feed is an interrupted write and is ignored."""
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
                manifest.broken_lines.append((number, "does not follow the line before it: a line was changed or removed"))
            if repeated := sorted(path for path in written if manifest.files.get(path, written[path]) != written[path]):
                manifest.broken_lines.append((number, f"lists {repeated[0]} a second time with another hash"))
            replaced = {_typed(path, str) for path in row.get("replaced", ())}
            if foreign := sorted(path for path in replaced if not path.startswith(REPLACEABLE)):
                manifest.broken_lines.append((number, f"replaces {foreign[0]}, which no command replaces"))
                replaced -= set(foreign)
            manifest.files |= written
            manifest.replaced -= written.keys()
            manifest.replaced |= replaced
            for path in replaced:
                manifest.files.pop(path, None)
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
    """The SHA-256 of the last line; empty if there is none. Reads only that line."""
    line = last_line(home)
    return hashlib.sha256(line).hexdigest() if line else ""


def head_after(home: Home, path: str) -> str:
    """The head after the line that lists a file (path relative to the home); empty if no line does.

    Later writes do not change it, so a month's close always has the same head.
    """
    quoted_path = json.dumps(path, ensure_ascii=False).encode()
    try:
        with home.manifest.open("rb") as manifest:
            for line in manifest:
                if quoted_path in line and path in json.loads(line).get("files", {}):
                    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    except FileNotFoundError:
        pass
    return ""


def entries_from_end(home: Home) -> Iterator[dict[str, Any]]:
    """The entries, the last one first: what was written lately is found without reading all of history.

    Lines that cannot be read are skipped; `verify` reports them.
    """
    if not last_line(home):
        return
    with home.manifest.open("rb") as manifest, mmap.mmap(manifest.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n")
        while end > 0:
            start = content.rfind(b"\n", 0, end) + 1
            with suppress(ValueError):
                entry = json.loads(content[start:end])
                if isinstance(entry, dict):
                    yield entry
            end = start - 1


def last_line(home: Home) -> bytes:
    """The last complete line, without its line feed; empty if there is none."""
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
    complete = tail.split(b"\n")[:-1]
    return complete[-1] if complete else b""


def new_line(home: Home, entry: Mapping[str, Any]) -> bytes:
    """The line for an entry, without its empty values and with the hash of the last line. The caller locks the manifest."""
    present = {name: value for name, value in entry.items() if value}
    return json.dumps({**present, "previous": manifest_head(home)}, ensure_ascii=False).encode()


def append_line(home: Home, line: bytes) -> None:
    """Append a line and sync it. If the disk fails, nothing is appended. The caller locks the manifest."""
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
    """The length in bytes up to and including the last line feed."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextmanager
def lock_manifest(home: Home, timeout_seconds: float = 600) -> Iterator[None]:
    """Hold the manifest's lock while the block runs; writers hold it briefly. Raises BillhouseError after the timeout."""
    activity = f"writing to {home.manifest}"
    with hold_lock(home.path / ".manifest.lock", activity=activity, timeout_seconds=timeout_seconds):
        yield
