"""A consumer that is killed loses no message, and landing stores each once: between every two steps, and at random instants.

With BILLHOUSE_SOAK_FEEDS=N (make soak-feeds), N kills a queue.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.core.home import Home
from tests.feeds.queues.brokers import REDELIVERY_SECONDS
from tests.feeds.queues.conftest import land, lines
from tests.kills.harness import KILLED, ForkServer
from tests.landing.raw import event_line

pytestmark = pytest.mark.slow
SOAK = int(os.environ.get("BILLHOUSE_SOAK_FEEDS", "0"))
_MESSAGES = 12
_FILE_ROWS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    started = ForkServer(tmp_path_factory.mktemp("fork-server") / "output", has_only_feeds=True)
    yield started
    started.close()


class Killed:
    """A queue, and a consumer of it that is killed."""

    def __init__(self, queue: Any, home: Home, server: ForkServer, log: Path) -> None:
        self.queue, self.home, self.server, self.log = queue, home, server, log
        self.sent = 0
        self.words = ["consume", *queue.words, *queue.redelivery_words, "--file-rows", str(_FILE_ROWS), "--json"]

    def send(self) -> None:
        names = [self._name(number) for number in range(self.sent, self.sent + _MESSAGES)]
        self.queue.send([event_line(name).encode() for name in names])
        self.sent += _MESSAGES

    def run(self, **orders: Any) -> tuple[int, float]:
        """Run the consumer; returns its exit code, or the signal below zero, and its seconds."""
        ran = self.server.run(self.home.path, self.words, dict(self.queue.environment), **orders)
        assert ran.code in (0, KILLED), ran.output
        return ran.code, ran.seconds

    def steps(self) -> tuple[list[str], float]:
        """The calls that a run makes in the home, as 'replace inbox', and its seconds."""
        self.send()
        code, seconds = self.run(log=str(self.log))
        assert code == 0
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [f"{call['call']} {call['paths'][-1].partition('/')[0]}" for call in calls], seconds

    def drain(self) -> None:
        """Read what is left, also what a killed run had received, and check that each message is landed once."""
        self.run()
        if self.queue.redelivery_words:
            time.sleep(REDELIVERY_SECONDS + 0.2)
            self.run()
        assert self.queue.unacknowledged() == 0
        assert land(self.home) == [self._name(number) for number in range(self.sent)]

    @staticmethod
    def _name(number: int) -> str:
        return f"e{number:06d}"


@pytest.fixture
def make_killed(make_queue: Callable[[str], Any], home: Home, server: ForkServer, tmp_path: Path) -> Callable[[str], Killed]:
    return lambda broker: Killed(make_queue(broker), home, server, tmp_path / "calls")


@pytest.mark.skipif(bool(SOAK), reason="one of the suite")
@pytest.mark.parametrize("broker", ["kafka", "redis-streams", "sqs", "nats"])
def test_a_consumer_that_is_killed_between_two_steps_loses_nothing(broker: str, make_killed: Callable[[str], Killed]) -> None:
    killed = make_killed(broker)
    steps, _ = killed.steps()
    first_file = steps.index("replace inbox")
    first_position = steps.index("replace collecting")
    second_file = steps.index("replace inbox", first_file + 1)
    assert first_file < first_position < second_file
    for at, when in (
        (first_file, "before"),  # received, nothing written
        (first_file, "after"),  # the file is written, the position is not
        (first_position, "after"),  # the position is written, nothing is acknowledged
        (second_file, "before"),  # the first file is acknowledged
    ):
        killed.send()
        assert killed.run(kill={"at": at + 1, "when": when})[0] == KILLED
    killed.drain()


@pytest.mark.skipif(not SOAK, reason="make soak-feeds")
@pytest.mark.parametrize("broker", ["kafka", "redis-streams", "sqs", "sqs-fifo", "nats"])
def test_a_consumer_that_is_killed_at_any_instant_loses_nothing(broker: str, make_killed: Callable[[str], Killed]) -> None:
    killed, random, kills, runs = make_killed(broker), Random(broker), 0, 0
    steps, seconds = killed.steps()
    while kills < SOAK:
        killed.send()
        runs += 1
        assert runs < 4 * SOAK, f"{kills} kills in {runs} runs"
        if runs % 2:
            at = random.randrange(len(steps))
            when = random.choice(["before", "after"])
            code, _ = killed.run(kill={"at": at + 1, "when": when})
        else:
            code, _ = killed.run(kill_after=random.uniform(0, seconds))
        kills += code == KILLED
    killed.drain()
    received = len(lines(killed.home))
    print(f"{broker}: {kills} kills in {runs} runs; {killed.sent} messages, {received} rows in the inbox, each landed once")
