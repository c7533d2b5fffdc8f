"""The emulator's state: objects, and responses by idempotency key, in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IDEMPOTENCY_SECONDS = 24 * 3600
"""How long Stripe stores the response of an idempotency key."""

Object = dict[str, Any]

_SCHEMA = """
create table if not exists objects (
    position integer primary key autoincrement,
    id text not null unique,
    kind text not null,
    customer text,
    invoice text,
    body text not null
);
create index if not exists objects_by_kind on objects (kind, position);
create index if not exists objects_by_customer on objects (kind, customer, position);
create index if not exists objects_by_invoice on objects (kind, invoice, position);
create table if not exists answers (
    key text primary key, request text not null, status integer not null, body text not null, created integer not null
);
create index if not exists answers_by_age on answers (created);
create table if not exists counters (name text primary key, value integer not null);
"""


def _make_private(database: Path) -> None:
    """Create the file with mode 0600; SQLite creates its `-wal` and `-shm` files with the mode of the file.

    Such files that an earlier process left get the same mode.
    """
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
    for file in (database, *(database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))):
        if file.exists():
            file.chmod(0o600)


class Store:
    """Objects by id, listed newest first. Each request runs in one transaction."""

    def __init__(self, database: Path) -> None:
        _make_private(database)
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        # The state survives a killed process; an emulator need not survive a power failure.
        self._connection.execute("pragma synchronous = off")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def clear(self) -> None:
        """Delete everything."""
        for table in ("objects", "answers", "counters"):
            self._connection.execute(f"delete from {table}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block, or roll it back if it fails."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint inside a transaction: roll the block back if it fails."""
        self._connection.execute("savepoint attempt")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback to attempt")
            raise
        finally:
            self._connection.execute("release attempt")

    def next(self, counter: str) -> int:
        """Increment a counter; the first value is 1."""
        (value,) = self._connection.execute(
            "insert into counters values (?, 1) on conflict (name) do update set value = value + 1 returning value", (counter,)
        ).fetchone()
        return int(value)

    def save(self, body: Object) -> Object:
        """Insert or replace an object."""
        self._connection.execute(
            "insert into objects (id, kind, customer, invoice, body) values (?, ?, ?, ?, ?)"
            " on conflict (id) do update set customer = excluded.customer, invoice = excluded.invoice, body = excluded.body",
            (body["id"], body["object"], body.get("customer"), body.get("invoice"), json.dumps(body)),
        )
        return body

    def delete(self, id: str) -> None:
        """Remove an object."""
        self._connection.execute("delete from objects where id = ?", (id,))

    def find(self, kind: str, id: str) -> Object | None:
        """The object, or None."""
        row = self._connection.execute("select body from objects where id = ? and kind = ?", (id, kind)).fetchone()
        return json.loads(row[0]) if row else None

    def position(self, id: str) -> int | None:
        """Position of an object in order of creation; None if it does not exist."""
        row = self._connection.execute("select position from objects where id = ?", (id,)).fetchone()
        return int(row[0]) if row else None

    def list(
        self, kind: str, *, customer: str | None = None, invoice: str | None = None, before: int | None = None
    ) -> Iterator[Object]:
        """Objects of a kind, newest first; `before`: only those before this position."""
        conditions, values = ["kind = ?"], [kind]
        for column, value in (("customer", customer), ("invoice", invoice)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        if before is not None:
            conditions.append(f"position < {before:d}")
        rows = self._connection.execute(
            f"select body from objects where {' and '.join(conditions)} order by position desc", values
        )
        for (body,) in rows:
            yield json.loads(body)

    def stored_response(self, key: str, now: int) -> tuple[str, int, str] | None:
        """(request, status, body) stored under an idempotency key in the last 24 hours."""
        self._connection.execute("delete from answers where created <= ?", (now - IDEMPOTENCY_SECONDS,))
        row = self._connection.execute("select request, status, body from answers where key = ?", (key,)).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def save_response(self, key: str, request: str, status: int, body: str, now: int) -> None:
        """Store a response under its idempotency key."""
        self._connection.execute("insert into answers values (?, ?, ?, ?, ?)", (key, request, status, body, now))
