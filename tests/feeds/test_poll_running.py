"""Polling an API for the sandboxes that run: a listing is complete, or it is not written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds import Access, api, poll_running
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from tests.feeds.fake_api import Answer, Asked, FakeApi, serving
from tests.landing.raw import rows_of
from tests.support import billhouse

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
STARTED = "2026-09-01T10:00:00Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def running() -> list[str]:
    """The ids that the API lists."""
    return []


@pytest.fixture
def fake(running: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setenv("E2B_API_KEY", "e2b_secret")

    def answer(asked: Asked) -> Answer:
        assert (asked.path, asked.query["state"]) == ("/v2/sandboxes", "running")
        place = int(asked.query.get("nextToken", 0))
        headers = {"X-Next-Token": str(place + 100)} if place + 100 < len(running) else {}
        return Answer([{"sandboxID": box, "startedAt": STARTED} for box in running[place : place + 100]], 200, headers)

    with serving(answer) as serving_api:
        yield serving_api


def poll(home: Home, fake: FakeApi, **more: Any) -> list[dict[str, Any]]:
    """The parts of a listing that landed."""
    access = Access(fake.url, "E2B_API_KEY", requests_per_second=1000)
    collected = poll_running(home, access, name="e2b", now=AT, **more)
    summary = land_files(home, collected.files, Kind.RUNNING)
    assert (summary.problems, summary.quarantined) == ([], 0)
    return sorted(rows_of(home, "running_listings"), key=lambda row: row["part"])


def test_a_listing_names_all_sandboxes_of_all_pages_at_the_instant_of_the_first_request(
    home: Home, fake: FakeApi, running: list[str]
) -> None:
    running += [f"box-{number:03d}" for number in range(250)]
    (row,) = poll(home, fake, scope="eu")
    assert json.loads(row["sandbox_ids"]) == running
    assert (row["listed_at"], row["scope"], row["part"], row["parts"]) == (AT, "eu", 1, 1)
    assert len(fake.asked) == 3
    assert len(poll(home, fake, scope="eu")) == 1, "sent again it is a duplicate"


def test_many_ids_are_in_parts_that_a_row_can_have(home: Home, fake: FakeApi, running: list[str]) -> None:
    running += [f"{number:04d}" + "ä" * 150 for number in range(300)]
    rows = poll(home, fake)
    assert len(rows) > 2
    assert {row["parts"] for row in rows} == {len(rows)}
    assert [box for row in rows for box in json.loads(row["sandbox_ids"])] == running


def test_a_listing_without_sandboxes_says_that_none_runs(home: Home, fake: FakeApi) -> None:
    (row,) = poll(home, fake)
    assert (row["sandbox_ids"], row["parts"]) == ("[]", 1)


def test_nothing_is_written_if_a_page_fails(home: Home, fake: FakeApi, running: list[str]) -> None:
    running += [f"box-{number}" for number in range(150)]
    complete = fake.answers
    fake.answers = lambda asked: complete(asked) if "nextToken" not in asked.query else Answer({}, 500)
    with patch.object(api, "ATTEMPTS", 1), pytest.raises(BillhouseError, match="500"):
        poll_running(home, Access(fake.url), name="e2b")
    fake.answers = lambda _: Answer([{"sandboxID": "box"}])
    with pytest.raises(BillhouseError, match="startedAt"):
        poll_running(home, Access(fake.url), name="e2b")
    assert list(home.inbox.rglob("*.jsonl")) == []


def test_the_command_says_what_to_call_next(home: Home, fake: FakeApi, running: list[str]) -> None:
    running.append("box")
    called = billhouse(home.path, "poll-running", "--url", fake.url, "--api-key-env", "E2B_API_KEY")
    assert called.code == 0
    assert "billhouse land --kind running" in called.stdout
