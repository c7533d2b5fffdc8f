"""ClickHouse: rows after a cursor, through its HTTP interface.

The server writes each row as JSON (JSONEachRow): numbers with all their digits, instants as ISO 8601 in UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.loopback import is_loopback
from pipeline.core.plain_text import remember_secret
from pipeline.feeds.databases.collect_rows import Snapshot
from pipeline.feeds.databases.connections import check_columns, failed, missing_client, unreadable_column
from pipeline.feeds.databases.cursors import CursorType, Selection, instant_of, microseconds_of
from pipeline.feeds.environment import secret_of_feed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 64 << 20
_CONNECT_SECONDS, _ANSWER_SECONDS = 30, 300
_SETTINGS = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 0,
    "output_format_json_quote_denormals": 1,
    "session_timezone": "UTC",
}
_WRAPPERS = re.compile(r"^(?:Nullable|LowCardinality)\((.*)\)$")
_NUMBER = re.compile(r"U?Int(?:8|16|32|64|128|256)")
_INSTANT = re.compile(r"(?:DateTime|DateTime64|Date|Date32)(?:\(.*\))?")
_COLLECTED = re.compile(
    r"(?:Bool|U?Int\d+|Float32|Float64|BFloat16|Decimal(?:\d+)?|String|FixedString|UUID|Date|Date32|DateTime|DateTime64|Enum8|Enum16"
    r"|IPv4|IPv6|JSON|Array|Map|Tuple)(?:\(.*\))?"
)


@dataclass(frozen=True)
class Clickhouse:
    """A database, by the environment variable that holds its connection string."""

    variable: str
    _address: list[SplitResult] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Raises BillhouseError without clickhouse-connect, and WrongUsageError for what is no connection string."""
        try:
            import clickhouse_connect  # noqa: F401
        except ImportError:
            raise missing_client("clickhouse-connect", "clickhouse") from None
        text = secret_of_feed(self.variable, "the database's connection string")
        try:
            parts = urlsplit(text)
            is_address = parts.scheme in ("clickhouse", "clickhouses", "http", "https", "chdb") and parts.port != 0
        except ValueError:  # its text may repeat a part of the password
            is_address = False
        if not is_address:
            raise WrongUsageError(
                f"{self.variable} holds no connection string of ClickHouse.",
                "Write it as https://user:password@host:8443/database, other characters of the password as %2F.",
            )
        remember_secret(parts.password or "")
        is_secure = parts.scheme in ("clickhouses", "https", "chdb") or parts.port in (443, 8443)
        asked = parse_qs(parts.query).get("secure", [])
        if not is_secure and not asked and parts.password and not is_loopback(parts.hostname):
            raise WrongUsageError(
                f"{parts.hostname} is not encrypted: everybody on the way could read the password.",
                "Write https:// in the connection string, or ?secure=false at its end for a network of your own.",
            )
        self._address.append(parts)

    @property
    def place(self) -> tuple[str, ...]:
        """Host, port and database."""
        (parts,) = self._address
        in_query = parse_qs(parts.query).get("database", [])
        return "clickhouse", parts.hostname or "", str(parts.port or ""), parts.path.strip("/"), *in_query

    @contextmanager
    def connect(self) -> Iterator[ClickhouseReader]:
        """Connect, for one run. Raises BillhouseError."""
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import ClickHouseError

        (parts,) = self._address
        transport: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "send_receive_timeout": _ANSWER_SECONDS}
        if parts.scheme == "chdb":  # no HTTP
            transport.clear()
        try:
            client = clickhouse_connect.get_client(dsn=parts.geturl(), **transport)
            try:
                yield ClickhouseReader(client)
            finally:
                client.close()
        except (ClickHouseError, OSError) as error:
            raise failed(f"The database of {self.variable} failed", error) from None


