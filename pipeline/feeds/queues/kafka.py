"""Reads a Kafka topic from offsets that are stored in the home, with `confluent-kafka`.

Offsets are also committed to Kafka, for lag monitors only: no run reads them. A consumer group assigns no partitions either: one
run reads all of them. Where a stored offset is gone from the topic, the run stops instead of skipping messages
(`auto.offset.reset=error`).
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.feeds.environment import secret_of_feed
from pipeline.feeds.queues.clients import client_library

_ANSWER_SECONDS = 30
"""For the cluster to answer a request, and at most without a message from a partition that has some."""
_PARTITIONS_SECONDS = 60
"""After so many seconds a run looks for new partitions."""
_MESSAGES_AT_ONCE = 1000
_ROUND_SECONDS = 0.5
"""For messages or ends of partitions to arrive, before the next look whether all have come."""
_QUEUED_KILOBYTES = 16_384
"""Messages that the library has fetched and the run has not received yet."""
_OURS = {
    "bootstrap.servers": "--servers",
    "group.id": "--group",
    "auto.offset.reset": None,
    "enable.auto.commit": None,
    "enable.auto.offset.store": None,
    "enable.partition.eof": None,
}
"""Properties that a user cannot set, and the options that set them instead."""
_PROGRAMS = ("plugin.library.paths", "sasl.kerberos.kinit.cmd", "ssl.engine.location", "ssl.engine.id", "ssl.providers")
"""Properties with which librdkafka runs a command or loads a library."""
_KERBEROS_VALUE = re.compile(r"[A-Za-z0-9_@.:/+-]*")
"""librdkafka puts the properties of Kerberos into a command of the shell."""
_SECRET_WORDS = ("password", "secret", "pem", "jaas")
"""Properties with these words in their names hold secrets."""


@dataclass(frozen=True)
class KafkaTopic:
    """A topic, and how to reach it."""

    servers: str
    """host:port of some brokers, comma-separated."""
    topic: str
    group: str
    """The consumer group under which offsets are committed."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Properties of librdkafka, as security.protocol."""
    secret_properties: Mapping[str, str] = field(default_factory=dict)
    """Properties of librdkafka by the environment variables that hold them, as sasl.password."""
    accepts_loss: bool = False
    """Whether to go on at the oldest message where the stored offset is gone."""

    @property
    def place(self) -> tuple[str, ...]:
        return ("kafka", self.topic)

    @contextmanager
    def opened(self, position: Any, report_loss: Callable[[str], None]) -> Iterator[TopicReader]:
        """Connect, and assign all partitions at their stored offsets. Raises BillhouseError."""
        library = client_library("confluent_kafka", "kafka")
        connection_errors: deque[str] = deque(maxlen=1)
        """The last one, as a refused password; calls only say that they had no answer."""
        configuration = {**self._configuration(), "error_cb": lambda error: connection_errors.append(error.str())}
        with _plain_errors(library, self.servers, connection_errors):
            consumer = library.Consumer(configuration)
            try:
                reader = TopicReader(library, consumer, self, position, report_loss)
                reader.assign_partitions()
                yield reader
            finally:
                consumer.close()

    def _configuration(self) -> dict[str, Any]:
        for name in (*self.properties, *self.secret_properties):
            if name in _OURS:
                instead = f"Use {_OURS[name]}." if _OURS[name] else "Leave it out."
                raise WrongUsageError(f"The property {name} cannot be set.", instead)
            if name in _PROGRAMS:
                raise WrongUsageError(f"The property {name} runs another program or library.", "Leave it out.")
        for name in self.properties:
            if any(word in name for word in _SECRET_WORDS):
                raise WrongUsageError(
                    f"The property {name} holds a secret.",
                    f"Put it into an environment variable, and name that: --secret {name}=VARIABLE",
                )
        secrets = {name: secret_of_feed(variable, "the secret") for name, variable in self.secret_properties.items()}
        for name, value in {**self.properties, **secrets}.items():
            if name.startswith("sasl.kerberos.") and not _KERBEROS_VALUE.fullmatch(value):
                raise WrongUsageError(
                    f"The property {name} has characters that a shell interprets.", "Use letters, digits and _ @ . : / + -"
                )
        return {
            "client.id": "billhouse",
            "queued.max.messages.kbytes": _QUEUED_KILOBYTES,
            "allow.auto.create.topics": False,
            "log_level": 2,
            **self.properties,
            **secrets,
            "bootstrap.servers": self.servers,
            "group.id": self.group,
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
        }


