"""Follows a logical replication slot of PostgreSQL: every committed row of a publication, in the order of the commits.

A run looks at the changes (which leaves them in the slot), writes their rows to the inbox, stores the position, and only then
advances the slot. After a kill between two of these steps the slot has the changes still; those before the position are skipped.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.home import Home
from pipeline.feeds.databases.connections import check_columns
from pipeline.feeds.databases.pgoutput import UNCHANGED, Begin, Commit, Relation, Removed, Row, Value, parse_message
from pipeline.feeds.databases.postgresql import Postgresql, as_json_line, quoted_identifier, server_identity
from pipeline.feeds.databases.postgresql_types import check_types
from pipeline.feeds.position import Collected, Source, open_source

if TYPE_CHECKING:
    import psycopg

CHANGES_AT_ONCE = 100_000
"""Changes that a look at the slot may return; it ends with a whole transaction, however large."""
_ROWS_AT_ONCE = 1_000
_BEHIND = "Delete the position's file in the home's folder collecting/, and collect the table once with --cursor-column."


@dataclass(frozen=True)
class Slot:
    """A replication slot, and the publication whose tables it follows."""

    name: str
    publication: str


def collect_slot(home: Home, database: Postgresql, slot: Slot, *, name: str, folder: str) -> Collected:
    """Write the rows that were committed since the last run to the inbox, each at least once. Safe to kill and to repeat.

    Raises BillhouseError; also if changes were lost, because the slot was advanced by another program, or was created again.
    """
    place = (*database.place, slot.name, slot.publication)
    with open_source(home, name, folder, *place) as source, database.session() as connection:
        confirmed = _confirmed_position(connection, slot)
        server = server_identity(connection)
        position = confirmed if source.position is None else _stored_position(source.position, server)
        if confirmed > position:
            raise BillhouseError(
                f"The slot {slot.name} is at {_text(confirmed)}, after the position {_text(position)} of this source: the changes"
                " between them are lost to it. Another program reads the slot, or it was created again.",
                _BEHIND,
            )
        look = _Look(connection, slot, source, server, position)
        while look.run():
            pass
        source.collected.warnings.extend(look.warnings())
    return source.collected


@dataclass
class _Look:
    """Looks at the changes after a position, again and again."""

    connection: psycopg.Connection[Any]
    slot: Slot
    source: Source
    server: str
    position: int
    _relations: dict[int, Relation] = field(default_factory=dict)
    _conversions: dict[int, str] = field(default_factory=dict)
    _rows: list[Row] = field(default_factory=list)
    """Rows of one table that wait to be converted together."""
    _removed: Counter[str] = field(default_factory=Counter)
    _is_skipped: bool = False
    """Whether the transaction is before the position: collected, and not advanced over yet."""

    def run(self) -> bool:
        """Collect the changes of one look, and advance the slot; whether more may follow."""
        logged = _number(self._value("select pg_current_wal_flush_lsn()::text"))
        changes = 0
        with self.connection.transaction():
            for message in self._messages():
                changes += 1
                self._take(message)
        is_end = changes < CHANGES_AT_ONCE
        if is_end:  # all that was committed before `logged` has been seen, also if nothing of it was in the publication
            self.position = max(self.position, logged)
        self._add_rows()
        self.source.add((), self._as_stored())
        self.source.flush()
        self._value("select pg_replication_slot_advance(%s, %s::pg_lsn)::text", self.slot.name, _text(self.position))
        return not is_end

    def warnings(self) -> Iterator[str]:
        """What was removed from the tables, which removes nothing from what was collected."""
        for table, number in sorted(self._removed.items()):
            yield f"Rows were deleted from {table}, {number:,} times; collected rows stay. Void events with --kind voids."

    def _as_stored(self) -> dict[str, str]:
        return {"lsn": _text(self.position), "server": self.server}

    def _messages(self) -> Iterator[bytes]:
        import psycopg

        query = (
            "select data from pg_logical_slot_peek_binary_changes($1, null, $2, 'proto_version', '1', 'publication_names', $3)"
        )
        with psycopg.RawServerCursor(self.connection, "billhouse") as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            publication = quoted_identifier(self.slot.publication)
            cursor.execute(cast(Any, query), [self.slot.name, CHANGES_AT_ONCE, publication])
            for (data,) in cursor:
                yield bytes(data)

    def _take(self, data: bytes) -> None:
        try:
            message = parse_message(data)
        except (ValueError, struct.error) as error:
            raise BillhouseError(
                f"The slot {self.slot.name} has a change that cannot be read: {error}.", "Nothing after it was collected."
            ) from None
        match message:
            case Begin(commit_at):
                self._is_skipped = commit_at < self.position
            case Commit(ends_at):
                if not self._is_skipped:
                    self._add_rows()
                    self.position = max(self.position, ends_at)
            case Relation():
                self._add_rows()
                self._relations[message.oid] = message
                self._conversions.pop(message.oid, None)
            case Row() if not self._is_skipped:
                if self._rows and self._rows[-1].relation != message.relation:
                    self._add_rows()
                self._rows.append(message)
                if len(self._rows) >= _ROWS_AT_ONCE:
                    self._add_rows()
            case Removed(relation) if not self._is_skipped:
                self._removed[self._relations[relation].name] += 1
            case _:
                pass

    def _add_rows(self) -> None:
        """Add the rows that wait, all of one table. The position is that of the last whole transaction."""
        if not self._rows:
            return
        relation = self._relations[self._rows[0].relation]
        columns = list(zip(*(_checked(row.values, relation) for row in self._rows), strict=True))
        cursor = self.connection.cursor()
        cursor.execute(cast(Any, self._conversion(relation)), [list(column) for column in columns])
        self._rows = []
        self.source.add((as_json_line(text) for (text,) in cursor), self._as_stored())

    def _conversion(self, relation: Relation) -> str:
        """The query that makes rows from the texts of their values, which writes them as a read of the table does."""
        if relation.oid not in self._conversions:
            check_columns([name for name, _ in relation.columns], None, relation.name)
            types: Mapping[str, str] = check_types(self.connection, dict(relation.columns), relation.name)
            numbered = list(enumerate(types.items()))
            values = ", ".join(f"u.c{at}::{type_name} as {quoted_identifier(name)}" for at, (name, type_name) in numbered)
            arrays = ", ".join("%s::text[]" for _ in numbered)
            names = ", ".join(f"c{at}" for at, _ in numbered)
            self._conversions[relation.oid] = (
                f"select (select row_to_json(r) from (select {values.replace('%', '%%')}) as r)::text"
                f" from unnest({arrays}) with ordinality as u({names}, place) order by u.place"
            )
        return self._conversions[relation.oid]

    def _value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query.encode(), parameters or None).fetchone()
        return row[0] if row else None


def _checked(values: tuple[Value, ...], relation: Relation) -> tuple[Value, ...]:
    if UNCHANGED in values:
        column = relation.columns[values.index(UNCHANGED)][0]
        raise BillhouseError(
            f"An update of {relation.name} does not contain the value of '{column}', which it did not change.",
            f"Publish inserts only (alter publication ... set (publish = 'insert')), or run: alter table {relation.name}"
            " replica identity full.",
        )
    return values


def _confirmed_position(connection: psycopg.Connection[Any], slot: Slot) -> int:
    """Where the slot is in the log. Raises WrongUsageError if it or its publication is missing, BillhouseError if it is lost."""
    found = connection.execute(
        "select plugin, confirmed_flush_lsn::text, wal_status, database = current_database() from pg_replication_slots"
        " where slot_name = %s",
        [slot.name],
    ).fetchone()
    create = f"select pg_create_logical_replication_slot('{slot.name}', 'pgoutput')"
    if not connection.execute("select 1 from pg_publication where pubname = %s", [slot.publication]).fetchone():
        raise WrongUsageError(
            f"The database has no publication {slot.publication}.",
            f"Create it before the slot: create publication {slot.publication} for table ... with (publish = 'insert').",
        )
    if found is None:
        raise WrongUsageError(
            f"The database has no replication slot {slot.name}.",
            f"Create it once: {create}. It needs wal_level = logical. Collect earlier rows once with --cursor-column.",
        )
    plugin, confirmed, wal_status, is_here = found
    if plugin != "pgoutput" or not is_here:
        raise WrongUsageError(
            f"The slot {slot.name} is one of another database, or its plugin is not pgoutput.", f"Create another one: {create}."
        )
    if wal_status == "lost" or confirmed is None:
        raise BillhouseError(
            f"The server has dropped changes of the slot {slot.name} that were not collected.", f"{_BEHIND} {create}."
        )
    return _number(confirmed)


def _stored_position(stored: Any, server: str) -> int:
    """The position, which holds for one server alone: another one may have other changes at it. Raises BillhouseError."""
    try:
        position, stored_server = _number(stored["lsn"]), stored["server"]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BillhouseError("The stored position of this source cannot be read.", _BEHIND) from None
    if stored_server != server:
        raise BillhouseError(
            "The position of this source is that of another server, or of this one before it was restored or failed over.",
            _BEHIND,
        )
    return position


def _number(lsn: str) -> int:
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def _text(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
