"""The inbox: files that wait to be landed, one folder per kind and per source. Landed files are moved to inbox/.landed/.

inbox/usage/2026/10/05.jsonl.gz           waits
inbox/e2b-events/page-7.json              waits, to be read with the source e2b-events
inbox/.landed/usage/2026/10/05.jsonl.gz   has landed, and is not read again
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind

_TEXT = (".jsonl", ".ndjson", ".json", ".csv")
_ENDINGS = (*(ending + compressed for ending in _TEXT for compressed in ("", ".gz", ".zst")), ".parquet", ".avro")
LANDED = ".landed"
"""The folder of the inbox with the files that have landed."""


def waiting_files(home: Home, kind_or_source: str) -> list[Path]:
    """The files of a kind or source in the inbox, sorted by name, without other types and without hidden files and folders.

    What is hidden is still being written: where the inbox is on another disk than .tmp, in a hidden folder of the inbox.
    Includes links, pipes and devices, which landing rejects by name. Links to folders are not followed.
    """
    folder = home.inbox / kind_or_source
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path for path in found if path.name.lower().endswith(_ENDINGS) and not _is_hidden(path.relative_to(folder)))


def files_in_inbox(home: Home) -> list[Path]:
    """The files in the inbox, also below no folder of a kind or source, sorted; without other types, and without hidden ones."""
    found = []
    for folder, folders, names in os.walk(home.inbox):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.lower().endswith(_ENDINGS) and not name.startswith(".")]
    return sorted(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def version_of_path(path: Path) -> tuple[int, ...] | None:
    """Inode, size and modification time of a file, which change if it is replaced or written to; None if it is inaccessible."""
    try:
        return version_of(path.lstat())
    except OSError:  # removed, or without permission, which landing reports
        return None


def version_of(found: os.stat_result) -> tuple[int, ...]:
    """The same, from a stat result."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def inbox_digest(home: Home, sources: Iterable[str] = ()) -> str:
    """A SHA-256 of the waiting files of all kinds and of these sources; '' if no file waits.

    It changes when a file is added, replaced or removed.
    """
    digest = hashlib.sha256()
    waiting = [path for name in (*Kind, *sources) for path in waiting_files(home, name)]
    for path in waiting:
        digest.update(os.fsencode(path) + f"\0{version_of_path(path)}\0".encode())
    return digest.hexdigest() if waiting else ""


def move_landed(home: Home, landed: Mapping[Path, tuple[int, ...] | None]) -> None:
    """Move landed files to inbox/.landed/, so that they are not landed again. Never overwrites a file there.

    `landed`: by path, the version that landed. A file with another version by now stays, and waits for the next landing.
    """
    for path, landed_version in landed.items():
        if version_of_path(path) != landed_version:
            continue
        target = home.inbox / LANDED / path.relative_to(home.inbox)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        os.replace(path, target)
