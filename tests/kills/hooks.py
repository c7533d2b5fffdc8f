"""Patches the calls that change the file system, in a process under test: to kill it, to hold it, or to record their order.

Only calls below the home count, without dbt's own files in .dbt/. What native code writes (DuckDB, Arrow) is not seen here;
kills at random instants cover that.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OF_DESCRIPTORS = ("fsync", "fdatasync", "ftruncate", "write")
_OF_TWO_PATHS = ("replace", "rename", "link", "symlink")
CALLS = (*_OF_DESCRIPTORS, *_OF_TWO_PATHS, "unlink", "remove", "mkdir", "rmdir", "truncate")


def install(home: Path, orders: dict[str, Any]) -> None:
    """Patch the calls of this process.

    `orders`: {"log": PATH} writes a line of JSON for every call; {"kill": {"at": N, "when": "before" | "halfway" | "after"}} ends
    the process at the N-th call (halfway: half of the bytes are written); {"hold": {"at": N, "until": PATH}} makes the N-th
    call wait until a file exists, and creates that path with `.held` appended once it waits; {"snapshots": true} adds to every
    line of the log what the call moves or syncs.
    """
    calls = _Calls(home, orders)
    for name in CALLS:
        setattr(os, name, calls.patched(name, getattr(os, name)))


class _Calls:
    def __init__(self, home: Path, orders: dict[str, Any]) -> None:
        self._home = f"{home}{os.sep}"
        self._of_dbt = f"{home / '.dbt'}{os.sep}"
        self._kill: dict[str, Any] = orders.get("kill") or {}
        self._hold: dict[str, Any] = orders.get("hold") or {}
        self._snapshots = bool(orders.get("snapshots"))
        log = orders.get("log")
        self._write = os.write
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600) if log else None
        self._count = 0
        self._lock = threading.RLock()

    def patched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def patched_call(*words: Any, **named: Any) -> Any:
            paths = _paths(name, words, named)
            if not any(f"{path}{os.sep}".startswith(self._home) and not path.startswith(self._of_dbt) for path in paths):
                return call(*words, **named)
            with self._lock:
                self._count += 1
                is_last = self._count == self._kill.get("at")
                is_held = self._count == self._hold.get("at")
                self._write_log(name, paths)
            if is_last and self._kill["when"] == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if is_last and self._kill["when"] == "halfway":
                descriptor, content = words
                words = (descriptor, bytes(content)[: len(content) // 2])
            if is_held:
                self._wait()
            try:
                return call(*words, **named)
            finally:
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return patched_call

    def _write_log(self, name: str, paths: list[str]) -> None:
        if self._log is None:
            return
        line: dict[str, Any] = {
            "call": name,
            "paths": [path.removeprefix(self._home) if path != self._home[:-1] else "." for path in paths],
        }
        if self._snapshots:
            line["before"] = _snapshot(paths[0], deeply=name in _OF_TWO_PATHS)
        self._write(self._log, (json.dumps(line) + "\n").encode())

    def _wait(self) -> None:
        until = Path(self._hold["until"])
        until.with_name(until.name + ".held").touch()
        while not until.exists():
            time.sleep(0.01)


def _paths(name: str, words: tuple[Any, ...], named: dict[str, Any]) -> list[str]:
    if name in _OF_DESCRIPTORS:
        return [_of_descriptor(words[0] if isinstance(words[0], int) else words[0].fileno())]
    if name in _OF_TWO_PATHS:
        folders = [named.get("src_dir_fd"), named.get("dst_dir_fd", named.get("dir_fd") if name == "symlink" else None)]
        if name == "symlink":  # its first path is a text, and changes nothing there
            return [_whole(words[1], folders[1])]
        return [_whole(word, folder) for word, folder in zip(words[:2], folders, strict=True)]
    return [_whole(words[0], named.get("dir_fd"))]


def _of_descriptor(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _whole(path: Any, folder: int | None) -> str:
    if isinstance(path, int):
        return _of_descriptor(path)
    text = os.fsdecode(path)
    if folder is not None and not os.path.isabs(text):  # noqa: PTH117
        return os.path.join(_of_descriptor(folder), text)  # noqa: PTH118
    return os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))  # noqa: PTH118, PTH119, PTH120


def _snapshot(path: str, *, deeply: bool) -> dict[str, list[int]]:
    """What identifies the contents of a file or folder: inode, kind, size of a file, instant of the last change."""
    found = {}
    try:
        found[path] = _state(path)
        if deeply and stat.S_ISDIR(found[path][1]):
            for folder, folders, files in os.walk(path):
                for name in (*folders, *files):
                    below = os.path.join(folder, name)  # noqa: PTH118
                    found[below] = _state(below)
    except FileNotFoundError:
        pass
    return found


def _state(path: str) -> list[int]:
    found = os.lstat(path)
    is_folder = stat.S_ISDIR(found.st_mode)
    return [found.st_ino, stat.S_IFMT(found.st_mode), 0 if is_folder else found.st_size, found.st_mtime_ns]
