"""Collecting from an API may be killed between every two steps: each row lands, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from tests.feeds.fake_api import Answer, Asked, FakeApi, serving
from tests.feeds.killed_runs import kill_between_steps
from tests.landing.raw import event_line, events, rows_of
from tests.support import billhouse

STEPS = [8, 12]
Answers = Callable[[list[dict[str, Any]]], Callable[[Asked], Answer]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as serving_api:
        yield serving_api


def by_cursor(rows: list[dict[str, Any]]) -> Callable[[Asked], Answer]:
    """Two rows a page, oldest first."""

    def answer(asked: Asked) -> Answer:
        start = int(asked.query.get("cursor", 0))
        return Answer({"data": rows[start : start + 2], "next_cursor": start + 2 if start + 2 < len(rows) else None})

    return answer


def newest_first(rows: list[dict[str, Any]]) -> Callable[[Asked], Answer]:
    """By offset; a run takes the newest row first, and is killed before it has the others."""

    def answer(asked: Asked) -> Answer:
        start = int(asked.query["offset"])
        return Answer({"data": rows[::-1][start : start + 2]})

    return answer


@pytest.mark.parametrize(
    ("answers", "words"),
    [(by_cursor, []), (newest_first, ["--paging", "offset", "--newest-first", "--page-size", "2"])],
)
def test_a_run_of_collect_may_be_killed_between_every_two_steps(
    answers: Answers, words: list[str], home: Home, api: FakeApi
) -> None:
    rows: list[dict[str, Any]] = []
    api.answers = answers(rows)

    def add_rows(number: int) -> None:
        rows.extend(json.loads(event_line(f"{number}-{each}")) for each in range(3))

    command = ["collect", "--url", f"{api.url}/v1/events", "--requests-per-second", "1000", "--name", "mine", *words]
    assert kill_between_steps(home.path, command, add_rows, STEPS) >= 3
    assert billhouse(home.path, "land", *sorted((home.inbox / "usage").iterdir()), "--json").json["quarantined"] == 0
    assert sorted(str(row["event_id"]) for row in events(home)) == sorted(row["event_id"] for row in rows)


def test_a_run_of_poll_metrics_may_be_killed_between_every_two_steps(home: Home, api: FakeApi) -> None:
    samples: dict[str, int] = {}
    began = int(datetime.now(UTC).timestamp()) - 600

    def answer(asked: Asked) -> Answer:
        if asked.path == "/v2/sandboxes":
            started = datetime.fromtimestamp(began, UTC).isoformat()
            return Answer([{"sandboxID": sandbox, "startedAt": started} for sandbox in samples])
        sandbox = asked.path.split("/")[2]
        return Answer([{"timestampUnix": samples[sandbox], "cpuUsedPct": 1, "memUsed": 1}])

    def add_rows(number: int) -> None:
        samples[f"box{number}"] = began + number % 500

    api.answers = answer
    command = ["poll-metrics", "--url", api.url, "--requests-per-second", "1000", "--name", "mine"]
    assert kill_between_steps(home.path, command, add_rows, STEPS) >= 3
    assert billhouse(home.path, "land", "--kind", "metrics", *sorted((home.inbox / "metrics").iterdir())).code == 0
    assert sorted(row["sandbox_id"] for row in rows_of(home, "sandbox_metrics")) == sorted(samples)
