"""Collects files of JSON lines that grow, such as the export of a queue, from a folder or from object storage."""

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
from pipeline.feeds.access import check_file_address
from pipeline.feeds.position import Collected, Source, open_source
from pipeline.landing.record_kinds import Kind

_ENDINGS = (".jsonl", ".ndjson", ".json")
_HEAD_BYTES = 1024
_BLOCK_BYTES = 8 << 20


def collect_export(home: Home, address: str, *, name: str, folder: str = Kind.USAGE) -> Collected:
    """Write the lines that were added since the last run to the inbox, each at least once.

    `address`: a file or folder, local or an fsspec URL (s3://bucket/events, if s3fs is installed). Each file is read from the
    stored offset; a last line without a line feed is left for the next run. A file whose start has changed is a new file with an
    old name, and is read from its start. Raises BillhouseError.
    """
    check_file_address(address)
    with open_source(home, name, folder) as source:
        try:
            files, folder = fsspec.core.url_to_fs(address)
            found = sorted(files.find(folder))
        except (OSError, ValueError, ImportError) as error:
            raise BillhouseError(f"{address} cannot be read ({error}).", "Check the address and the permissions.") from error
        if not found:
            raise BillhouseError(f"There are no files at {address}.", "Check the address.")
        positions: dict[str, Any] = source.position or {}
        for path in found:
            if not path.endswith(_ENDINGS):
                source.collected.skipped.append(path)
                continue
            try:
                _add_new_lines(source, files, path, positions)
            except NotRegularError as error:
                source.collected.refused.append(f"{path} {error} {error.next_step}")
            except OSError as error:
                source.collected.refused.append(f"{path} cannot be read ({error.strerror or error}). Check its permissions.")
    return source.collected


def _add_new_lines(source: Source, files: Any, path: str, positions: dict[str, Any]) -> None:
    """Add the complete lines of a file after its offset."""
    with _open(files, path) as stream:
        head = stream.read(_HEAD_BYTES)
        known = positions.get(path, {"offset": 0, "head": _digest(b"")})
        offset = known["offset"]
        if _digest(head[:offset]) != known["head"] or files.size(path) < offset:
            offset = 0
        stream.seek(offset)
        for lines, size in _complete_lines(stream):
            offset += size
            positions[path] = {"offset": offset, "head": _digest(head[:offset])}
            source.add((line for line in lines if line.strip()), positions)


def _complete_lines(stream: IO[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Complete lines, block by block, and their length in the file in bytes.

    A line longer than a row may be is cut off, so that it does not fill the memory; landing quarantines it.
    """
    rest, skipped = b"", 0
    while block := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield lines, sum(len(line) + 1 for line in lines) + skipped
            skipped = 0
        if len(rest) > MAX_ROW_BYTES:
            skipped += len(rest) - MAX_ROW_BYTES - 1
            rest = rest[: MAX_ROW_BYTES + 1]


def _open(files: Any, path: str) -> IO[bytes]:
    opened: IO[bytes] = open_regular(Path(path)) if isinstance(files, LocalFileSystem) else files.open(path, "rb")
    return opened


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()
