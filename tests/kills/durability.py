"""Whether a command wrote in an order that survives a power cut, from the log of its calls.

What holds for every rename into raw/ or ledger/: each file and folder that it moves was synced after it was last written; and the
folder that it moves them to is synced before the next commit and before the command ends, as is the folder that a new one was
made in. A commit is a line that is synced in a file that grows: the manifest, or the journal of a run of publishing.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

_RENAMES = ("replace", "rename", "link")
_TRUTH = ("raw", "ledger")


def violations(log: Path, home: Path) -> list[str]:
    """What a power cut could take or leave empty. `log`: as written with {"log", "snapshots": true} (see `hooks.install`)."""
    return list(dict.fromkeys(_violations([json.loads(line) for line in log.read_text().splitlines()], home)))


def _violations(calls: list[dict[str, Any]], home: Path) -> Iterator[str]:
    moved = [call["paths"][0] for call in calls if call["call"] in _RENAMES]
    synced: dict[int, list[int]] = {}
    """Inode -> size and instant of the last change when it was synced last."""
    pending: dict[str, str] = {}
    """Folders that are to be synced, and why."""

    def not_synced(when: str) -> Iterator[str]:
        return (f"{why}, and {_shown(folder)} is not synced before {when}" for folder, why in pending.items())

    for call in calls:
        name, paths, before = call["call"], call["paths"], call["before"]
        target = paths[-1]
        if name in ("fsync", "fdatasync"):
            for inode, kind, *state in before.values():
                synced[inode] = state
                if stat.S_ISREG(kind) and _is_truth(target) and not _is_below(target, moved):  # a file that grows
                    yield from not_synced(f"a line of {target}")
            pending.pop(target, None)
        elif name in _RENAMES and _is_truth(target):
            for path, (inode, kind, *state) in before.items():
                if synced.get(inode) != state:
                    what = "folder" if stat.S_ISDIR(kind) else "file"
                    yield f"{_placed(path, home, *paths)}, a {what}, is renamed into place without having been synced"
            pending[str(PurePath(target).parent)] = f"{target} is renamed into place"
        elif name == "mkdir" and _is_truth(target) and not before and not _is_below(target, moved):
            pending[str(PurePath(target).parent)] = f"{target}/ is made"
    yield from not_synced("the command ends")


def _is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _shown(folder: str) -> str:
    return "the home" if folder == "." else f"{folder}/"


def _is_truth(path: str) -> bool:
    return PurePath(path).parts[:1] != () and PurePath(path).parts[0] in _TRUTH


def _placed(path: str, home: Path, source: str, target: str) -> str:
    """Where the file is after the rename: its name before means nothing to a reader."""
    return target + str(PurePath(path).relative_to(home)).removeprefix(source)
