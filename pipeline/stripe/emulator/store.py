"""The emulator's state: objects and remembered answers in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IDEMPOTENCY_SECONDS = 24 * 3600
"""How long Stripe remembers an idempotency key."""

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
create index if not exists objects_by_kind on objects (kind, customer, invoice);
create table if not exists answers (
    key text primary key, request text not null, status integer not null, body text not null, created integer not null
);
create table if not exists counters (name text primary key, value integer not null);
"""


class Store:
    """Objects by id, newest first when listed. Each request runs in one transaction."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.executescript(_SCHEMA)
        database.chmod(0o600)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of a request or nothing of it."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def next(self, counter: str) -> int:
        """1, 2, 3, ... for each counter."""
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

    def find(self, kind: str, id: str) -> Object | None:
        """The object, or None."""
        row = self._connection.execute("select body from objects where id = ? and kind = ?", (id, kind)).fetchone()
        return json.loads(row[0]) if row else None

    def list(self, kind: str, *, customer: str | None = None, invoice: str | None = None) -> Iterator[Object]:
        """Objects of a kind, newest first."""
        rows = self._connection.execute(
            "select body from objects where kind = ?1 and (?2 is null or customer = ?2) and (?3 is null or invoice = ?3)"
            " order by position desc",
            (kind, customer, invoice),
        )
        for (body,) in rows:
            yield json.loads(body)

    def answer(self, key: str, now: int) -> tuple[str, int, str] | None:
        """(request, status, body) that was answered under an idempotency key in the last 24 hours."""
        self._connection.execute("delete from answers where created <= ?", (now - IDEMPOTENCY_SECONDS,))
        row = self._connection.execute("select request, status, body from answers where key = ?", (key,)).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def remember(self, key: str, request: str, status: int, body: str, now: int) -> None:
        """Keep an answer under its idempotency key."""
        self._connection.execute("insert into answers values (?, ?, ?, ?, ?)", (key, request, status, body, now))
