"""Cursors of a table: what a run reads, so that a row that becomes visible late is not missed.

A cursor's value is a whole number: microseconds since 1970, the number in the column, or the id of a transaction. A run reads all
rows from the stored value minus the overlap on, the row at that value included, so that rows with equal values need no order.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from pipeline.core.errors import BillhouseError, WrongUsageError

KNOWN_ROWS = 200_000
"""Rows of the overlap whose digests are stored, so that the next run does not write them again: 4 MB."""
_DIGEST_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DEFAULT_OVERLAP = "10m"


class CursorType(Enum):
    """What the values of a cursor column are."""

    INSTANT = "instant"
    NUMBER = "number"
    TRANSACTION = "transaction"
    """PostgreSQL's xid8: the id of the transaction that inserted the row. Read up to the oldest one that is still open."""


@dataclass(frozen=True)
class Selection:
    """What is read of a database."""

    rows: str
    """SQL that follows `from`: a quoted table name, or a query in brackets."""
    shown: str
    """The table's name or the query's file, for messages and for the position."""
    cursor_column: str
    overlap: str | None = None
    """As in 10m, for instants; as in 1000, for numbers. None: DEFAULT_OVERLAP for instants."""


def overlap_of(selection: Selection, cursor_type: CursorType) -> int:
    """How much of the rows before the position is read again, in the cursor's unit. Raises WrongUsageError."""
    written, column = selection.overlap, selection.cursor_column
    if cursor_type is CursorType.TRANSACTION:
        if written is not None:
            raise WrongUsageError(f"'{column}' is a transaction id, which needs no --overlap.", "Leave it out.")
        return 0
    if cursor_type is CursorType.INSTANT:
        found = re.fullmatch(r"(\d{1,6})([smhd])", DEFAULT_OVERLAP if written is None else written)
        if not found:
            raise WrongUsageError(f"Invalid --overlap '{written}' for instants in '{column}'.", "Write it as 90s, 10m, 2h or 1d.")
        return int(found[1]) * _UNITS[found[2]] * _SECOND
    if written is None:
        raise WrongUsageError(
            f"'{column}' is a number, so --overlap must say how many numbers before the last one are read again.",
            "Rows are committed in another order than they are numbered: name more than are numbered during the longest"
            " transaction, as in --overlap 10000.",
        )
    if not re.fullmatch(r"\d{1,18}", written):
        raise WrongUsageError(f"Invalid --overlap '{written}' for numbers in '{column}'.", "Write it as a whole number.")
    return int(written)


def microseconds_of(text: str) -> int:
    """An ISO 8601 instant or date (UTC, unless it has an offset) in microseconds since 1970, cut off. Raises ValueError."""
    instant = datetime.fromisoformat(text)
    return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def instant_of(microseconds: int) -> str:
    """ISO 8601 in UTC, from microseconds since 1970; the earliest one that Python has, for what is before it."""
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC).isoformat()


@dataclass
class CursorPosition:
    """The position in a table while it is read, and the digests of rows at its end, which are not written again."""

    overlap: int
    server: str
    cursor: int | None = None
    _known: frozenset[bytes] = frozenset()
    _window: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=KNOWN_ROWS))

    @classmethod
    def restore(cls, stored: Any, overlap: int, server: str) -> CursorPosition:
        """From a stored position; None is the start. Raises BillhouseError for one that cannot be read."""
        if stored is None:
            return cls(overlap, server)
        try:
            cursor, known, stored_server = stored["cursor"], stored["known"], str(stored["server"])
            if not isinstance(cursor, int):
                raise TypeError
            digests = base64.b64decode(known, validate=True)
        except (KeyError, TypeError, ValueError):
            raise BillhouseError(
                "The stored position of this source cannot be read.",
                "Delete its file in the home's folder collecting/ to collect everything again; landing drops duplicates.",
            ) from None
        each = range(0, len(digests), _DIGEST_BYTES)
        return cls(overlap, stored_server, cursor, frozenset(digests[at : at + _DIGEST_BYTES] for at in each))

    @property
    def since(self) -> int | None:
        """The value from which a run reads; None reads everything."""
        return None if self.cursor is None else self.cursor - self.overlap

    def add(self, rows: Iterable[tuple[bytes, int]], most: int | None) -> list[bytes]:
        """Move on after rows, in the order of the cursor; returns the lines that are not written yet.

        `most`: the cursor goes no further, because rows with smaller values may still be inserted.
        """
        lines = []
        for line, value in rows:
            digest = hashlib.sha256(line).digest()[:_DIGEST_BYTES]
            if digest not in self._known:
                lines.append(line)
            self._window.append((value, digest))
            reached = value if most is None else min(value, most)
            self.cursor = reached if self.cursor is None else max(self.cursor, reached)
        since = self.since
        while since is not None and self._window and self._window[0][0] < since:
            self._window.popleft()
        return lines

    def finish(self, cursor: int) -> None:
        """After all rows before `cursor` (TRANSACTION)."""
        self.cursor = cursor
        self._window.clear()

    def as_stored(self) -> dict[str, Any] | None:
        """For the position's file; None before the first row."""
        return (
            None
            if self.cursor is None
            else {
                "cursor": self.cursor,
                "known": base64.b64encode(b"".join(digest for _, digest in self._window)).decode(),
                "server": self.server,
            }
        )
