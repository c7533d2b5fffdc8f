"""What the server takes on: requests a second of each sender, bytes in memory, and space on the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrate_limiter import Duration, Limiter, Rate

from pipeline.feeds.receive.group_commit import DISK_FULL_RETRY_SECONDS
from pipeline.feeds.receive.refusal import RefusalError

_SECONDS_BETWEEN_LOOKS = 1.0


class SenderRates:
    """The most requests per second of each key or signer."""

    def __init__(self, requests_per_second: int) -> None:
        self._rate = Rate(requests_per_second, Duration.SECOND)
        self._limiters: dict[str, Limiter] = {}
        """As many as there are keys and signers: only requests with a known one are counted."""

    def check(self, sender_id: str) -> None:
        """Raises RefusalError 429 if the sender has had its requests of this second."""
        limiter = self._limiters.get(sender_id)
        if limiter is None:
            limiter = self._limiters[sender_id] = Limiter(self._rate)
        if not limiter.try_acquire(sender_id, blocking=False):
            raise RefusalError(429, f"More than {self._rate.limit:,} requests in a second from this sender.", retry_after=1)

    def close(self) -> None:
        """End the limiters' threads."""
        for limiter in self._limiters.values():
            limiter.close()


class DiskSpace:
    """Whether the disk of a home has room; looked at once a second."""

    def __init__(self, folder: Path, fewest_free_bytes: int) -> None:
        self._folder = folder
        self._fewest_free_bytes = fewest_free_bytes
        self._looked_at = float("-inf")
        self._is_low = False

    def is_low(self) -> bool:
        """Whether fewer bytes are free than must stay free."""
        now = time.monotonic()
        if now - self._looked_at >= _SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._is_low = shutil.disk_usage(self._folder).free < self._fewest_free_bytes
        return self._is_low

    def check(self) -> None:
        """Raises RefusalError 429 if the disk is nearly full: landing and builds need room, too."""
        if self.is_low():
            raise RefusalError(429, "The disk is nearly full.", retry_after=DISK_FULL_RETRY_SECONDS)


class Memory:
    """The bytes of all bodies and rows that are not in the inbox yet."""

    def __init__(self, most_bytes: int, most_unchecked_bytes: int) -> None:
        """`most_unchecked_bytes`: of requests whose signature was not checked yet, which anyone can send."""
        self._most_bytes = most_bytes
        self._most_unchecked_bytes = most_unchecked_bytes
        self.used = 0
        self.unchecked = 0
        """The part of `used` that such requests hold."""

    @contextmanager
    def share(self) -> Iterator[MemoryShare]:
        """The bytes of one request; they are free again after the block."""
        share = MemoryShare(self)
        try:
            yield share
        finally:
            self.used -= share.bytes
            self.unchecked -= 0 if share.is_checked else share.bytes

    def has_room(self, more_bytes: int, *, is_checked: bool) -> bool:
        """Whether so many more bytes fit."""
        has_room = self.used + more_bytes <= self._most_bytes
        return has_room and (is_checked or self.unchecked + more_bytes <= self._most_unchecked_bytes)


class MemoryShare:
    """The bytes that one request holds."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0
        self.is_checked = False
        """Whether the sender has shown a key or a valid signature."""

    def set_checked(self) -> None:
        """Say that the sender has shown a key or a valid signature."""
        if not self.is_checked:
            self.is_checked = True
            self._memory.unchecked -= self.bytes

    def hold(self, size: int) -> None:
        """Hold `size` bytes from now on, more or fewer than before. Raises RefusalError 503 if they do not fit."""
        more = size - self.bytes
        if more > 0 and not self._memory.has_room(more, is_checked=self.is_checked):
            raise RefusalError(503, "Too many rows wait to be written.", retry_after=1)
        self._memory.used += more
        self._memory.unchecked += 0 if self.is_checked else more
        self.bytes = size
