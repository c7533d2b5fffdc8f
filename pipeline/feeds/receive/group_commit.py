"""The group commit: what arrives within some milliseconds becomes one file in the inbox, with one sync for many requests.

    <home>/inbox/<name>/receive-20261127T101502.123456Z-5f1c09ab-000001.jsonl

The file is written to .tmp/ and synced, renamed into the inbox, and the folder is synced; only then `store` returns for the
requests of the group. While one group is written, the next one gathers. docs/internals/decisions/0019-group-commit.md.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.core.failures import to_billhouse_error
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.feeds.receive.bodies import Rows
from pipeline.feeds.receive.refusal import RefusalError

_log = logging.getLogger(__name__)

GROUP_BYTES = 8 << 20
"""A group of this size is written at once."""
_THREADS = 8
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_RETRY_SECONDS = 60
_FAILED_RETRY_SECONDS = 5


@dataclass
class _Group:
    """The rows of several requests, on their way into one file."""

    stored: asyncio.Future[None]
    parts: list[bytes] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    is_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to write the group before its time is over."""


class GroupCommit:
    """Writes rows to the inbox, in groups. Used in one event loop; files are written in threads, one per name at a time."""

    def __init__(self, home: Home, gather_seconds: float, on_commit: Callable[[str, int, int, float], None]) -> None:
        """`on_commit`: called after each file with name, rows, bytes and the seconds of the commit."""
        self._home = home
        self._gather_seconds = gather_seconds
        self._on_commit = on_commit
        self._run = secrets.token_hex(4)
        self._files = 0
        self._gathering: dict[str, _Group] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._threads = ThreadPoolExecutor(_THREADS, "commit")
        """Of its own: large bodies, read in the default threads, must not delay the commits of others."""

    async def store(self, name: str, rows: Rows) -> None:
        """Return when the rows are in the inbox for good. Raises RefusalError 429 if the disk is full, 503 if writing fails."""
        group = self._gathering.get(name)
        if group is None:
            group = self._gathering[name] = _Group(asyncio.get_running_loop().create_future())
            task = asyncio.create_task(self._commit(name, group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        group.parts.append(rows.lines)
        group.rows += rows.count
        group.bytes += len(rows.lines)
        if group.bytes >= GROUP_BYTES or self._is_stopping:
            group.is_due.set()
        if group.bytes >= GROUP_BYTES:
            del self._gathering[name]
        await asyncio.shield(group.stored)  # a request that is cancelled takes no other one with it

    async def stop(self) -> None:
        """Write all groups now, and each later one at once."""
        self._is_stopping = True
        for group in self._gathering.values():
            group.is_due.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """End the threads; nothing may be under way."""
        self._threads.shutdown()

    async def _commit(self, name: str, group: _Group) -> None:
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            await asyncio.wait_for(group.is_due.wait(), self._gather_seconds)
        async with self._turns.setdefault(name, asyncio.Lock()):
            if self._gathering.get(name) is group:  # what comes from now on is in the next group
                del self._gathering[name]
            started = loop.time()
            try:
                await loop.run_in_executor(self._threads, self._write, name, group.parts)
            except Exception as error:
                _log.error("Rows for %s could not be stored: %s", name, to_billhouse_error(error))
                group.stored.set_exception(_refusal(error))
                group.stored.exception()  # also where no request waits any more
            else:
                self._on_commit(name, group.rows, group.bytes, loop.time() - started)
                group.stored.set_result(None)

    def _write(self, name: str, parts: list[bytes]) -> None:
        self._files += 1
        instant = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        target = self._home.inbox / name / f"receive-{instant}-{self._run}-{self._files:06d}.jsonl"
        with replace_atomically(target, scratch=self._home.scratch) as path, path.open("wb") as written:
            written.writelines(parts)


def _refusal(error: Exception) -> RefusalError:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return RefusalError(429, "The disk is full.", retry_after=DISK_FULL_RETRY_SECONDS)
    return RefusalError(503, "The rows could not be stored.", retry_after=_FAILED_RETRY_SECONDS)
