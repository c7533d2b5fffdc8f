"""Reads a Redis stream through a consumer group, with `redis`: XREADGROUP, and XACK after the entries are durable in the inbox.

Redis does not say that a stream was trimmed past a reader. So each read checks, in one transaction with it, that the last entry
that was read is still there; if it is not, the number of entries that were ever added says how many were trimmed unread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.feeds.environment import secret_of_feed
from pipeline.feeds.queues.clients import client_library
from pipeline.feeds.queues.stream_position import BEGINNING, StreamPosition, ordinal_of_id

_ENTRIES_AT_ONCE = 500
_FIRST_ENTRIES = 20
_BYTES_AT_ONCE = 8 << 20
"""About so much is read at once: so many entries of the last read's mean size."""
_CLAIM_SECONDS = 60
"""How often a run looks for entries that a dead consumer has read and not acknowledged."""
_IDS_AT_ONCE = 1000
_NOT_IN_QUERY = frozenset(("username", "password", "host", "port"))
"""What the client library would also take from the query of the address."""

Entry = tuple[bytes, Mapping[bytes, bytes] | None]
"""An id and the fields; None for an entry that was trimmed after it was read."""


@dataclass(frozen=True)
class RedisStream:
    """A stream, and how to reach it."""

    url: str
    """redis://host:port/database, or rediss:// with TLS; without a password."""
    stream: str
    group: str
    consumer: str
    field: str | None = None
    """The field that holds the payload; None: the fields of an entry are the keys of a row."""
    user: str | None = None
    password_variable: str | None = None
    take_over_after_seconds: float = 300
    """After so long, entries that another consumer of the group has read and not acknowledged are read again."""

    @property
    def place(self) -> tuple[str, ...]:
        parts = self._address()
        database = parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[0]
        return ("redis-streams", parts.hostname or "", str(parts.port or 6379), database, self.stream, self.group)

    def _address(self) -> SplitResult:
        """Raises WrongUsageError for what is no address of Redis, or one with a name or a password."""
        try:
            parts = urlsplit(self.url)
            is_redis = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text may repeat a password
            is_redis = False
        if not is_redis:
            raise WrongUsageError("What --url names is no Redis.", "Write it as redis://host:6379/0, or rediss:// with TLS.")
        if parts.password or parts.username or _NOT_IN_QUERY & parse_qs(parts.query).keys():
            raise WrongUsageError(
                "The address holds a name or a password, or a host in its query.",
                "Put the password into an environment variable: --user NAME --password-env VARIABLE",
            )
        return parts

    @contextmanager
    def opened(self, position: Any, report_loss: Callable[[str], None]) -> Iterator[StreamReader]:
        """Connect, and create the consumer group if it is missing. Raises BillhouseError."""
        redis = client_library("redis", "redis")
        parts = self._address()
        with _plain_errors(redis, f"{parts.scheme}://{parts.netloc}"):
            client = redis.Redis.from_url(
                self.url,
                username=self.user,
                password=secret_of_feed(self.password_variable, "the secret") if self.password_variable else None,
                protocol=2,
                socket_connect_timeout=10,
                socket_timeout=30,
                health_check_interval=30,
            )
            with client:
                reader = StreamReader(redis, client, self, StreamPosition.from_json(position), report_loss)
                reader.prepare()
                yield reader


