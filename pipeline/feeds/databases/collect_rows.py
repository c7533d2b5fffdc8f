"""Collects the rows of a table or a query after a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.databases.cursors import CursorPosition, CursorType, Selection, instant_of, overlap_of
from pipeline.feeds.position import Collected, open_source

_ROWS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 8 << 20


@dataclass(frozen=True)
class Snapshot:
    """The state of a database that a run reads."""

    cursor_type: CursorType
    most: int | None
    """The cursor goes no further: the database's clock, in microseconds since 1970, or its oldest open transaction."""
    warnings: list[str] = field(default_factory=list)
    server: str = ""
    """The only server that the cursor holds for; empty where its values do not depend on the server."""


class Database(Protocol):
    """A database that rows are collected from."""

    @property
    def place(self) -> tuple[str, ...]:
        """What identifies the database, without user and password."""

    def connect(self) -> AbstractContextManager[Reader]:
        """Connect, for one run. Raises BillhouseError."""


class Reader(Protocol):
    """One connection, which reads one state of the database."""

    def snapshot(self, selection: Selection) -> Snapshot:
        """Check the columns, and begin. Raises BillhouseError, also for a column whose type has no exact form in JSON."""

    def rows(self, selection: Selection, snapshot: Snapshot, since: int | None) -> Iterator[tuple[bytes, int]]:
        """Rows as lines of JSON, with their cursors, from `since` on, in the order of the cursor. Raises BillhouseError."""


def collect_rows(home: Home, database: Database, selection: Selection, *, name: str, folder: str) -> Collected:
    """Write the rows after the position to the inbox, each at least once. Safe to kill and to repeat. Raises BillhouseError.

    Rows that became visible since the last run are found if their cursor is within the overlap before the position. Rows of the
    overlap that the last run wrote are left out, if their number is within `cursors.KNOWN_ROWS`.
    """
    place = (*database.place, selection.shown, selection.cursor_column)
    with open_source(home, name, folder, *place) as source, database.connect() as reader:
        snapshot = reader.snapshot(selection)
        position = CursorPosition.restore(source.position, overlap_of(selection, snapshot.cursor_type), snapshot.server)
        source.collected.warnings.extend(snapshot.warnings)
        _check_not_ahead(position, snapshot)
        batch: list[tuple[bytes, int]] = []

        def add_batch() -> None:
            lines = position.add(batch, snapshot.most)
            batch.clear()
            source.add(lines, position.as_stored())

        try:
            waiting = 0
            for line, cursor in reader.rows(selection, snapshot, position.since):
                batch.append((line, cursor))
                waiting += len(line)
                if len(batch) >= _ROWS_AT_ONCE or waiting >= _BYTES_AT_ONCE:
                    add_batch()
                    waiting = 0
        finally:  # also the rows before an error: the next run goes on after them
            add_batch()
        if snapshot.cursor_type is CursorType.TRANSACTION and snapshot.most is not None:
            position.finish(snapshot.most)
            source.add((), position.as_stored())
    return source.collected


def _check_not_ahead(position: CursorPosition, snapshot: Snapshot) -> None:
    """Raises BillhouseError where the database is behind the position: it was restored, or is another one."""
    is_ahead = position.cursor is not None and snapshot.most is not None and position.cursor > snapshot.most + position.overlap
    if position.cursor is None or not (is_ahead or position.server != snapshot.server):
        return
    is_instant = snapshot.cursor_type is CursorType.INSTANT
    reached = f"instant {instant_of(position.cursor)}" if is_instant else f"transaction {position.cursor}"
    raise BillhouseError(
        f"The database is not the one of this source's position, {reached}, or is behind it: its clock was set back, a backup was"
        " restored, or it failed over.",
        "Delete the position's file in the home's folder collecting/ to collect everything again; landing drops duplicates.",
    )
