"""Reading a queue into files, with a queue in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from pipeline.core.home import Home
from pipeline.feeds.queues.consume import Limits, consume

_HELD = 3
"""Messages that the queue gives out before they are acknowledged."""


class QueueInMemory:
    """A queue, and its reader."""

    place = ("memory",)
    position: Any = None
    hold_seconds: float | None = None

    def __init__(self, messages: int, when_empty: Callable[[], None]) -> None:
        self._waiting = [b'{"id": %d}' % number for number in range(messages)]
        self._when_empty = when_empty
        self._held = 0
        self.calls = 0

    @contextmanager
    def opened(self, _: Any, __: Callable[[str], None]) -> Iterator[QueueInMemory]:
        yield self

    @property
    def is_drained(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return self._held >= _HELD

    def receive(self, most: int, _: float) -> Sequence[bytes | None]:
        self.calls += 1
        if self.is_full:
            return []
        if not self._waiting:
            self._when_empty()
        taken, self._waiting = self._waiting[:1], self._waiting[1:]
        self._held += len(taken)
        return taken

    def acknowledge(self) -> list[str]:
        self._held = 0
        return []


def test_a_service_writes_at_once_what_fills_its_reader(tmp_path: Path) -> None:
    """It would otherwise ask again and again until the seconds of the file are over, and read no more in them."""
    stop = Event()
    queue = QueueInMemory(3 * _HELD, stop.set)
    files: list[int] = []
    limits = Limits(file_seconds=2, is_following=True, run_seconds=20)
    started = time.monotonic()
    consume(
        Home.open(tmp_path / "home"),
        queue,
        name="q",
        folder="usage",
        limits=limits,
        stop=stop,
        on_file=lambda _, rows: files.append(rows),
    )
    assert files == [_HELD] * 3
    assert queue.calls == 3 * _HELD + 1
    assert time.monotonic() - started < limits.file_seconds
