"""PostgreSQL: rows after a cursor, in a read-only transaction that sees one state of the database.

The server writes each row as JSON (row_to_json): numbers with all their digits, instants as ISO 8601 in UTC.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.loopback import is_loopback
from pipeline.core.plain_text import remember_secret
from pipeline.feeds.databases.collect_rows import Snapshot
from pipeline.feeds.databases.connections import check_columns, failed, missing_client
from pipeline.feeds.databases.cursors import CursorType, Selection, instant_of
from pipeline.feeds.databases.postgresql_types import CURSOR_TYPES, check_types
from pipeline.feeds.environment import secret_of_feed

if TYPE_CHECKING:
    import psycopg

_ROWS_PER_FETCH = 2_000
_CONNECT_SECONDS = 30
_LONG_TRANSACTION_SECONDS = 600
_VARIABLES = {
    "service": "PGSERVICE",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
}
"""Of the parameters that say which database it is."""
_KEEPALIVE = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6, "tcp_user_timeout": 120_000}
_WRITE_VALUES_AS_JSON = (
    "select set_config(name, setting, %s) from (values ('timezone', 'UTC'), ('datestyle', 'ISO'), ('intervalstyle', 'iso_8601'),"
    " ('bytea_output', 'hex'), ('extra_float_digits', '1')) as settings (name, setting)"
)
"""How the server writes values: as JSON has them, and so that no digit is lost. A pooler refuses these as startup parameters."""


@dataclass(frozen=True)
class Postgresql:
    """A database, by the environment variable that holds its connection string."""

    variable: str
    _parameters: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raises BillhouseError without psycopg, and WrongUsageError for what is no connection string."""
        try:
            import psycopg.conninfo
        except ImportError:
            raise missing_client("psycopg", "postgresql") from None
        try:
            self._parameters.update(
                psycopg.conninfo.conninfo_to_dict(secret_of_feed(self.variable, "the database's connection string"))
            )
        except psycopg.Error:  # its text may repeat the string
            raise WrongUsageError(
                f"{self.variable} holds no connection string of PostgreSQL.", "Write it as postgresql://user@host:5432/database."
            ) from None
        remember_secret(str(self._parameters.get("password") or ""))

    @property
    def place(self) -> tuple[str, ...]:
        """Service, host, port and database, also where the environment names them."""
        database = self._setting("dbname") or self._setting("user")
        return ("postgresql", *map(self._setting, ("service", "host", "hostaddr", "port")), database)

    def _setting(self, name: str) -> str:
        """What the connection string says, otherwise what the library reads from the environment; '' without either."""
        return str(self._parameters.get(name) or os.environ.get(_VARIABLES[name]) or "")

    def _is_local(self) -> bool:
        """Whether the database is surely on this machine; a service may name any host."""
        hosts = [host for name in ("host", "hostaddr") for host in self._setting(name).split(",")]
        return not self._setting("service") and all(host == "" or host.startswith("/") or is_loopback(host) for host in hosts)

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit. Errors inside become BillhouseError."""
        import psycopg

        defaults: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "billhouse",
            "client_encoding": "utf8",
        }
        if not self._is_local() and "PGSSLMODE" not in os.environ:
            defaults["sslmode"] = "require"  # the library's own default goes on without encryption where the server wants that
        try:
            with psycopg.connect(**{**defaults, **_KEEPALIVE, **self._parameters}, autocommit=True) as connection:
                connection.execute(_WRITE_VALUES_AS_JSON, [False])
                yield connection
        except psycopg.Error as error:
            raise failed(f"The database of {self.variable} failed", error) from None
        except UnicodeDecodeError:
            raise BillhouseError(
                f"The database of {self.variable} has text that is not UTF-8.",
                "Leave it out, or convert it, in a query: see --query.",
            ) from None

    @contextmanager
    def connect(self) -> Iterator[PostgresqlReader]:
        """Connect, for one run. Raises BillhouseError."""
        import psycopg

        with self.session() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                connection.execute(_WRITE_VALUES_AS_JSON, [True])  # a pooler may have another connection for each transaction
                yield PostgresqlReader(connection)


class PostgresqlReader:
    """One read-only transaction."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._type_name = ""

    def snapshot(self, selection: Selection) -> Snapshot:
        """See `collect_rows.Reader`."""
        described = self._connection.execute(f"select * from {selection.rows} as r limit 0".encode()).description or []
        check_columns([column.name for column in described], selection.cursor_column, selection.shown)
        type_names = check_types(self._connection, {column.name: column.type_code for column in described}, selection.shown)
        self._type_name = type_names[selection.cursor_column]
        cursor_type = CURSOR_TYPES.get(self._type_name)
        if cursor_type is None:
            raise WrongUsageError(
                f"The column '{selection.cursor_column}' has the type {self._type_name}, by which rows cannot be followed.",
                "Name a column with instants, whole numbers or transaction ids (xid8).",
            )
        most = None
        if cursor_type is CursorType.INSTANT:
            most = int(self._value("select (extract(epoch from now()) * 1000000)::bigint::text"))
        elif cursor_type is CursorType.TRANSACTION:
            most = int(self._value("select pg_snapshot_xmin(pg_current_snapshot())::text"))
        server = server_identity(self._connection) if cursor_type is CursorType.TRANSACTION else ""
        return Snapshot(cursor_type, most, list(self._warnings(selection)), server)

    def _warnings(self, selection: Selection) -> Iterator[str]:
        column, cursor_type = f"r.{quoted_identifier(selection.cursor_column)}", CURSOR_TYPES[self._type_name]
        infinite = f" or {column} in ('infinity', '-infinity')" if cursor_type is CursorType.INSTANT else ""
        if self._value(f"select exists (select 1 from {selection.rows} as r where {column} is null{infinite})"):
            yield f"Rows of {selection.shown} without a finite value in '{selection.cursor_column}' are not collected."
        oldest = self._value(
            "select greatest(max(extract(epoch from now() - begun)), 0)::bigint from (select xact_start as begun from"
            " pg_stat_activity where backend_xid is not null union all select prepared from pg_prepared_xacts) as open_writes"
        )
        if oldest is not None and oldest > _LONG_TRANSACTION_SECONDS and cursor_type is not CursorType.TRANSACTION:
            yield (
                f"A transaction that writes has been open for {oldest // 60} minutes. If it inserts rows with a cursor before the"
                " overlap, they are missed: raise --overlap, or follow a transaction id or a replication slot."
            )

    def rows(self, selection: Selection, snapshot: Snapshot, since: int | None) -> Iterator[tuple[bytes, int]]:
        """See `collect_rows.Reader`."""
        import psycopg

        column = f"r.{quoted_identifier(selection.cursor_column)}"
        is_instant = snapshot.cursor_type is CursorType.INSTANT
        value = f"(extract(epoch from {column}) * 1000000)::bigint::text" if is_instant else f"{column}::text"
        conditions, parameters = [f"isfinite({column})" if is_instant else f"{column} is not null"], []
        if since is not None:
            parameters.append(instant_of(since) if is_instant else str(self._in_range(since)))
            conditions.append(f"{column} >= ${len(parameters)}::{self._type_name}")
        if snapshot.cursor_type is CursorType.TRANSACTION:
            parameters.append(str(snapshot.most))
            conditions.append(f"{column} < ${len(parameters)}::xid8")
        query = (
            f"select row_to_json(r)::text, {value} from {selection.rows} as r where {' and '.join(conditions)} order by {column}"
        )
        with psycopg.RawServerCursor(self._connection, "billhouse") as cursor:
            cursor.itersize = _ROWS_PER_FETCH
            cursor.execute(cast(Any, query), parameters)
            for row, reached in cursor:
                yield as_json_line(row), int(reached)

    def _in_range(self, since: int) -> int:
        """A lower bound that the column's type can hold."""
        bits = {"smallint": 15, "integer": 31}.get(self._type_name, 63)
        return since if self._type_name == "xid8" else max(since, -(2**bits))

    def _value(self, query: str) -> Any:
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def server_identity(connection: psycopg.Connection[Any]) -> str:
    """The server and its timeline, which changes when it is restored or fails over. Ids and positions hold for one of them."""
    query = "select system_identifier || '-' || (select timeline_id from pg_control_checkpoint()) from pg_control_system()"
    row = connection.execute(query).fetchone()
    return str(row[0]) if row else ""


def as_json_line(text: str) -> bytes:
    """A row that the server wrote as JSON, on one line: values of the type json may have line ends between their parts."""
    return text.replace("\r", " ").replace("\n", " ").encode()


def quoted_identifier(name: str) -> str:
    """A name as SQL has it in quotes."""
    return '"' + name.replace('"', '""') + '"'


def postgresql_table(name: str) -> str:
    """A table, as usage_events or metering.usage_events, for a `Selection`."""
    return ".".join(map(quoted_identifier, name.split(".")))
