"""Brokers for tests, each on a free loopback port, and queues in them.

Kafka is librdkafka's own mock cluster, SQS the server of `moto`; Redis and NATS are real servers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import boto3
import nats
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from moto.server import ThreadedMotoServer
from nats.js.api import StreamConfig

from tests.support import free_port

_START_SECONDS = 20
REDELIVERY_SECONDS = 2
AWS = {
    "AWS_ACCESS_KEY_ID": "test-key-id",
    "AWS_SECRET_ACCESS_KEY": "test-secret-key",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class TestQueue(Protocol):
    """A queue of a broker, for one test."""

    __test__: bool = False
    environment: Mapping[str, str]
    """What a process that reads it needs."""
    redelivery_words: tuple[str, ...]
    """Options with which what a killed run has not acknowledged is delivered again after REDELIVERY_SECONDS."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words after `billhouse consume` that name it."""

    def send(self, payloads: Sequence[bytes]) -> None:
        """Send messages, and wait until the broker has them."""

    def unacknowledged(self) -> int:
        """Messages that were not acknowledged."""


class Brokers:
    """Starts each broker when it is used first, and stops them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stops: list[Callable[[], object]] = []
        self._started: dict[str, Any] = {}
        self._queues = 0

    def queue(self, broker: str) -> Any:
        """A new queue: kafka, redis-streams, sqs, sqs-fifo or nats."""
        self._queues += 1
        name = f"queue-{self._queues}"
        if broker == "kafka":
            return KafkaQueue(self._once("kafka", self._kafka), name)
        if broker == "redis-streams":
            return RedisQueue(self._once("redis", self._redis), name)
        if broker == "nats":
            return NatsQueue(self._once("nats", self._nats), name)
        return SqsTestQueue(self._once("sqs", self._sqs), f"{name}.fifo" if broker == "sqs-fifo" else name)

    def close(self) -> None:
        for stop in self._stops:
            stop()

    def _once(self, name: str, start: Callable[[], Any]) -> Any:
        if name not in self._started:
            self._started[name] = start()
        return self._started[name]

    def _kafka(self) -> Producer:
        # The cluster lives as long as this producer.
        return Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 2})

    def _redis(self) -> int:
        port = free_port()
        options = ("--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self._folder)
        self._process("redis-server", port, *options)
        return port

    def _nats(self) -> int:
        port = free_port()
        self._process("nats-server", port, "--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", self._folder)
        return port

    def _sqs(self) -> str:
        server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
        server.start()
        self._stops.append(server.stop)
        return f"http://127.0.0.1:{server._port}"

    def _process(self, program: str, port: int, *words: object) -> None:
        found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert found is not None, f"{program} is not installed: apt-get install {program}"
        with (self._folder / f"{program}.log").open("wb") as log:
            process = subprocess.Popen([found, *map(str, words)], stdout=log, stderr=log)

        def stop() -> None:
            process.kill()
            process.wait(10)

        self._stops.append(stop)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert process.poll() is None, (self._folder / f"{program}.log").read_text()
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"{program} does not answer")


class KafkaQueue:
    environment: Mapping[str, str] = {}
    redelivery_words: tuple[str, ...] = ()

    def __init__(self, producer: Producer, topic: str) -> None:
        self.producer, self.topic = producer, topic
        brokers = producer.list_topics(timeout=_START_SECONDS).brokers.values()
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        assert self.servers.startswith("127.0.0.1:")
        self._sent = 0

    @property
    def words(self) -> tuple[str, ...]:
        return ("kafka", "--servers", self.servers, "--topic", self.topic)

    def send(self, payloads: Sequence[bytes | None], partition: int | None = None) -> None:
        for payload in payloads:
            self._sent += 1
            self.producer.produce(
                self.topic, value=payload, key=b"key", partition=self._sent % 3 if partition is None else partition
            )
            self.producer.poll(0)
        assert self.producer.flush(_START_SECONDS) == 0

    def unacknowledged(self) -> int:
        """By the offsets that were committed, which a lag monitor reads."""
        group = f"billhouse-usage-{self.topic}"
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "log_level": 2})
        try:
            places = [TopicPartition(self.topic, partition) for partition in range(3)]
            ends = [consumer.get_watermark_offsets(place, timeout=10, cached=False)[1] for place in places]
            return sum(ends) - sum(max(0, place.offset) for place in consumer.committed(places, timeout=10))
        finally:
            consumer.close()


class RedisQueue:
    environment: Mapping[str, str] = {}
    redelivery_words: tuple[str, ...] = ()

    def __init__(self, port: int, stream: str) -> None:
        self.url, self.stream = f"redis://127.0.0.1:{port}/0", stream
        self.client: Any = redis.Redis.from_url(self.url, protocol=2)

    @property
    def words(self) -> tuple[str, ...]:
        return ("redis-streams", "--url", self.url, "--stream", self.stream, "--field", "payload")

    def send(self, payloads: Sequence[bytes]) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            for payload in payloads:
                pipeline.xadd(self.stream, {"payload": payload})
            pipeline.execute()

    def unacknowledged(self) -> int:
        (group,) = self.client.xinfo_groups(self.stream)
        return int(group["pending"]) + int(group["lag"])


class SqsTestQueue:
    redelivery_words = ("--redeliver-after", str(REDELIVERY_SECONDS))

    def __init__(self, endpoint: str, name: str) -> None:
        self.environment = AWS | {"AWS_ENDPOINT_URL_SQS": endpoint}
        self.client: Any = boto3.client(
            "sqs",
            endpoint_url=endpoint,
            region_name=AWS["AWS_DEFAULT_REGION"],
            aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        )
        self.is_fifo = name.endswith(".fifo")
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if self.is_fifo else {}
        self.url = self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    @property
    def words(self) -> tuple[str, ...]:
        return ("sqs", "--url", self.url)

    def send(self, payloads: Sequence[bytes]) -> None:
        for start in range(0, len(payloads), 10):
            entries = [
                {"Id": str(number), "MessageBody": payload.decode()} | ({"MessageGroupId": "one"} if self.is_fifo else {})
                for number, payload in enumerate(payloads[start : start + 10])
            ]
            assert not self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")

    def unacknowledged(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


class NatsQueue:
    environment: Mapping[str, str] = {}
    redelivery_words = ("--redeliver-after", str(REDELIVERY_SECONDS))

    def __init__(self, port: int, stream: str) -> None:
        self.servers, self.stream, self.subject = f"nats://127.0.0.1:{port}", stream, f"{stream}.events"
        self.call(lambda manager: manager.add_stream(StreamConfig(name=stream, subjects=[f"{stream}.>"])))

    @property
    def words(self) -> tuple[str, ...]:
        return ("nats", "--servers", self.servers, "--stream", self.stream)

    def call(self, what: Callable[[Any], Any]) -> Any:
        """Call JetStream, in a connection of its own."""

        async def connected() -> Any:
            connection = await nats.connect(self.servers, connect_timeout=10)
            try:
                return await what(connection.jetstream(timeout=10))
            finally:
                await connection.close()

        return asyncio.run(connected())

    def send(self, payloads: Sequence[bytes], subject: str | None = None) -> None:
        async def publish(manager: Any) -> None:
            for payload in payloads:
                await manager.publish(subject or self.subject, payload)

        self.call(publish)

    def unacknowledged(self) -> int:
        info = self.call(lambda manager: manager.consumer_info(self.stream, "billhouse"))
        return int(info.num_pending) + int(info.num_ack_pending)


@contextmanager
def running(folder: Path) -> Iterator[Brokers]:
    """Brokers that are stopped when the block ends."""
    brokers = Brokers(folder)
    try:
        yield brokers
    finally:
        brokers.close()
