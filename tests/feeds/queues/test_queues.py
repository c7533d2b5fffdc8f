"""What holds for every queue: each message once after landing, none lost, also of messages that are no rows."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.home import Home
from pipeline.feeds.position import open_source
from pipeline.feeds.queues import sqs
from pipeline.feeds.queues.nats_jetstream import NatsStream
from pipeline.feeds.queues.redis_streams import RedisStream
from tests.feeds.queues.brokers import REDELIVERY_SECONDS
from tests.feeds.queues.conftest import inbox, land, lines
from tests.landing.raw import event_line, quarantined
from tests.support import Outcome, billhouse

pytestmark = pytest.mark.slow
BROKERS = ("kafka", "redis-streams", "sqs", "sqs-fifo", "nats")
LIBRARIES = {"kafka": "confluent_kafka", "redis-streams": "redis", "sqs": "boto3", "nats": "nats"}
Consume = Callable[..., Outcome]
MakeQueue = Callable[[str], Any]


def messages(first: int, last: int) -> list[bytes]:
    return [event_line(f"e{number:03d}").encode() for number in range(first, last + 1)]


def ids(first: int, last: int) -> list[str]:
    return [f"e{number:03d}" for number in range(first, last + 1)]


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts the handlers back that a command with --follow replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("broker", BROKERS)
def test_messages_come_into_the_inbox_and_the_next_run_reads_what_is_new(
    broker: str, make_queue: MakeQueue, consume: Consume, home: Home
) -> None:
    queue = make_queue(broker)
    queue.send(messages(1, 25))
    first = consume(queue, "--file-rows", 10)
    assert (first.code, first.json["messages"], first.json["rows"], len(first.json["files"])) == (0, 25, 25, 3)
    assert consume(queue).json["rows"] == 0
    queue.send(messages(26, 27))
    assert consume(queue).json["rows"] == 2
    assert land(home) == ids(1, 27)
    assert queue.unacknowledged() == 0
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in [*inbox(home), *home.collecting.iterdir()])


@pytest.mark.parametrize("broker", BROKERS)
def test_a_message_that_is_no_row_blocks_no_other_and_is_not_lost(
    broker: str, make_queue: MakeQueue, consume: Consume, home: Home
) -> None:
    queue = make_queue(broker)
    digits = event_line("digits").replace("}", ', "vcpu_count": 2.50}')
    both = f"[{event_line('first')}, {event_line('second')}]"
    queue.send([b"no JSON", digits.encode(), both.encode(), b'{"event_id": "cut'])
    read = consume(queue)
    assert (read.code, read.json["messages"], read.json["rows"]) == (0, 4, 5)
    assert sorted(lines(home)) == sorted(["no JSON", digits, event_line("first"), event_line("second"), '{"event_id": "cut'])
    assert land(home) == ["digits", "first", "second"]
    assert len(quarantined(home)) == 2
    assert queue.unacknowledged() == 0


@pytest.mark.parametrize("broker", ["kafka", "redis-streams", "sqs", "nats"])
def test_a_service_writes_and_acknowledges_what_it_has_when_it_is_ended(
    broker: str, make_queue: MakeQueue, consume: Consume, home: Home, signals: None
) -> None:
    queue = make_queue(broker)
    queue.send(messages(1, 3))

    def more_and_then_end() -> None:
        wait_for(lambda: any(home.inbox.rglob("*.jsonl")))
        queue.send(messages(4, 5))
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=more_and_then_end)
    other.start()
    followed = consume(queue, "--follow", "--file-seconds", 0.2, "--run-seconds", 20)
    other.join(30)
    assert (followed.code, followed.json["files"]) == (0, [])
    assert land(home) == ids(1, followed.json["rows"])
    assert followed.json["rows"] >= 3
    assert consume(queue).json["rows"] == 5 - followed.json["rows"]
    assert land(home) == ids(1, 5)
    assert queue.unacknowledged() == 0


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("broker", ["kafka", "redis-streams", "sqs", "nats"])
def test_a_missing_client_library_is_named_with_the_extra_that_brings_it(broker: str, home: Home) -> None:
    words = {
        "kafka": ("--servers", "127.0.0.1:1", "--topic", "t"),
        "redis-streams": ("--url", "redis://127.0.0.1:1", "--stream", "s"),
        "sqs": ("--url", "https://sqs.eu-west-1.amazonaws.com/1/q"),
        "nats": ("--servers", "nats://127.0.0.1:1", "--stream", "s"),
    }[broker]
    extra = broker.removesuffix("-streams")
    with patch.dict(sys.modules, {LIBRARIES[broker]: None}):
        missing = billhouse(home.path, "consume", broker, *words)
    assert missing.code == 1
    assert f"pip install 'billhouse[{extra}]'" in missing.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("redis-streams", "--url", "redis://127.0.0.1:1/0", "--stream", "s"), "Redis at redis://127.0.0.1:1"),
        (("nats", "--servers", "nats://127.0.0.1:1", "--stream", "s"), "NATS at nats://127.0.0.1:1"),
        (("redis-streams", "--url", "redis://:top-secret@127.0.0.1:1/0", "--stream", "s"), "--password-env"),
        (("redis-streams", "--url", "redis://127.0.0.1:1/0?password=top-secret", "--stream", "s"), "--password-env"),
        (("redis-streams", "--url", "redis://127.0.0.1:1?username=top-secret", "--stream", "s"), "--password-env"),
        (("redis-streams", "--url", "redis://:top-secret/x@127.0.0.1:1", "--stream", "s"), "redis://host"),
        (("redis-streams", "--url", "http://127.0.0.1:1/0", "--stream", "s"), "redis://host"),
        (("nats", "--servers", "nats://ada:top-secret@127.0.0.1:1", "--stream", "s"), "--password-env"),
        (("redis-streams", "--url", "redis://127.0.0.1:1", "--stream", "s", "--password-env", "NO_SUCH"), "NO_SUCH is not set"),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "sasl.password=top-secret"), "--secret"),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "auto.offset.reset=latest"), "cannot be set"),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "novalue"), "NAME=VALUE"),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "no.such=1"), "no.such"),
        (
            ("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "plugin.library.paths=/tmp/a.so"),
            "another program",
        ),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--secret", "sasl.kerberos.kinit.cmd=HOME"), "another program"),
        (("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "ssl.engine.location=/tmp/a.so"), "another program"),
        (
            ("kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--property", "sasl.kerberos.principal=$(id)"),
            "a shell interprets",
        ),
        (("sqs", "--url", "my-queue"), "is not the URL"),
        (("sqs", "--url", "https://sqs.eu-west-1.amazonaws.com/1/q", "--source", "nowhere"), "no source"),
        (("sqs", "--url", "https://x.test/1/q", "--source", "e2b-events", "--kind", "usage"), "--kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_and_no_secret_is_shown(words: tuple[str, ...], message: str, home: Home) -> None:
    refused = billhouse(home.path, "consume", *words)
    assert refused.code in (1, 2)
    assert message in " ".join(refused.stderr.split())
    assert "top-secret" not in refused.stdout + refused.stderr


def test_a_position_is_that_of_one_server(home: Home) -> None:
    def redis(url: str) -> tuple[str, ...]:
        return RedisStream(url, "s", "g", "c").place

    urls = ("redis://a", "redis://b", "redis://a:6380", "redis://a/1", "redis://a?db=2")
    assert len({redis(url) for url in urls}) == len(urls)
    assert redis("redis://a") == redis("rediss://A:6379/0")
    assert NatsStream("nats://a", "s", "c").place != NatsStream("nats://b", "s", "c").place
    assert NatsStream("nats://a,nats://b", "s", "c").place == NatsStream("nats://b, nats://a", "s", "c").place


def test_a_source_that_reads_documents_is_refused(home: Home) -> None:
    home.sources.mkdir()
    (home.sources / "documents.sql").write_text("-- kind: usage\n-- rows: $.data\nselect * from rows\n")
    refused = billhouse(home.path, "consume", "sqs", "--url", "https://sqs.x/1/q", "--source", "documents")
    assert (refused.code, "$.data" in refused.stderr) == (2, True)


def test_one_run_reads_a_queue_at_a_time(make_queue: MakeQueue, consume: Consume, home: Home) -> None:
    queue = make_queue("redis-streams")
    queue.send(messages(1, 1))
    with open_source(home, "mine", "usage"):
        assert "Another command" in consume(queue, "--name", "mine").json["error"]
    assert consume(queue, "--source", "cloudevents").json["inbox_folder"] == "cloudevents"


def test_a_message_of_sqs_that_cannot_be_deleted_comes_again(make_queue: MakeQueue, consume: Consume, home: Home) -> None:
    queue = make_queue("sqs")
    queue.send(messages(1, 12))
    asked: list[int] = []

    def fail_some(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "DeleteMessageBatch":
            entries = parameters["Entries"]
            asked.append(len(entries))
            if len(asked) not in (1, *range(3, 3 + sqs._TRIES)):
                return call(client, operation, parameters)
            refused = {"Id": entries[0]["Id"], "SenderFault": False, "Code": "InternalError"}
            if entries[1:]:
                call(client, operation, {**parameters, "Entries": entries[1:]})
            return {"Successful": [], "Failed": [refused]}
        return call(client, operation, parameters)

    from botocore.client import BaseClient

    call = BaseClient._make_api_call
    with patch.object(BaseClient, "_make_api_call", fail_some):
        first = consume(queue, *queue.redelivery_words)
    assert first.json["rows"] >= 12
    assert asked[:2] == [10, 1], "only what was refused is deleted again"
    (warning,) = first.json["warnings"]
    assert "come again (InternalError)" in warning
    time.sleep(REDELIVERY_SECONDS)
    assert consume(queue).json["rows"] + first.json["rows"] >= 13
    assert land(home) == ids(1, 12)


def test_messages_that_nats_removed_unread_are_reported(make_queue: MakeQueue, consume: Consume, home: Home) -> None:
    queue = make_queue("nats")
    queue.send(messages(1, 4))
    queue.call(lambda manager: manager.purge_stream(queue.stream, keep=2))
    first = consume(queue)
    assert (first.code, first.json["rows"], first.json["lost"]) == (0, 2, []), "before the first run nothing was to be read"
    queue.send(messages(5, 9))
    queue.call(lambda manager: manager.purge_stream(queue.stream, keep=3))
    second = consume(queue)
    assert (second.code, second.json["rows"]) == (1, 3)
    assert second.json["lost"] == [
        f"The stream {queue.stream}: 2 messages were removed before they were acknowledged, between 5 and 6."
    ]
    (alert,) = billhouse(home.path, "alerts", "--json").json["alerts"]
    assert "2 messages were removed" in alert["text"]
    assert consume(queue).code == 0
    assert land(home) == ["e003", "e004", "e007", "e008", "e009"]


def test_a_consumer_of_nats_that_does_not_suit_is_refused(make_queue: MakeQueue, consume: Consume) -> None:
    queue = make_queue("nats")
    queue.send(messages(1, 1))
    queue.send(messages(2, 2), subject=f"{queue.stream}.other")
    assert consume(queue, "--subject", queue.subject).json["rows"] == 1
    assert "reads queue-" in consume(queue).json["error"]
    from nats.js.api import AckPolicy, ConsumerConfig

    queue.call(lambda manager: manager.add_consumer(queue.stream, ConsumerConfig(durable_name="n", ack_policy=AckPolicy.NONE)))
    assert "explicit" in consume(queue, "--consumer", "n", "--name", "another").json["error"]
    missing = consume(queue, "--stream", "NOTHING")
    assert "There is no stream 'NOTHING'" in missing.json["error"]
