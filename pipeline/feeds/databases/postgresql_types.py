"""The types of PostgreSQL that have an exact form in JSON, and those that rows can be followed by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.feeds.databases.connections import unreadable_column
from pipeline.feeds.databases.cursors import CursorType

if TYPE_CHECKING:
    import psycopg

CURSOR_TYPES = {
    "timestamp with time zone": CursorType.INSTANT,
    "timestamp without time zone": CursorType.INSTANT,
    "date": CursorType.INSTANT,
    "smallint": CursorType.NUMBER,
    "integer": CursorType.NUMBER,
    "bigint": CursorType.NUMBER,
    "xid8": CursorType.TRANSACTION,
}
_COLLECTED = frozenset(
    (
        *CURSOR_TYPES,
        *("boolean", "numeric", "real", "double precision", "oid", "uuid", "json", "jsonb", "bytea", "interval", "inet", "cidr"),
        *("text", "character varying", "bpchar", "character", "name", '"char"', "time without time zone", "time with time zone"),
    )
)


def check_types(connection: psycopg.Connection[Any], columns: Mapping[str, int], shown: str) -> dict[str, str]:
    """The type's name of each column, by its oid. Enumerations and arrays are collected, too.

    Raises WrongUsageError for a type without an exact form in JSON, such as money, and for composite types.
    """
    found = connection.execute(
        "select oid::bigint, format_type(oid, -1), typtype::text, format_type(typelem, -1), typcategory::text"
        " from pg_type where oid = any(%s::oid[])",
        [list(map(str, columns.values()))],
    ).fetchall()
    types = {oid: found_type for oid, *found_type in found}
    names: dict[str, str] = {}
    for column, oid in columns.items():
        name, typtype, element, category = types.get(oid, (f"oid {oid}", "", "", ""))
        if name not in _COLLECTED and typtype != "e" and not (category == "A" and element in _COLLECTED):
            raise unreadable_column(shown, column, name)
        names[column] = name
    return names
