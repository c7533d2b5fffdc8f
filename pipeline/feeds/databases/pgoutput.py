"""Messages of PostgreSQL's logical replication (plugin pgoutput, protocol version 1).

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final


class _Unchanged:
    """The mark of a long value that an update did not change, and that is not sent."""


UNCHANGED: Final = _Unchanged()
Value = str | None | _Unchanged


@dataclass(frozen=True)
class Begin:
    """The start of a transaction."""

    commit_at: int
    """Where its commit begins in the log."""


@dataclass(frozen=True)
class Commit:
    """The end of a transaction."""

    ends_at: int
    """Where its commit ends in the log."""


@dataclass(frozen=True)
class Relation:
    """A table, sent before its first row and after a change of its columns."""

    oid: int
    name: str
    columns: tuple[tuple[str, int], ...]
    """Names, and the oids of the types."""


@dataclass(frozen=True)
class Row:
    """An inserted row, or the new values of an updated one, each as the text of its type."""

    relation: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Removed:
    """Rows that were deleted, or a table that was emptied."""

    relation: int


Message = Begin | Commit | Relation | Row | Removed


class _Reader:
    def __init__(self, message: bytes) -> None:
        self._message, self._at = message, 1

    def number(self, format: str) -> int:
        (value,) = struct.unpack_from(f">{format}", self._message, self._at)
        self._at += struct.calcsize(format)
        return int(value)

    def text(self) -> str:
        end = self._message.index(0, self._at)
        text = self._message[self._at : end].decode()
        self._at = end + 1
        return text

    def kind(self) -> bytes:
        self._at += 1
        return self._message[self._at - 1 : self._at]

    def values(self) -> tuple[Value, ...]:
        return tuple(self._value() for _ in range(self.number("H")))

    def _value(self) -> Value:
        kind = self.kind()
        if kind == b"n":
            return None
        if kind == b"u":
            return UNCHANGED
        if kind != b"t":
            raise ValueError(f"a value of an unknown form {kind!r}")
        length = self.number("I")
        value = self._message[self._at : self._at + length]
        if len(value) != length:
            raise ValueError("a value that is cut off")
        self._at += length
        return value.decode()


def parse_message(message: bytes) -> Message | None:
    """A message; None for one that carries no rows (an origin, a type). Raises ValueError and struct.error for a broken one."""
    kind, reader = message[:1], _Reader(message)
    match kind:
        case b"B":
            return Begin(reader.number("Q"))
        case b"C":
            reader.number("B"), reader.number("Q")
            return Commit(reader.number("Q"))
        case b"R":
            return _relation(reader)
        case b"I":
            relation = reader.number("I")
            if reader.kind() != b"N":
                raise ValueError("an insert without its values")
            return Row(relation, reader.values())
        case b"U":
            return _update(reader)
        case b"D" | b"T":
            if kind == b"T":
                reader.number("I"), reader.number("B")
            return Removed(reader.number("I"))
        case b"O" | b"Y" | b"M":
            return None
    raise ValueError(f"a message of an unknown kind {kind!r}")


def _relation(reader: _Reader) -> Relation:
    oid, schema, table = reader.number("I"), reader.text(), reader.text()
    reader.number("B")  # its replica identity
    columns = []
    for _ in range(reader.number("H")):
        reader.number("B")
        columns.append((reader.text(), reader.number("I")))
        reader.number("i")
    return Relation(oid, f"{schema or 'pg_catalog'}.{table}", tuple(columns))


def _update(reader: _Reader) -> Row:
    relation, kind = reader.number("I"), reader.kind()
    before: tuple[Value, ...] | None = None
    if kind in (b"K", b"O"):
        old = reader.values()
        before = old if kind == b"O" else None
        kind = reader.kind()
    if kind != b"N":
        raise ValueError("an update without its new values")
    values = reader.values()
    if before is not None:  # all old values were sent: those that did not change are among them
        values = tuple(old if new is UNCHANGED else new for old, new in zip(before, values, strict=True))
    return Row(relation, values)
