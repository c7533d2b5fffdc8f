"""The inbox: where files wait to be landed, a folder a kind; what has landed is set aside.

inbox/usage/2026/10/05.jsonl.gz           waits
inbox/.landed/usage/2026/10/05.jsonl.gz   has landed; nothing reads it any more
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
    """The files of a kind in the inbox, by name. Hidden files, and those of other endings, are still being written.

    Links, pipes and devices are among them, for landing to refuse by name; what a link to a folder leads to is not.
    """
    found = (path for path in (home.inbox / kind).rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path for path in found if not path.name.startswith(".") and path.name.lower().endswith(_ENDINGS))


def version(path: Path) -> tuple[int, ...] | None:
    """What tells a file from another of its name, and from itself once more is written to it; None where it cannot be seen."""
    try:
        return version_of(path.lstat())
    except OSError:  # gone, or in a folder that is closed to us, which landing tells
        return None


def version_of(found: os.stat_result) -> tuple[int, ...]:
    """The same, of a file that is open."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def inbox_digest(home: Home) -> str:
    """A SHA-256 that changes when a file comes or is replaced; '' where none waits."""
    digest = hashlib.sha256()
    waiting = [path for kind in Kind for path in waiting_files(home, kind)]
    for path in waiting:
        digest.update(os.fsencode(path) + f"\0{version(path)}\0".encode())
    return digest.hexdigest() if waiting else ""


def set_aside(home: Home, landed: Mapping[Path, tuple[int, ...] | None]) -> None:
    """Move files that have landed out of the way, so that no later landing reads them again. Nothing is overwritten.

    Of each the version is given that has landed: what was put in its place since then, or written to it, waits for the next
    landing.
    """
    for path, of_landing in landed.items():
        if version(path) != of_landing:
            continue
        target = home.inbox / _LANDED / path.relative_to(home.inbox)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        os.replace(path, target)
