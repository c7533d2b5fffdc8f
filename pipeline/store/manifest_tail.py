"""Reads the manifest from a position on, so that an index of raw/ follows it at a cost that does not grow with history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pipeline.core.home import Home


@dataclass(frozen=True)
class ManifestPosition:
    """A place in the manifest: after a line."""

    offset: int = 0
    """In bytes."""
    line_bytes: int = 0
    """Length of the line before it, with its line feed."""
    head: str = ""
    """SHA-256 of that line; empty at the beginning."""


def lines_after(home: Home, position: ManifestPosition) -> tuple[list[dict[str, Any]], ManifestPosition] | None:
    """The entries after a position, and the position after them; None if the manifest is not the one that the position is of.

    An interrupted last line is ignored. Reads the line before the position and those after it.
    """
    try:
        with home.manifest.open("rb") as manifest:
            manifest.seek(max(0, position.offset - position.line_bytes))
            before = manifest.read(position.line_bytes)
            rest = manifest.read()
    except FileNotFoundError:
        before = rest = b""
    if len(before) != position.line_bytes or _head(before) != position.head:
        return None
    entries, offset = [], position.offset
    for line in rest.split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except ValueError:  # verify reports it
            return None
        if not isinstance(entry, dict):
            return None
        entries.append(entry)
        offset += len(line) + 1
        position = ManifestPosition(offset, len(line) + 1, _head(line))
    return entries, position


def manifest_bytes(home: Home) -> int:
    """The length of the manifest; 0 if there is none."""
    try:
        return home.manifest.stat().st_size
    except FileNotFoundError:
        return 0


def _head(line: bytes) -> str:
    line = line.removesuffix(b"\n")
    return hashlib.sha256(line).hexdigest() if line else ""
