"""The position in a Redis stream, and what its counters say about entries that were trimmed before they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BEGINNING = b"0-0"
"""Before the first entry. As a cursor of Redis: the start, or nothing more."""


def ordinal_of_id(entry_id: bytes) -> tuple[int, int]:
    """An id in the order of ids: 1526919030474-55 is (1526919030474, 55)."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


@dataclass
class StreamPosition:
    """The last entry that was read."""

    last_id: bytes = BEGINNING
    ordinal: int | None = None
    """The number of entries that were added to the stream up to `last_id`; None if unknown, as before Redis 7."""
    is_loss_reported: bool = False
    """Whether it was reported that `last_id` is gone, where Redis cannot count what is lost."""

    @classmethod
    def from_json(cls, stored: Any) -> StreamPosition:
        """A stored position; None is the beginning."""
        return cls() if stored is None else cls(**{**stored, "last_id": stored["last_id"].encode()})

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "last_id": self.last_id.decode()}

    @property
    def is_new(self) -> bool:
        return self.last_id == BEGINNING and self.ordinal is None

    def advance(self, entry_id: bytes) -> None:
        """Count an entry that was read, unless an earlier one was read again."""
        if ordinal_of_id(entry_id) > ordinal_of_id(self.last_id):
            self.last_id, self.is_loss_reported = entry_id, False
            if self.ordinal is not None:
                self.ordinal += 1

    def synchronise(self, info: Mapping[str, Any]) -> None:
        """Where the last entry was read, take Redis' count: entries that were deleted one by one are in it."""
        if info.get("last-generated-id") == self.last_id and "entries-added" in info:
            self.ordinal = info["entries-added"]

    def trimmed_of(self, info: Mapping[str, Any]) -> int | None:
        """How many entries the stream has had and has no longer; None before Redis 7."""
        return info["entries-added"] - info["length"] if "entries-added" in info else None

    def loss_by_trimming(self, stream: str, info: Mapping[str, Any]) -> str | None:
        """What was lost if `last_id` is not in the stream any more; None if nothing. Afterwards reading goes on at the oldest."""
        trimmed = self.trimmed_of(info)
        if self.last_id == BEGINNING and self.ordinal is None:
            return None
        after = f"after {self.last_id.decode()}"
        if trimmed is None or self.ordinal is None:
            if self.is_loss_reported:
                return None
            self.ordinal, self.is_loss_reported = trimmed, True
            return f"The stream {stream} was trimmed up to its last entry that was read, or further: entries {after} may be lost."
        if info["entries-added"] < self.ordinal:
            self.ordinal = trimmed
            return f"The stream {stream} was made again: entries of the former one {after} are lost; how many is unknown."
        lost, self.ordinal = trimmed - self.ordinal, max(trimmed, self.ordinal)
        return (
            f"The stream {stream} was trimmed: {lost:,} entries {after} were removed before they were read." if lost > 0 else None
        )