class ClickhouseReader:
    """One connection. ClickHouse has no snapshot for several queries: one query reads all rows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._type_name = ""

    def snapshot(self, selection: Selection) -> Snapshot:
        """See `collect_rows.Reader`."""
        described = self._query(f"describe table (select * from {selection.rows})")
        columns = {row[0]: row[1] for row in described}
        check_columns([row[0] for row in described], selection.cursor_column, selection.shown)
        for column, type_name in columns.items():
            if not _COLLECTED.fullmatch(_inside(type_name)) or "AggregateFunction(" in type_name:
                raise unreadable_column(selection.shown, column, type_name)
        self._type_name = _inside(columns[selection.cursor_column])
        if _INSTANT.fullmatch(self._type_name):
            cursor_type = CursorType.INSTANT
        elif _NUMBER.fullmatch(self._type_name):
            cursor_type = CursorType.NUMBER
        else:
            raise WrongUsageError(
                f"The column '{selection.cursor_column}' has the type {self._type_name}, by which rows cannot be followed.",
                "Name a column with instants or whole numbers.",
            )
        warnings = []
        column = clickhouse_identifier(selection.cursor_column)
        if columns[selection.cursor_column].startswith(("Nullable", "LowCardinality(Nullable")):
            ((missing,),) = self._query(f"select count() from {selection.rows} where isNull({column})")
            if missing:
                warnings.append(f"{missing:,} rows without a value in '{selection.cursor_column}' are not collected.")
        most = None
        if cursor_type is CursorType.INSTANT:
            ((now,),) = self._query("select toUnixTimestamp64Micro(now64(6))")
            most = int(now)
        return Snapshot(cursor_type, most, warnings)

    def rows(self, selection: Selection, snapshot: Snapshot, since: int | None) -> Iterator[tuple[bytes, int]]:
        """See `collect_rows.Reader`."""
        name, is_instant = selection.cursor_column, snapshot.cursor_type is CursorType.INSTANT
        column = clickhouse_identifier(name)
        conditions, parameters = [f"isNotNull({column})"], {}
        if since is not None:
            value = "parseDateTime64BestEffort({since:String}, 6, 'UTC')" if is_instant else f"{{since:{self._type_name}}}"
            conditions.append(f"{column} >= {value}")
            parameters["since"] = instant_of(max(since, 0)) if is_instant else str(_in_range(since, self._type_name))
        query = f"select * from {selection.rows} where {' and '.join(conditions)} order by {column}"
        with self._client.raw_stream(query, parameters=parameters, settings=_SETTINGS, fmt="JSONEachRow") as stream:
            for line in _lines(cast(IO[bytes], stream)):
                try:
                    found = json.loads(line.decode("utf-8", "replace"))[name]
                    reached = microseconds_of(found) if is_instant else int(found)
                except (ValueError, KeyError, TypeError):
                    # The server had answered 200 already: the text of its error follows the rows.
                    raise failed("The result ends with an error", ValueError(line.decode("utf-8", "replace"))) from None
                yield line, reached

    def _query(self, query: str) -> list[Any]:
        return list(self._client.query(query).result_rows)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while True:
        try:
            block = stream.read(_BLOCK_BYTES)
        except Exception as error:  # of the HTTP library inside the client: the connection broke
            raise failed("The connection broke", error) from None
        *lines, rest = (rest + block).split(b"\n")
        yield from (line for line in lines if line)
        if len(rest) > _LONGEST_LINE:
            raise BillhouseError(
                f"A row has more than {_LONGEST_LINE >> 20} MB.", "Leave its long column out, in a query: see --query."
            )
        if not block:
            break
    if rest:
        yield rest


def _inside(type_name: str) -> str:
    """Nullable(Int64) -> Int64."""
    while found := _WRAPPERS.match(type_name):
        type_name = found[1]
    return type_name


def _in_range(since: int, type_name: str) -> int:
    """A lower bound that the column's type can hold: a bound of another type would not use the table's order."""
    bits = int(type_name.lstrip("UInt"))
    return max(since, 0 if type_name.startswith("U") else -(2 ** (bits - 1)))


def clickhouse_identifier(name: str) -> str:
    """A name as SQL has it in quotes."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def clickhouse_table(name: str) -> str:
    """A table, as usage_events or metering.usage_events, for a `Selection`."""
    return ".".join(map(clickhouse_identifier, name.split(".")))
