"""Fixtures for tests of queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from tests.feeds.queues.brokers import Brokers, running
from tests.landing.raw import events
from tests.support import Outcome, billhouse


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with running(tmp_path_factory.mktemp("brokers")) as started:
        yield started


@pytest.fixture
def make_queue(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Makes a queue of a broker: kafka, redis-streams, sqs, sqs-fifo or nats."""

    def make(broker: str) -> Any:
        queue = brokers.queue(broker)
        for name, value in queue.environment.items():
            monkeypatch.setenv(name, value)
        return queue

    return make


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def consume(home: Home) -> Callable[..., Outcome]:
    """Runs `billhouse consume` on a queue in the test's home."""

    def call(queue: Any, *words: object) -> Outcome:
        return billhouse(home.path, "consume", *queue.words, *words, "--json")

    return call


def inbox(home: Home) -> list[Path]:
    return sorted((home.inbox / "usage").iterdir())


def lines(home: Home) -> list[str]:
    """All rows in the inbox."""
    return [line for path in inbox(home) for line in path.read_text().splitlines()]


def land(home: Home) -> list[str]:
    """Land all of the inbox; returns the ids of all landed events, sorted."""
    assert billhouse(home.path, "land", *inbox(home), "--json").code == 0
    return sorted(str(row["event_id"]) for row in events(home))
