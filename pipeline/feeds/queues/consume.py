"""Reads a queue into the inbox: makes a batch durable there, then the position, then acknowledges it.

A kill at any instant loses nothing: what was not acknowledged, or follows the stored position, is delivered again. A file that
waits in the inbox is never replaced, because a queue may deliver other messages the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from pipeline.core.home import Home
from pipeline.feeds.position import BYTES_PER_FILE, ROWS_PER_FILE, Collected, open_source
from pipeline.feeds.queues.clients import alert_about_loss
from pipeline.feeds.queues.payloads import rows_of

_WAIT_SECONDS = 1.0
"""For a message while others wait in memory to be written."""
_IDLE_WAIT_SECONDS = 5.0
"""For a message while none does. A signal to end is seen after it."""


class Queue(Protocol):
    """A queue, or a topic or stream of it."""

    @property
    def place(self) -> tuple[str, ...]:
        """What identifies the queue. A stored position is valid for one place."""

    def opened(self, position: Any, report_loss: Callable[[str], None]) -> AbstractContextManager[Reader]:
        """Connect, and read from a stored position (None: from the beginning). Raises BillhouseError."""


class Reader(Protocol):
    """A connection that reads a queue."""

    @property
    def hold_seconds(self) -> float | None:
        """How long messages may wait in memory before they are written: much less than until they are delivered again."""

    @property
    def is_drained(self) -> bool:
        """Whether the last call of `receive` has found the queue empty."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is received until what was is acknowledged."""

    def receive(self, most: int, wait_seconds: float) -> Sequence[bytes | None]:
        """The payloads of the next messages, at most so many; None for a message without a payload.

        Empty if none came within the wait. With a wait of 0: if the queue has none, after as long as it takes to know.
        """

    @property
    def position(self) -> Any:
        """The position after all received messages, as JSON."""

    def acknowledge(self) -> list[str]:
        """Acknowledge all received messages. Returns warnings."""


@dataclass(frozen=True)
class Limits:
    """When a file of the inbox is complete, and when a run ends."""

    rows_per_file: int = ROWS_PER_FILE
    file_seconds: float = 10
    """While following, a file gets the messages of so many seconds."""
    is_following: bool = False
    """Whether to wait for more messages when the queue is empty."""
    run_seconds: float | None = None
    """After so many seconds the run ends, also if the queue is not empty."""


@dataclass
class Consumed:
    """The result of a run."""

    collected: Collected
    messages: int = 0
    empty_messages: int = 0
    """Messages without a payload, such as tombstones of a compacted topic; they have no rows."""
    lost: list[str] = field(default_factory=list)
    """What the queue had removed before it was read."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {"messages": self.messages, "empty_messages": self.empty_messages, "lost": self.lost}
        return {**self.collected.as_dict(), **counts}


def consume(
    home: Home,
    queue: Queue,
    *,
    name: str,
    folder: str,
    limits: Limits = Limits(),
    stop: Event | None = None,
    on_file: Callable[[Path, int], None] = lambda path, rows: None,
    on_loss: Callable[[str], None] = lambda loss: None,
) -> Consumed:
    """Write the queue's messages to the inbox, each at least once, until it is empty. Safe to kill and to repeat.

    `stop`: ends the run when it is set, after what was received is written. `on_file` is called with each file and its number of
    rows; `on_loss` with each loss, which is also an alert. Raises BillhouseError.
    """
    stop = stop or Event()
    with open_source(home, name, folder, *queue.place, replaces_files=False) as source:
        result = Consumed(source.collected)

        def report_loss(loss: str) -> None:
            result.lost.append(loss)
            alert_about_loss(home, name, loss)
            on_loss(loss)

        ends_at = None if limits.run_seconds is None else time.monotonic() + limits.run_seconds
        with queue.opened(source.position, report_loss) as reader:
            while not stop.is_set() and (ends_at is None or time.monotonic() < ends_at):
                lines, messages = _gather(reader, limits, stop, ends_at, result)
                if messages:
                    source.add(lines, reader.position)
                    source.flush()
                    if lines:
                        on_file(source.collected.files[-1], len(lines))
                    source.collected.warnings += reader.acknowledge()
                    result.messages += messages
                    if limits.is_following:  # it may run for months
                        source.collected.files.clear()
                        source.collected.warnings.clear()
                elif reader.is_drained and not limits.is_following:
                    break
            source.position = reader.position
    return result


def _gather(reader: Reader, limits: Limits, stop: Event, ends_at: float | None, result: Consumed) -> tuple[list[bytes], int]:
    """The rows of the next file, and the number of messages that they came in."""
    lines: list[bytes] = []
    size = messages = 0
    hold = min(
        reader.hold_seconds if reader.hold_seconds is not None else float("inf"),
        limits.file_seconds if limits.is_following else float("inf"),
    )
    complete_at = float("inf") if ends_at is None else ends_at
    while not stop.is_set() and len(lines) < limits.rows_per_file and size < BYTES_PER_FILE and time.monotonic() < complete_at:
        wait = 0 if not limits.is_following else _WAIT_SECONDS if messages else _IDLE_WAIT_SECONDS
        payloads = reader.receive(limits.rows_per_file - len(lines), min(wait, max(0.0, complete_at - time.monotonic())))
        if payloads and not messages:
            complete_at = min(complete_at, time.monotonic() + hold)
        for payload in payloads:
            rows = rows_of(payload)
            lines += rows
            size += sum(map(len, rows))
            result.empty_messages += not rows
        messages += len(payloads)
        if reader.is_full or (not payloads and not (limits.is_following and messages)):
            break
    return lines, messages
