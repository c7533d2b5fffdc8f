"""kill -9 while clients post: every row that was answered with 202 is in the inbox, whole.

`make soak-receive` kills 100 times. Each of these kills takes about a second.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from pipeline.core.home import Home
from pipeline.feeds.receive.keys import add_key
from pipeline.landing import land_files
from pipeline.landing.inbox import waiting_files
from tests.feeds.receive.child import serve
from tests.feeds.receive.running import SECONDS
from tests.landing.raw import event_line, events

KILLS = int(os.environ.get("BILLHOUSE_SOAK_RECEIVE") or 8)
CLIENTS = 4
CALLS_OF_A_COMMIT = 6
"""mkdir of the scratch folder, fsync of the file, replace, fsync of the folder, rmdir, and one of the next commit."""
MOST_SECONDS = 0.4
"""A kill at a random instant comes within this time."""

pytestmark = pytest.mark.slow


@dataclass
class Client:
    """Posts rows, one request after another, until the server is gone."""

    address: str
    key: str
    ids: Iterator[int]
    random: Random
    sent: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    unexpected: list[int] = field(default_factory=list)

    def post_until_it_is_gone(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/x-ndjson"}
        with httpx.Client(base_url=self.address, headers=headers, timeout=SECONDS, trust_env=False) as client:
            while True:
                batch = [f"e{next(self.ids)}" for _ in range(self.random.choice((1, 1, 3, 200)))]
                self.sent += batch
                body = "".join(f"{event_line(event_id)}\n" for event_id in batch)
                try:
                    status = client.post("/v1/usage", content=body).status_code
                except httpx.TransportError:
                    return
                if status == 202:
                    self.answered += batch
                else:
                    self.unexpected.append(status)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.feeds.receive.child"])
    return context


def kill_once(
    context: ForkServerContext, home: Home, key: str, ids: Iterator[int], kill: dict[str, Any], random: Random
) -> list[Client]:
    """Serve the home, post to it with several clients, and kill it. Returns the clients."""
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(home.path, {"kill": kill} if "at" in kill else {}, theirs))
    process.start()
    try:
        assert ours.poll(60)
        address = ours.recv()
        clients = [Client(address, key, ids, Random(random.random())) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=client.post_until_it_is_gone) for client in clients]
        for thread in threads:
            thread.start()
        if "seconds" in kill:
            time.sleep(kill["seconds"])
            process.kill()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        process.join(SECONDS)
        assert process.exitcode == -9
    finally:
        process.kill()
    return clients


def test_a_kill_at_any_instant_loses_nothing_that_was_answered_with_202(tmp_path: Path, processes: ForkServerContext) -> None:
    home = Home.open(tmp_path / "home")
    _, key = add_key(home, "tester", ["usage"])
    random, ids = Random(20), itertools.count()
    sent: set[str] = set()
    answered: set[str] = set()
    steps = itertools.cycle(itertools.product(range(1, 3 * CALLS_OF_A_COMMIT), ("before", "after")))
    for number in range(KILLS):
        at, when = next(steps)
        kill = {"at": at, "when": when} if number % 2 else {"seconds": random.uniform(0.02, MOST_SECONDS)}
        clients = kill_once(processes, home, key, ids, kill, random)
        assert [client.unexpected for client in clients] == [[]] * CLIENTS
        sent.update(*(client.sent for client in clients))
        answered.update(*(client.answered for client in clients))
        if number % 2 == 0 and KILLS <= 10:
            next(itertools.islice(steps, 3, 3), None)  # the few kills of a test are spread over the steps
        found = Counter(
            json.loads(line)["event_id"] for path in waiting_files(home, "usage") for line in path.read_text().splitlines()
        )
        assert answered - found.keys() == set(), (number, kill)
        assert found.keys() - sent == set(), (number, kill)
        assert found.most_common(1) == [] or found.most_common(1)[0][1] == 1
    assert len(answered) > KILLS
    if KILLS <= 10:
        landed = land_files(home, waiting_files(home, "usage"))
        assert landed.problems == []
        assert {row["event_id"] for row in events(home)} >= answered
        assert [path.name for path in home.scratch.iterdir() if path.name.startswith("file-")] == []
    print(f"{KILLS} kills: {len(answered):,} of {len(sent):,} rows were answered with 202, and all of these are in the inbox")
