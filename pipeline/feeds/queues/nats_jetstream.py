"""Reads a JetStream stream of NATS through a durable pull consumer, with `nats-py`: a message is acknowledged once it is durable.

The server delivers a message again if it is not acknowledged in time. It removes messages at the limits of the stream, read or
not: each run compares the oldest message of the stream with the last one up to which all were acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.feeds.environment import secret_of_feed
from pipeline.feeds.queues.clients import client_library

_MESSAGES_AT_ONCE = 100
_HELD_MESSAGES = 10_000
"""Received and not acknowledged yet."""
_ANSWER_SECONDS = 10
_ROUND_SECONDS = 1.0
"""For the server to answer that it has no message. If it takes longer, the next run reads them."""
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class NatsStream:
    """A stream, and how to reach it."""

    servers: str
    """nats://host:port, or tls://; several are comma-separated."""
    stream: str
    consumer: str
    """The name of the durable consumer."""
    subject: str | None = None
    """Only messages of this subject, which may have wildcards."""
    user: str | None = None
    password_variable: str | None = None
    token_variable: str | None = None
    credentials: Path | None = None
    """A file with a JWT and a key, as `nsc` writes."""
    redeliver_after_seconds: int = 120

    @property
    def place(self) -> tuple[str, ...]:
        return ("nats", ",".join(sorted(server.strip() for server in self.servers.split(","))), self.stream, self.consumer)

    @contextmanager
    def opened(self, position: Any, report_loss: Callable[[str], None]) -> Iterator[ConsumerReader]:
        """Connect, and create the consumer if it is missing. The server stores its position. Raises BillhouseError."""
        nats = client_library("nats", "nats")
        servers = [server.strip() for server in self.servers.split(",")]
        if any("@" in server for server in servers):
            raise WrongUsageError(
                "The address holds a name or a password.",
                "Put the password into an environment variable: --user NAME --password-env VARIABLE, or --token-env VARIABLE",
            )
        with asyncio.Runner() as runner, _plain_errors(nats, self.servers):
            connection = runner.run(nats.connect(servers, **self._options()))
            try:
                reader = ConsumerReader(nats, runner, connection, self, position, report_loss)
                runner.run(reader.prepare())
                yield reader
            finally:
                with suppress(nats.errors.Error, OSError):
                    runner.run(connection.close())

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"connect_timeout": _ANSWER_SECONDS, "max_reconnect_attempts": 5, "error_cb": _ignore}
        if self.user is not None:
            options["user"] = self.user
        if self.password_variable is not None:
            options["password"] = secret_of_feed(self.password_variable, "the secret")
        if self.token_variable is not None:
            options["token"] = secret_of_feed(self.token_variable, "the secret")
        if self.credentials is not None:
            options["user_credentials"] = str(self.credentials)
        return options


