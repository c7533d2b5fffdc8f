"""What a queue is exported to: files of JSON lines that grow, in a folder or in object storage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.input_limits import MAX_ROW_BYTES
from pipeline.core.regular_files import NotRegularError, open_regular
from pipeline.feeds.position import Collected, Source, open_source
from pipeline.landing.record_kinds import Kind

_ENDINGS = (".jsonl", ".ndjson", ".json")
_HEAD_BYTES = 1024
_BLOCK_BYTES = 8 << 20


def collect_export(home: Home, address: str, *, name: str, kind: Kind = Kind.USAGE) -> Collected:
    """Bring the lines that an export has more than the last time to the inbox, every one at least once.

    `address` is a file or a folder, local or as fsspec names it (s3://bucket/events, where s3fs is installed). Of each file the
    lines beyond the kept offset are read; a line without its end is still being written, and left for the next run. A file that
    does not begin as it did is another one under an old name, and is read from its start. Raises BillhouseError.
    """
    with open_source(home, name, kind) as source:
        try:
            files, folder = fsspec.core.url_to_fs(address)
            found = sorted(files.find(folder))
        except (OSError, ValueError, ImportError) as error:
            raise BillhouseError(f"{address} cannot be read ({error}).", "Check the address and the permissions.") from error
        if not found:
            raise BillhouseError(f"There is nothing at {address}.", "Check the address.")
        positions: dict[str, Any] = source.position or {}
        for path in found:
            if not path.endswith(_ENDINGS):
                source.collected.skipped.append(path)
                continue
            try:
                _read_on(source, files, path, positions)
            except NotRegularError as error:
                source.collected.refused.append(f"{path} {error} {error.next_step}")
            except OSError as error:
                source.collected.refused.append(f"{path} cannot be read ({error.strerror or error}). Check its permissions.")
    return source.collected


def _read_on(source: Source, files: Any, path: str, positions: dict[str, Any]) -> None:
    """Add the whole lines of one file beyond its offset."""
    with _open(files, path) as stream:
        head = stream.read(_HEAD_BYTES)
        known = positions.get(path, {"offset": 0, "head": _digest(b"")})
        offset = known["offset"]
        if _digest(head[:offset]) != known["head"] or files.size(path) < offset:
            offset = 0
        stream.seek(offset)
        for lines, size in _whole_lines(stream):
            offset += size
            positions[path] = {"offset": offset, "head": _digest(head[:offset])}
            source.add((line for line in lines if line.strip()), positions)


def _whole_lines(stream: IO[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Lines with their end, block by block, and the bytes that they take in the file.

    Of a line that no row can be as long as, its beginning comes: landing puts it into quarantine. The rest is not held in memory.
    """
    rest, left_out = b"", 0
    while block := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield lines, sum(len(line) + 1 for line in lines) + left_out
            left_out = 0
        if len(rest) > MAX_ROW_BYTES:
            left_out += len(rest) - MAX_ROW_BYTES - 1
            rest = rest[: MAX_ROW_BYTES + 1]


def _open(files: Any, path: str) -> IO[bytes]:
    opened: IO[bytes] = open_regular(Path(path)) if isinstance(files, LocalFileSystem) else files.open(path, "rb")
    return opened


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()
