"""The inbox: files that wait to be landed, one folder per kind. Landed files are moved to inbox/.landed/.

inbox/usage/2026/10/05.jsonl.gz           waits
inbox/.landed/usage/2026/10/05.jsonl.gz   has landed, and is not read again
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind

_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
_LANDED = ".landed"


def waiting_files(home: Home, kind: Kind) -> list[Path]:
    """The files of a kind in the inbox, sorted by name, without hidden files and other file types (still being written).

    Includes links, pipes and devices, which landing rejects by name. Links to folders are not followed.
    """
    found = (path for path in (home.inbox / kind).rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path for path in found if not path.name.startswith(".") and path.name.lower().endswith(_ENDINGS))


def version_of_path(path: Path) -> tuple[int, ...] | None:
    """Inode, size and modification time of a file, which change if it is replaced or written to; None if it is inaccessible."""
    try:
        return version_of(path.lstat())
    except OSError:  # removed, or without permission, which landing reports
        return None


def version_of(found: os.stat_result) -> tuple[int, ...]:
    """The same, from a stat result."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def inbox_digest(home: Home) -> str:
    """A SHA-256 that changes when a file is added, replaced or removed; '' if no file waits."""
    digest = hashlib.sha256()
    waiting = [path for kind in Kind for path in waiting_files(home, kind)]
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
        target = home.inbox / _LANDED / path.relative_to(home.inbox)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        os.replace(path, target)