class TopicReader:
    """Reads all partitions of a topic. Its position: {"cluster": ID, "offsets": {"0": next offset}}."""

    hold_seconds: float | None = None
    is_full = False

    def __init__(self, library: Any, consumer: Any, topic: KafkaTopic, position: Any, report_loss: Callable[[str], None]) -> None:
        self._library = library
        self._consumer = consumer
        self._topic = topic
        self._report_loss = report_loss
        self._cluster: str | None = (position or {}).get("cluster")
        self._offsets = {int(partition): int(offset) for partition, offset in (position or {}).get("offsets", {}).items()}
        self._ends: dict[int, int] = {}
        """By assigned partition: the offset after its last message when it was assigned."""
        self._at_end: set[int] = set()
        self._looked_at = self._progress_at = 0.0

    @property
    def position(self) -> Any:
        return {"cluster": self._cluster, "offsets": {str(partition): offset for partition, offset in self._offsets.items()}}

    @property
    def is_drained(self) -> bool:
        """Whether each partition was read to its end, or to where that was when it was assigned."""
        return all(partition in self._at_end or self._offsets[partition] >= end for partition, end in self._ends.items())

    def assign_partitions(self) -> None:
        """Start to read the partitions that are not assigned yet. Raises BillhouseError if messages are gone."""
        found = self._consumer.list_topics(self._topic.topic, timeout=_ANSWER_SECONDS)
        self._looked_at = self._progress_at = time.monotonic()
        topic = found.topics[self._topic.topic]
        if topic.error is not None:
            raise BillhouseError(f"The topic {self._topic.topic} cannot be read ({topic.error.str()}).", "Check --topic.")
        if self._cluster is not None and found.cluster_id is not None and found.cluster_id != self._cluster:
            raise WrongUsageError(
                f"The stored position is that of the Kafka cluster {self._cluster}; this one is {found.cluster_id}.",
                "Check --servers, or choose another name with --name to read this cluster from its oldest message.",
            )
        self._cluster = found.cluster_id
        if gone := sorted(self._offsets.keys() - topic.partitions.keys()):
            raise BillhouseError(
                f"The topic {self._topic.topic} has no partition {gone[0]} any more, which was read before.",
                "If the topic was made again, choose another name with --name to read it from its oldest message.",
            )
        for partition in sorted(topic.partitions.keys() - self._ends.keys()):
            self._consumer.incremental_assign([self._start(partition)])

    def receive(self, most: int, wait_seconds: float) -> Sequence[bytes | None]:
        if time.monotonic() - self._looked_at > _PARTITIONS_SECONDS:
            self.assign_partitions()
        payloads = []
        for message in self._consumer.consume(min(most, _MESSAGES_AT_ONCE), wait_seconds or _ROUND_SECONDS):
            if message.error() is not None:
                self._handle(message)
                continue
            payloads.append(message.value())
            self._offsets[message.partition()] = message.offset() + 1
            self._at_end.discard(message.partition())
        if payloads or self.is_drained:
            self._progress_at = time.monotonic()
        elif time.monotonic() - self._progress_at > _ANSWER_SECONDS:
            raise BillhouseError(
                f"No message of {self._topic.topic} came for {_ANSWER_SECONDS} seconds, and the topic has more.",
                "Check the brokers; a transaction that stays open blocks its partition. Then run this command again.",
            )
        return payloads

    def acknowledge(self) -> list[str]:
        """Commit the offsets, which tells lag monitors how far this has read."""
        positions = [
            self._library.TopicPartition(self._topic.topic, partition, offset) for partition, offset in self._offsets.items()
        ]
        with suppress(self._library.KafkaException):  # without the right to commit, nothing but a monitor misses it
            self._consumer.commit(offsets=positions, asynchronous=True)
        return []

    def _handle(self, message: Any) -> None:
        """What the library reports instead of a message."""
        error, partition = message.error(), message.partition()
        if error.code() == self._library.KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name of the code
            self._at_end.add(partition)
        elif error.code() == self._library.KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            self._consumer.incremental_unassign([self._library.TopicPartition(self._topic.topic, partition)])
            self._consumer.incremental_assign([self._start(partition)])
        elif not error.retriable():
            raise self._library.KafkaException(error)

    def _start(self, partition: int) -> Any:
        """A partition at its stored offset; at its oldest message if it has none. Raises BillhouseError if that is gone."""
        place = self._library.TopicPartition(self._topic.topic, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS, cached=False)
        offset = self._offsets.get(partition, low)
        if not low <= offset <= high:
            offset = self._after_loss(partition, offset, low, high)
        self._offsets[partition], self._ends[partition] = offset, high
        place.offset = offset
        return place

    def _after_loss(self, partition: int, offset: int, low: int, high: int) -> int:
        where = f"Topic {self._topic.topic}, partition {partition}"
        if offset < low:
            loss = f"{where}: {low - offset:,} messages were removed before they were read, offsets {offset} to {low - 1}."
        else:
            loss = (
                f"{where}: the stored offset {offset} is after the end, {high}. Messages were lost, or the topic was made again;"
                " how many is unknown."
            )
        self._report_loss(loss)
        if not self._topic.accepts_loss:
            raise BillhouseError(
                loss,
                f"To go on from the oldest message, offset {low}: --accept-loss. Keep messages longer than Billhouse may stop.",
            )
        return low


@contextmanager
def _plain_errors(library: Any, servers: str, connection_errors: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except library.KafkaException as error:
        found = error.args[0]
        reason = "; ".join([found.str() if hasattr(found, "str") else str(error), *connection_errors])
        raise BillhouseError(
            f"Kafka at {servers}: {reason}.", "Check --servers, --property and --secret; then run this command again."
        ) from None
