"""The group commit: the order of its steps, and what its requests get if a step fails."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.home import Home
from pipeline.feeds.receive import group_commit
from pipeline.feeds.receive.bodies import Rows
from pipeline.feeds.receive.group_commit import GroupCommit
from pipeline.feeds.receive.refusal import RefusalError
from tests.feeds.receive.running import SECONDS, error_of, receiving, waiting
from tests.landing.raw import event_line


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def row(number: int, size: int = 0) -> Rows:
    return Rows(1, json.dumps({"id": number, "filled": "x" * size}).encode() + b"\n")


def commits(home: Home, gather_seconds: float) -> GroupCommit:
    return GroupCommit(home, gather_seconds, lambda *_: None)


def test_the_file_is_synced_then_renamed_then_its_folder_is_synced_then_the_request_is_answered(home: Home) -> None:
    steps: list[str] = []

    def recorded(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def record(first: Any, *more: Any) -> Any:
            path = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else Path(first)
            result = call(first, *more)
            steps.append(f"{name} {'file' if path.suffix == '.jsonl' else path.name}")
            return result

        return record

    with (
        receiving(home) as server,
        patch.object(os, "fsync", recorded(os.fsync, "fsync")),
        patch.object(os, "replace", recorded(os.replace, "replace")),
    ):
        for number in range(2):
            assert server.post(event_line(f"e{number}")).status_code == 202
            steps.append("answered")
    first = ["fsync inbox", "fsync file", "replace file", "fsync usage", "answered"]
    assert steps == [*first, *first[1:]]


@pytest.mark.parametrize(
    ("code", "status", "wait"), [(errno.ENOSPC, 429, "60"), (errno.EDQUOT, 429, "60"), (errno.EIO, 503, "5")]
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_step_refuses_each_request_of_the_group_and_the_next_group_is_stored(
    home: Home, step: str, code: int, status: int, wait: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with receiving(home) as server:
        with patch.object(os, step, fail):
            response = server.post(event_line("e1"))
        assert error_of(response, status) in ("The disk is full.", "The rows could not be stored.")
        assert response.headers["Retry-After"] == wait
        assert waiting(home) == []
        assert server.post(event_line("e2")).status_code == 202
    assert len(waiting(home)) == 1
    assert list(home.scratch.iterdir()) == []


def test_requests_of_one_time_are_one_file_and_each_name_has_its_own(home: Home) -> None:
    async def run() -> None:
        group = commits(home, 0.2)
        await asyncio.gather(*(group.store("usage" if number % 2 else "metrics", row(number)) for number in range(100)))

    asyncio.run(run())
    assert len(waiting(home, "usage")) == len(waiting(home, "metrics")) == 1
    assert [json.loads(line)["id"] for line in waiting(home, "usage")[0].read_text().splitlines()] == list(range(1, 100, 2))


def test_what_arrives_while_a_file_is_written_gathers_for_the_next_one(home: Home) -> None:
    writes: list[int] = []
    plain_write = GroupCommit._write

    def slow(group: GroupCommit, name: str, parts: list[bytes]) -> None:
        writes.append(len(parts))
        time.sleep(0.1)
        plain_write(group, name, parts)

    async def run() -> None:
        group = commits(home, 0.01)
        requests = []
        for number in range(20):
            requests.append(asyncio.create_task(group.store("usage", row(number))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*requests)

    with patch.object(GroupCommit, "_write", slow):
        asyncio.run(run())
    assert sum(writes) == 20
    assert len(writes) <= 6  # some 12 without gathering during writes of 0.1 seconds


def test_a_group_that_is_large_does_not_wait(home: Home) -> None:
    async def run() -> None:
        group = commits(home, 3600)
        with patch.object(group_commit, "GROUP_BYTES", 1000):
            await asyncio.wait_for(asyncio.gather(group.store("usage", row(1, 600)), group.store("usage", row(2, 600))), 20)
            later = asyncio.create_task(group.store("usage", row(3)))
            await asyncio.sleep(0)
            await group.stop()
            await later
            await asyncio.wait_for(group.store("usage", row(4)), 20)

    asyncio.run(run())
    assert [len(path.read_text().splitlines()) for path in waiting(home)] == [2, 1, 1]


def test_a_request_that_ends_early_takes_no_other_with_it(home: Home) -> None:
    async def run() -> None:
        group = commits(home, 0.1)
        cancelled, other = (asyncio.create_task(group.store("usage", row(number))) for number in range(2))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await other

    asyncio.run(run())
    assert len(waiting(home)[0].read_text().splitlines()) == 2


def test_a_failure_that_no_request_waits_for_is_no_error(home: Home, recwarn: pytest.WarningsRecorder) -> None:
    async def run() -> None:
        group = commits(home, 0)
        with patch.object(GroupCommit, "_write", side_effect=ValueError), pytest.raises(RefusalError):
            await group.store("usage", row(1))

    asyncio.run(run())
    assert list(recwarn) == []


def test_large_bodies_that_are_read_delay_no_commit(home: Home) -> None:
    end_of_reading = threading.Event()

    async def store() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        reading = loop.run_in_executor(None, end_of_reading.wait, SECONDS)
        group_commits = commits(home, 0.001)
        try:
            await asyncio.wait_for(group_commits.store("usage", row(1)), SECONDS / 4)
            assert not reading.done()
        finally:
            end_of_reading.set()
            await reading
            group_commits.close()

    asyncio.run(store())
    assert len(waiting(home)) == 1
