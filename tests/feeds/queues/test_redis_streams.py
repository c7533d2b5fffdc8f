"""Redis Streams, on a real server: consumer groups, and entries that were trimmed before they were read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.home import Home
from tests.feeds.queues.conftest import land, lines
from tests.landing.raw import event_line
from tests.support import Outcome, billhouse

pytestmark = pytest.mark.slow
Consume = Callable[..., Outcome]


@pytest.fixture
def stream(make_queue: Callable[[str], Any]) -> Any:
    return make_queue("redis-streams")


def send(stream: Any, names: str) -> None:
    stream.send([event_line(name).encode() for name in names])


def test_entries_that_were_trimmed_unread_are_counted_and_reported(stream: Any, consume: Consume, home: Home) -> None:
    send(stream, "abc")
    assert consume(stream).json["rows"] == 3
    send(stream, "defgh")
    stream.client.xtrim(stream.stream, maxlen=2, approximate=False)
    read = consume(stream)
    assert (read.code, read.json["rows"]) == (1, 2)
    (loss,) = read.json["lost"]
    assert f"The stream {stream.stream} was trimmed: 3 entries after" in loss
    (alert,) = billhouse(home.path, "alerts", "--json").json["alerts"]
    assert "3 entries" in alert["text"]
    assert (consume(stream).code, land(home)) == (0, ["a", "b", "c", "g", "h"])


def test_entries_that_were_read_may_be_trimmed_or_deleted(stream: Any, consume: Consume, home: Home) -> None:
    send(stream, "abc")
    stream.client.xtrim(stream.stream, maxlen=2, approximate=False)
    first = consume(stream)
    assert (first.code, first.json["rows"]) == (0, 2), "what was gone before the first run was never to be read"
    stream.client.xtrim(stream.stream, maxlen=0, approximate=False)
    assert consume(stream).code == 0
    send(stream, "de")
    assert consume(stream).json["rows"] == 2
    for entry_id, _ in stream.client.xrange(stream.stream):
        stream.client.xdel(stream.stream, entry_id)
    send(stream, "f")
    read = consume(stream)
    assert (read.code, read.json["rows"], read.json["lost"]) == (0, 1, [])


def test_entries_of_a_dead_consumer_are_read_and_of_one_at_work_they_are_not(stream: Any, consume: Consume, home: Home) -> None:
    send(stream, "abc")
    stream.client.xgroup_create(stream.stream, "billhouse", id="0")
    stream.client.xreadgroup("billhouse", "dead", {stream.stream: ">"}, count=2)
    assert consume(stream).json["rows"] == 1
    assert stream.unacknowledged() == 2
    assert consume(stream, "--take-over-after", 0).json["rows"] == 2
    assert (stream.unacknowledged(), land(home)) == (0, ["a", "b", "c"])


def test_entries_that_were_trimmed_after_delivery_are_reported(stream: Any, consume: Consume) -> None:
    send(stream, "a")
    assert consume(stream).json["rows"] == 1
    send(stream, "bcd")
    for consumer in ("billhouse", "dead"):  # a run that was killed, also of an older consumer
        stream.client.xreadgroup("billhouse", consumer, {stream.stream: ">"}, count=1)
    stream.client.xtrim(stream.stream, maxlen=1, approximate=False)
    read = consume(stream, "--take-over-after", 0)
    assert (read.code, read.json["rows"]) == (1, 1)
    assert ["1 entries were trimmed after they were delivered" in loss for loss in read.json["lost"]] == [True, True]
    assert (consume(stream).code, stream.unacknowledged()) == (0, 0)


def test_a_group_that_is_gone_is_created_where_the_last_run_ended(stream: Any, consume: Consume, home: Home) -> None:
    send(stream, "ab")
    assert consume(stream).json["rows"] == 2
    stream.client.xgroup_destroy(stream.stream, "billhouse")
    send(stream, "c")
    read = consume(stream)
    assert (read.code, read.json["rows"]) == (0, 1)


def test_a_stream_that_is_gone_is_reported_and_one_that_never_was_is_an_error(stream: Any, consume: Consume, home: Home) -> None:
    assert "There is no stream" in consume(stream).json["error"]
    send(stream, "abc")
    assert consume(stream).json["rows"] == 3
    stream.client.delete(stream.stream)
    gone = consume(stream)
    assert (gone.code, "is gone" in gone.json["lost"][0]) == (1, True)
    send(stream, "d")
    assert (consume(stream).json["rows"], land(home)) == (1, ["a", "b", "c", "d"])
    stream.client.delete(stream.stream)
    send(stream, "e")
    again = consume(stream)
    assert (again.code, again.json["rows"]) == (0, 1), "as many were added to the new stream as to the one before"
    send(stream, "fgh")
    assert consume(stream).json["rows"] == 3
    stream.client.delete(stream.stream)
    send(stream, "i")
    again = consume(stream)
    assert (again.code, again.json["rows"], "was made again" in again.json["lost"][0]) == (1, 1, True)


def test_without_the_option_the_fields_of_an_entry_are_the_keys_of_a_row(stream: Any, home: Home) -> None:
    stream.client.xadd(stream.stream, {"event_id": "a", "user_id": "é", "cpu": "1.50"})
    stream.client.xadd(stream.stream, {"event_id": b"\xff"})
    words = stream.words[:-2]
    assert billhouse(home.path, "consume", *words, "--json").json["rows"] == 2
    (path,) = home.inbox.rglob("*.jsonl")
    assert path.read_bytes() == '{"event_id": "a", "user_id": "é", "cpu": "1.50"}\n'.encode() + b'{"event_id": "\xff"}\n'


def test_a_password_is_read_from_the_environment_and_not_shown(
    stream: Any, consume: Consume, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "very-secret-0123456789"
    send(stream, "a")
    stream.client.acl_setuser("reader", enabled=True, passwords=[f"+{secret}"], keys=["*"], commands=["+@all"])
    monkeypatch.setenv("REDIS_PASSWORD", secret)
    words = ("--user", "reader", "--password-env", "REDIS_PASSWORD")
    assert consume(stream, *words).json["rows"] == 1
    monkeypatch.setenv("REDIS_PASSWORD", f"wrong-{secret}")
    refused = consume(stream, *words)
    assert refused.code == 1
    everything = refused.stdout + refused.stderr + "".join(path.read_text() for path in home.collecting.iterdir())
    assert secret not in everything
    assert lines(home)
