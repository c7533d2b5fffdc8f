"""Whether a command wrote in an order that survives a power cut, from the log of its calls.

What holds for every rename into raw/ or ledger/: each file and folder that it moves was synced after it was last written; and the
folder that it moves them to is synced before the next commit and before the command ends, as is the folder that a new one was
made in. A commit is a rename that makes other files count, or a line that is synced in a file that grows.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

_TRUTH = ("raw", "ledger")
_COMMITS = ("raw/landed_files", "raw/stripe/syncs", "ledger/chain.txt")
"""What makes other files count where it is renamed into place."""


def violations(log: Path, home: Path) -> list[str]:
    """What a power cut could take or leave empty. `log`: as written with {"log", "snapshots": true} (see `hooks.install`)."""
    return list(dict.fromkeys(_violations([json.loads(line) for line in log.read_text().splitlines()], home)))


def _violations(calls: list[dict[str, Any]], home: Path) -> Iterator[str]:
    synced: dict[int, list[int]] = {}
    """Inode -> size and instant of the last change when it was synced last."""
    pending: dict[str, str] = {}
    """Folders that are to be synced, and why."""
    for call in calls:
        name, paths, before = call["call"], call["paths"], call["before"]
        target = paths[-1]
        if name in ("fsync", "fdatasync"):
            for inode, kind, *state in before.values():
                synced[inode] = state
                if stat.S_ISREG(kind) and _is_truth(target) and pending:  # a line of a file that grows
                    yield from (f"{why}, and {folder}/ is not synced before {target}" for folder, why in pending.items())
            pending.pop(target, None)
        elif name in ("replace", "rename", "link") and _is_truth(target):
            for path, (inode, kind, *state) in before.items():
                shown = PurePath(path).relative_to(home) if PurePath(path).is_relative_to(home) else path
                if synced.get(inode) != state:
                    what = "folder" if stat.S_ISDIR(kind) else "file"
                    yield f"{_masked(str(shown), paths[0], target)}, a {what}, is renamed to {target} without having been synced"
            if target.startswith(_COMMITS):
                yield from (f"{why}, and {folder}/ is not synced before {target}" for folder, why in pending.items())
            pending[str(PurePath(target).parent)] = f"{target} is renamed into place"
        elif name == "mkdir" and _is_truth(target) and not before:
            pending[str(PurePath(target).parent)] = f"{target}/ is made"
    yield from (f"{why}, and {folder}/ is not synced before the command ends" for folder, why in pending.items())


def _is_truth(path: str) -> bool:
    return PurePath(path).parts[:1] != () and PurePath(path).parts[0] in _TRUTH


def _masked(path: str, source: str, target: str) -> str:
    """Where the file is after the rename: its scratch name says nothing to a reader."""
    return target + path.removeprefix(source) if path.startswith(source) else path