class StreamReader:
    """Reads first the entries that an earlier run has read and not acknowledged, then those of dead consumers, then new ones."""

    hold_seconds: float | None = None
    is_full = False

    def __init__(
        self,
        redis: Any,
        client: Any,
        stream: RedisStream,
        position: StreamPosition,
        report_loss: Callable[[str], None],
    ) -> None:
        self._redis = redis
        self._client = client
        self._stream = stream
        self._at = position
        self._stored_id = position.last_id
        """Entries up to this one were durable when the run began."""
        self._report_loss = report_loss
        self._received: list[bytes] = []
        self._own_from: bytes | None = BEGINNING
        """Where to go on among the own entries that were read and not acknowledged; None after the last."""
        self._claim_from: bytes | None = BEGINNING
        self._claimed_at = time.monotonic()
        self._entries_at_once = _FIRST_ENTRIES
        self.is_drained = False

    @property
    def position(self) -> Any:
        return self._at.as_json()

    def prepare(self) -> None:
        """Create the group if it is missing. Raises BillhouseError if there is no such stream and there never was."""
        key, group = self._stream.stream, self._stream.group
        if not self._client.exists(key):
            if self._at.is_new:
                raise BillhouseError(f"There is no stream '{key}'.", "Check --stream and the number of the database in --url.")
            self._report_loss(f"The stream {key} is gone. Entries that were not read are lost; how many is unknown.")
            self._at = StreamPosition()
        known = {entry["name"]: entry for entry in self._client.xinfo_groups(key)} if self._client.exists(key) else {}
        if group.encode() not in known:
            self._client.xgroup_create(key, group, id=self._at.last_id, mkstream=True)
        elif self._at.is_new:
            self._at = StreamPosition(known[group.encode()]["last-delivered-id"])
        if self._at.last_id == BEGINNING and self._at.ordinal is None:
            self._at.ordinal = self._at.trimmed_of(self._client.xinfo_stream(key))

    def receive(self, most: int, wait_seconds: float) -> Sequence[bytes | None]:
        most = max(1, min(most, self._entries_at_once))
        if self._own_from is not None and (entries := self._own(most)):
            return self._payloads(entries)
        if self._claim_from is None and time.monotonic() - self._claimed_at > _CLAIM_SECONDS:
            self._claim_from, self._claimed_at = BEGINNING, time.monotonic()
        while self._claim_from is not None:
            if entries := self._claimed(most):
                return self._payloads(entries)
        entries = self._new(most)
        if not entries and wait_seconds > 0:
            milliseconds = max(1, round(wait_seconds * 1000))
            self._client.xread({self._stream.stream: self._at.last_id}, count=1, block=milliseconds)
            entries = self._new(most)
        self.is_drained = not entries
        return self._payloads(entries)

    def acknowledge(self) -> list[str]:
        for start in range(0, len(self._received), _IDS_AT_ONCE):
            self._client.xack(self._stream.stream, self._stream.group, *self._received[start : start + _IDS_AT_ONCE])
        self._received = []
        return []

    def _own(self, most: int) -> list[Entry]:
        """The next entries that this consumer has read and not acknowledged."""
        key, group, consumer = self._stream.stream, self._stream.group, self._stream.consumer
        found = self._client.xreadgroup(group, consumer, {key: self._own_from}, count=most)
        entries: list[Entry] = found[0][1] if found else []
        self._own_from = entries[-1][0] if entries else None
        return entries

    def _claimed(self, most: int) -> list[Entry]:
        """The next entries that a consumer has read long ago and not acknowledged; they are this consumer's from now on."""
        key, group, consumer = self._stream.stream, self._stream.group, self._stream.consumer
        idle = round(self._stream.take_over_after_seconds * 1000)
        answer = self._client.xautoclaim(key, group, consumer, idle, start_id=self._claim_from, count=most)
        following, entries = answer[0], list(answer[1])
        # Redis 7 lists those that were trimmed apart, and forgets them.
        entries += [(entry_id, None) for entry_id in (answer[2] if len(answer) > 2 else [])]
        self._claim_from = None if following == BEGINNING else following
        received = set(self._received)  # this consumer's own are claimed, too
        return [entry for entry in entries if entry[0] not in received]

    def _new(self, most: int) -> list[Entry]:
        """The next entries that no consumer of the group has read, after a check that none were trimmed before them."""
        key, group, consumer = self._stream.stream, self._stream.group, self._stream.consumer
        with self._client.pipeline(transaction=True) as transaction:
            transaction.xrange(key, self._at.last_id, self._at.last_id)
            transaction.xinfo_stream(key)
            transaction.xreadgroup(group, consumer, {key: ">"}, count=most)
            is_last_there, info, found = transaction.execute()
        if not is_last_there and (loss := self._at.loss_by_trimming(key, info)):
            self._report_loss(loss)
        entries: list[Entry] = found[0][1] if found else []
        for entry_id, _ in entries:
            self._at.advance(entry_id)
        self._at.synchronise(info)
        return entries

    def _payloads(self, entries: list[Entry]) -> list[bytes | None]:
        self._received += [entry_id for entry_id, _ in entries]
        is_durable = ordinal_of_id(self._stored_id)
        lost = [entry_id for entry_id, fields in entries if not fields and ordinal_of_id(entry_id) > is_durable]
        if lost:
            self._report_loss(
                f"The stream {self._stream.stream}: {len(lost):,} entries were trimmed after they were delivered and before"
                f" they were stored, {lost[0].decode()} to {lost[-1].decode()}."
            )
        for entry_id, _ in entries:
            self._at.advance(entry_id)
        payloads = [self._payload(fields) if fields else None for _, fields in entries]
        if size := sum(len(payload or b"") for payload in payloads):
            self._entries_at_once = max(1, min(_ENTRIES_AT_ONCE, _BYTES_AT_ONCE * len(payloads) // size))
        return payloads

    def _payload(self, fields: Mapping[bytes, bytes]) -> bytes:
        """The payload of an entry: a field, or all fields as the keys of a row. Without the field it is all of them, too."""
        name = self._stream.field.encode() if self._stream.field is not None else None
        if name is not None and name in fields:
            return fields[name]
        row = {_text(key): _text(value) for key, value in fields.items()}
        return json.dumps(row, ensure_ascii=False).encode(errors="surrogateescape")


def _text(value: bytes) -> str:
    """Bytes that are not UTF-8 stay what they are: landing quarantines the row."""
    return value.decode(errors="surrogateescape")


@contextmanager
def _plain_errors(redis: Any, where: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise BillhouseError(
            f"Redis at {where}: {error}.",
            "Check --url, --user and --password-env; then run this command again: entries that were not acknowledged come again.",
        ) from None