class ConsumerReader:
    """Fetches messages, and acknowledges them. Its position, {"accounted": sequence}, serves to find what was removed unread."""

    def __init__(
        self,
        nats: Any,
        runner: asyncio.Runner,
        connection: Any,
        stream: NatsStream,
        position: Any,
        report_loss: Callable[[str], None],
    ) -> None:
        self._nats = nats
        self._runner = runner
        self._connection = connection
        self._manager = connection.jetstream(timeout=_ANSWER_SECONDS)
        self._stream = stream
        self._report_loss = report_loss
        self._subscription: Any = None
        self._received: list[Any] = []
        self._most = _HELD_MESSAGES
        self._acknowledged: set[int] = set()
        """Sequences of acknowledged messages after `_accounted`."""
        self._accounted: int | None = None if position is None else position["accounted"]
        """Messages up to this sequence were acknowledged, reported as removed, or gone before the first run."""
        self.hold_seconds: float | None = None
        self.is_drained = False

    @property
    def position(self) -> Any:
        return {"accounted": self._accounted}

    @property
    def is_full(self) -> bool:
        return len(self._received) >= self._most

    async def prepare(self) -> None:
        """Create the consumer if it is missing, and subscribe. Raises BillhouseError for a consumer that does not suit."""
        stream, consumer = self._stream.stream, self._stream.consumer
        api = client_library("nats.js.api", "nats")
        try:
            await self._manager.stream_info(stream)
        except self._nats.js.errors.NotFoundError:
            raise BillhouseError(f"There is no stream '{stream}'.", "Check --stream and --servers.") from None
        try:
            found = await self._manager.consumer_info(stream, consumer)
        except self._nats.js.errors.NotFoundError:
            wanted = api.ConsumerConfig(
                durable_name=consumer,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=self._stream.redeliver_after_seconds,
                max_ack_pending=_HELD_MESSAGES,
                filter_subject=self._stream.subject,
            )
            found = await self._manager.add_consumer(stream, wanted)
        config = found.config
        if config.deliver_subject is not None or config.ack_policy != api.AckPolicy.EXPLICIT:
            raise WrongUsageError(
                f"The consumer '{consumer}' is not a pull consumer with explicit acknowledgements.",
                "Choose another name with --consumer: it is created.",
            )
        if (config.filter_subject or None) != self._stream.subject:
            raise WrongUsageError(
                f"The consumer '{consumer}' reads {config.filter_subject or 'all subjects'}.",
                "Choose another name with --consumer, or the same --subject.",
            )
        self.hold_seconds = (config.ack_wait or self._stream.redeliver_after_seconds) / 3
        if config.max_ack_pending is not None and config.max_ack_pending > 0:
            self._most = min(self._most, config.max_ack_pending)
        self._subscription = await self._manager.pull_subscribe_bind(consumer, stream)
        await self._look_for_loss()

    def receive(self, most: int, wait_seconds: float) -> Sequence[bytes | None]:
        if self.is_full:
            return []
        room = self._most - len(self._received)
        messages = self._run(
            self._fetch(
                max(1, min(most, room, _MESSAGES_AT_ONCE)),
                wait_seconds or min(_ROUND_SECONDS, self.hold_seconds or _ROUND_SECONDS),
            )
        )
        self.is_drained = not messages and not self._received
        self._received += messages
        return [message.data for message in messages]

    def acknowledge(self) -> list[str]:
        self._run(self._acknowledge())
        return []

    async def _fetch(self, most: int, wait_seconds: float) -> list[Any]:
        try:
            messages: list[Any] = await self._subscription.fetch(most, timeout=wait_seconds)
        except (TimeoutError, self._nats.errors.TimeoutError):
            if not self._connection.is_connected:
                raise
            return []
        return messages

    async def _acknowledge(self) -> None:
        """An acknowledgement that does not arrive brings the message again; landing drops the duplicate."""
        for message in self._received:
            await message.ack()
        await self._connection.flush(_ANSWER_SECONDS)
        self._acknowledged |= {message.metadata.sequence.stream for message in self._received}
        self._received = []
        await self._look_for_loss()

    async def _look_for_loss(self) -> None:
        """Report messages that the server has removed, by the limits of the stream or a purge, before they were acknowledged.

        The server counts removed messages as acknowledged, so this counts its own acknowledgements. A run that was killed
        after its last acknowledgements has not stored them: if those messages are removed before the next run, it reports them.
        """
        consumer = await self._manager.consumer_info(self._stream.stream, self._stream.consumer)
        stream = await self._manager.stream_info(self._stream.stream)
        if (stream.config.retention or "limits") != "limits" or consumer.ack_floor is None or consumer.delivered is None:
            return  # other streams remove messages because they were acknowledged
        acknowledged, removed = consumer.ack_floor.stream_seq, stream.state.first_seq - 1
        if self._accounted is None:  # what the stream had removed before the first run is not lost
            self._accounted = removed if consumer.delivered.consumer_seq == 0 else acknowledged
        lost = removed - self._accounted - sum(sequence <= removed for sequence in self._acknowledged)
        if lost > 0:
            some = f"{lost:,} messages" + ("" if self._stream.subject is None else " (of all subjects)")
            self._report_loss(
                f"The stream {self._stream.stream}: {some} were removed before they were acknowledged,"
                f" between {self._accounted + 1} and {removed}."
            )
        self._accounted = max(self._accounted, removed, acknowledged)
        self._acknowledged = {sequence for sequence in self._acknowledged if sequence > self._accounted}

    def _run(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return self._runner.run(call)


async def _ignore(_: Exception) -> None:
    """The library would print errors of the connection. Calls raise them."""


@contextmanager
def _plain_errors(nats: Any, servers: str) -> Iterator[None]:
    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
            raise
        raise BillhouseError(
            f"NATS at {servers}: {error or type(error).__name__}.",
            "Check --servers and the credentials; then run this command again: messages that were not acknowledged come again.",
        ) from None
