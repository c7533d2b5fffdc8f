"""Kafka, by librdkafka's own mock cluster: offsets of our own, and messages that are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.home import Home
from tests.feeds.queues.conftest import land, lines
from tests.landing.raw import event_line
from tests.support import Outcome, billhouse

pytestmark = pytest.mark.slow
Consume = Callable[..., Outcome]
_BLOCK = b'{"filler": "' + b"x" * 500_000 + b'"}'


@pytest.fixture
def topic(make_queue: Callable[[str], Any]) -> Any:
    return make_queue("kafka")


def record(home: Home, topic: Any) -> dict[str, Any]:
    """The stored position."""
    stored: dict[str, Any] = json.loads((home.collecting / f"usage-{topic.topic}.json").read_text())
    return stored


def make_room(topic: Any) -> None:
    """Send so much to partition 0 that the cluster, which keeps 5 MB, removes its oldest messages."""
    topic.send([_BLOCK] * 12, partition=0)


def test_messages_that_retention_removed_stop_the_run_and_are_counted(topic: Any, consume: Consume, home: Home) -> None:
    topic.send([event_line("a").encode()], partition=0)
    topic.send([event_line("b").encode()], partition=1)
    assert consume(topic).json["rows"] == 2
    topic.send([event_line("lost").encode()], partition=0)
    make_room(topic)
    stopped = consume(topic)
    assert stopped.code == 1
    assert "partition 0" in stopped.json["error"]
    assert "messages were removed before they were read, offsets 1 to" in stopped.json["error"]
    assert "--accept-loss" in stopped.json["next_step"]
    assert consume(topic).code == 1, "until someone decides"
    (alert,) = billhouse(home.path, "alerts", "--json").json["alerts"]
    assert "messages were removed" in alert["text"]

    went_on = consume(topic, "--accept-loss")
    (loss,) = went_on.json["lost"]
    assert (went_on.code, loss) == (1, stopped.json["error"])
    assert 0 < went_on.json["rows"] < 13
    assert (consume(topic).code, consume(topic).json["rows"]) == (0, 0)


def test_an_offset_after_the_end_is_no_empty_topic(topic: Any, consume: Consume, home: Home) -> None:
    topic.send([event_line("a").encode()], partition=0)
    assert consume(topic).json["rows"] == 1
    stored = record(home, topic)
    stored["position"]["offsets"]["0"] = 500
    (home.collecting / f"usage-{topic.topic}.json").write_text(json.dumps(stored))
    assert "the stored offset 500 is after the end, 1" in consume(topic).json["error"]
    assert consume(topic, "--accept-loss").json["rows"] == 1
    stored["position"]["cluster"] = "another"
    (home.collecting / f"usage-{topic.topic}.json").write_text(json.dumps(stored))
    other = consume(topic)
    assert (other.code, "Kafka cluster another" in other.json["error"]) == (2, True)


def test_a_new_partition_is_read_from_its_oldest_message(topic: Any, consume: Consume, home: Home) -> None:
    topic.send([event_line(name).encode() for name in "abc"])
    assert consume(topic).json["rows"] == 3
    stored = record(home, topic)
    del stored["position"]["offsets"]["1"]  # as it was before the topic got partition 1
    (home.collecting / f"usage-{topic.topic}.json").write_text(json.dumps(stored))
    assert consume(topic).json["rows"] == 1
    stored["position"]["offsets"]["9"] = 1
    (home.collecting / f"usage-{topic.topic}.json").write_text(json.dumps(stored))
    assert "no partition 9" in consume(topic).json["error"]


def test_a_tombstone_has_no_row(topic: Any, consume: Consume, home: Home) -> None:
    topic.send([event_line("a").encode(), None, b""], partition=0)
    read = consume(topic)
    assert (read.json["messages"], read.json["empty_messages"], read.json["rows"]) == (3, 2, 1)
    assert land(home) == ["a"]
    topic.send([None], partition=0)
    assert (consume(topic).json["messages"], consume(topic).json["messages"]) == (1, 0)


def test_a_file_that_waits_in_the_inbox_is_not_replaced(topic: Any, consume: Consume, home: Home) -> None:
    """After a kill before the position was stored, Kafka may have removed its messages."""
    topic.send([event_line("a").encode()], partition=0)
    assert consume(topic).json["rows"] == 1
    record_file = home.collecting / f"usage-{topic.topic}.json"
    record_file.unlink()
    topic.send([event_line("b").encode()], partition=0)
    assert consume(topic).json["rows"] == 2
    assert len(lines(home)) == 3


def test_a_cluster_that_does_not_answer_is_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.feeds.queues.kafka._ANSWER_SECONDS", 1)
    monkeypatch.setenv("KAFKA_PASSWORD", "top-secret-0123")
    words = (
        "--property",
        "security.protocol=SASL_PLAINTEXT",
        "--property",
        "sasl.mechanism=PLAIN",
        "--property",
        "sasl.username=a",
    )
    refused = billhouse(
        home.path,
        "consume",
        "kafka",
        "--servers",
        "127.0.0.1:1",
        "--topic",
        "t",
        *words,
        "--secret",
        "sasl.password=KAFKA_PASSWORD",
    )
    assert refused.code == 1
    assert "Kafka at 127.0.0.1:1" in refused.stderr
    assert "top-secret" not in refused.stdout + refused.stderr
