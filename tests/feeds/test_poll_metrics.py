"""Polling an API for what sandboxes use: every sample arrives, and the latest value of an instant is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds import Access, api, poll_latest_metrics, poll_metrics
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from tests.feeds.fake_api import Answer, Asked, FakeApi, serving
from tests.landing.raw import landed_files, rows_of
from tests.support import billhouse

NOON = int(datetime(2026, 9, 1, 12, tzinfo=UTC).timestamp())
MINUTE = 60


class Provider:
    """Sandboxes and their samples, as E2B's API returns them: two sandboxes per page, samples of [start, end]."""

    def __init__(self) -> None:
        self.started: dict[str, int] = {}
        self.samples: dict[str, dict[int, float]] = {}
        self.gone: set[str] = set()

    def run(self, sandbox: str, started: int, samples: dict[int, float]) -> None:
        self.started.setdefault(sandbox, started)
        self.samples.setdefault(sandbox, {}).update(samples)

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/v2/sandboxes":
            place = int(asked.query.get("nextToken", 0))
            listed = sorted(self.started)[place : place + 2]
            headers = {"X-Next-Token": str(place + 2)} if place + 2 < len(self.started) else {}
            return Answer(
                [{"sandboxID": box, "startedAt": moment(self.started[box]), "state": "running"} for box in listed], 200, headers
            )
        if asked.path == "/sandboxes/metrics":
            ids = asked.query["sandbox_ids"].split(",")
            assert len(ids) <= 100, "the API refuses more"
            newest = {box: max(self.samples[box].items()) for box in ids if self.samples[box]}
            return Answer({"sandboxes": {box: metric(at, cpu) for box, (at, cpu) in newest.items()}})
        sandbox = asked.path.split("/")[2]
        if sandbox in self.gone:
            return Answer({"code": 404, "message": "sandbox not found"}, 404)
        start, end = int(asked.query["start"]), int(asked.query["end"])
        assert end - start < 3600, "asked for an hour, it would put samples together"
        return Answer([metric(at, cpu) for at, cpu in self.samples[sandbox].items() if start <= at <= end])


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def metric(at: int, cpu: float) -> dict[str, Any]:
    return {
        "timestamp": moment(at),
        "timestampUnix": at,
        "cpuCount": 2,
        "cpuUsedPct": cpu,
        "memUsed": 32681984,
        "memTotal": 507592704,
        "diskUsed": 1,
        "diskTotal": 2,
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def fake(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setenv("E2B_API_KEY", "e2b_secret")
    with serving(provider) as serving_api:
        yield serving_api


def poll(home: Home, fake: FakeApi, at: int) -> int:
    """Poll at an instant, and land what came; the rows that came."""
    access = Access(fake.url, "E2B_API_KEY", requests_per_second=1000)
    collected = poll_metrics(home, access, name="e2b", now=datetime.fromtimestamp(at, UTC))
    summary = land_files(home, collected.files, Kind.METRICS)
    assert summary.problems == []
    assert summary.quarantined == 0
    return collected.rows


def known(home: Home) -> dict[tuple[str, int], Decimal]:
    """The current sample of each sandbox and instant after landing."""
    rows = sorted(rows_of(home, "sandbox_metrics"), key=lambda row: landed_order(home, row))
    return {(row["sandbox_id"], int(row["sampled_at"].timestamp())): row["cpu_used_pct"] for row in rows}


def landed_order(home: Home, row: dict[str, Any]) -> tuple[int, int]:
    sequences = {file["file_id"]: file["landed_sequence"] for file in landed_files(home)}
    return sequences[row["file_id"]], row["file_row"]


def windows(fake: FakeApi, sandbox: str) -> list[tuple[int, int]]:
    """What a sandbox was asked about, in minutes from noon; the requests are forgotten."""
    path = f"/sandboxes/{sandbox}/metrics"
    asked = [(int(one.query["start"]), int(one.query["end"])) for one in fake.asked if one.path == path]
    fake.asked.clear()
    return [((start - NOON) // MINUTE, (end - NOON) // MINUTE) for start, end in asked]


def test_samples_of_all_sandboxes_come_and_land(home: Home, fake: FakeApi, provider: Provider) -> None:
    for box in "abc":
        provider.run(box, NOON - 5 * MINUTE, {NOON - 60: 20.33, NOON - 55: 0.2})
    assert poll(home, fake, NOON) == 6
    assert {asked.headers["X-API-Key"] for asked in fake.asked} == {"e2b_secret"}
    assert [asked.query for asked in fake.asked if asked.path == "/v2/sandboxes"] == [
        {"limit": "100"},
        {"limit": "100", "nextToken": "2"},
    ]
    assert known(home) == {(box, at): Decimal(cpu) for box in "abc" for at, cpu in ((NOON - 60, "20.33"), (NOON - 55, "0.2"))}


def test_the_next_poll_goes_on_at_the_newest_sample_and_a_corrected_one_stands(
    home: Home, fake: FakeApi, provider: Provider
) -> None:
    """The newest sample of a poll may have been put together from half of its time."""
    provider.run("a", NOON - 70 * MINUTE, {NOON - 2 * MINUTE: 40})
    assert poll(home, fake, NOON) == 1
    assert windows(fake, "a") == [(-70, -20), (-20, 0)]
    provider.run("a", 0, {NOON - 2 * MINUTE: 90, NOON + MINUTE: 10})
    assert poll(home, fake, NOON + 2 * MINUTE) == 2
    assert windows(fake, "a") == [(-2, 2)]
    assert known(home) == {("a", NOON - 2 * MINUTE): 90, ("a", NOON + MINUTE): 10}


def test_a_sandbox_that_is_listed_no_more_is_asked_about_once_more(home: Home, fake: FakeApi, provider: Provider) -> None:
    provider.run("a", NOON - 5 * MINUTE, {NOON - MINUTE: 1})
    provider.run("b", NOON - 5 * MINUTE, {NOON - MINUTE: 1})
    poll(home, fake, NOON)
    provider.started.clear()
    provider.gone.add("b")
    provider.run("a", NOON, {NOON + MINUTE: 2})
    provider.started.clear()
    fake.asked.clear()
    assert poll(home, fake, NOON + 5 * MINUTE) == 2
    assert windows(fake, "a") == [(-1, 5)]
    assert poll(home, fake, NOON + 6 * MINUTE) == 0
    assert [asked.path for asked in fake.asked] == ["/v2/sandboxes"]
    assert ("a", NOON + MINUTE) in known(home)


def test_a_sandbox_that_gives_nothing_is_not_asked_about_all_of_its_past_again(
    home: Home, fake: FakeApi, provider: Provider
) -> None:
    provider.run("paused", NOON - 30 * 24 * 60 * MINUTE, {})
    poll(home, fake, NOON)
    assert windows(fake, "paused")[0] == (-24 * 60, -24 * 60 + 50), "a day at most of one that is new to us"
    poll(home, fake, NOON + 10 * MINUTE)
    assert windows(fake, "paused") == [(-15, 10)]


def test_an_api_that_gives_up_half_way_is_taken_up_there(home: Home, fake: FakeApi, provider: Provider) -> None:
    for box in "ab":
        provider.run(box, NOON - 5 * MINUTE, {NOON - MINUTE: 1})
    fake.answers = lambda asked: Answer({}, 429) if "/b/" in asked.path else provider(asked)
    access = Access(fake.url, "E2B_API_KEY", requests_per_second=1000)
    with patch.object(api, "ATTEMPTS", 1), pytest.raises(BillhouseError, match="429"):
        poll_metrics(home, access, name="e2b", now=datetime.fromtimestamp(NOON, UTC))
    assert len(list((home.inbox / "metrics").iterdir())) == 1
    fake.answers = provider
    fake.asked.clear()
    assert poll(home, fake, NOON + MINUTE) == 2
    assert [(asked.path, asked.query["start"]) for asked in fake.asked if "metrics" in asked.path] == [
        ("/sandboxes/a/metrics", str(NOON - MINUTE)),
        ("/sandboxes/b/metrics", str(NOON - 5 * MINUTE)),
    ]


def test_the_latest_samples_of_250_sandboxes_cost_three_requests(home: Home, fake: FakeApi, provider: Provider) -> None:
    boxes = [f"box{number:03}" for number in range(250)]
    for box in boxes:
        provider.run(box, NOON - 5 * MINUTE, {NOON - 2 * MINUTE: 1, NOON - MINUTE: 20.33})
    provider.samples["box007"] = {}
    access = Access(fake.url, "E2B_API_KEY", requests_per_second=1000)
    collected = poll_latest_metrics(home, access, name="e2b")
    assert len([asked for asked in fake.asked if asked.path == "/sandboxes/metrics"]) == 3
    assert land_files(home, collected.files, Kind.METRICS).accepted == 249
    assert known(home) == {(box, NOON - MINUTE): Decimal("20.33") for box in boxes if box != "box007"}

    assert land_files(home, poll_latest_metrics(home, access, name="e2b").files, Kind.METRICS).duplicates == 249
    fake.asked.clear()
    provider.started = {"box000": NOON - 5 * MINUTE}
    assert poll(home, fake, NOON) == 2, "the position of all samples is not moved by the latest ones"


@pytest.mark.parametrize("body", [[], {}, {"sandboxes": []}])
def test_an_answer_without_a_map_of_samples_is_an_error(body: Any, home: Home, fake: FakeApi, provider: Provider) -> None:
    provider.run("a", NOON, {})
    fake.answers = lambda asked: provider(asked) if "v2" in asked.path else Answer(body)
    polled = billhouse(home.path, "poll-metrics", "--url", fake.url, "--latest", "--json")
    assert polled.code == 1
    assert "without a map" in polled.json["error"]


def test_a_metric_that_says_too_little_lands_in_quarantine(home: Home, fake: FakeApi, provider: Provider) -> None:
    provider.run("a", NOON - MINUTE, {})
    fake.answers = lambda asked: provider(asked) if "v2" in asked.path else Answer([{"timestampUnix": NOON}, 7])
    collected = poll_metrics(home, Access(fake.url), name="e2b", now=datetime.fromtimestamp(NOON, UTC))
    assert land_files(home, collected.files, Kind.METRICS).by_reason == {"missing_field": 2}


def test_a_list_that_is_none_of_sandboxes_is_told(home: Home, fake: FakeApi) -> None:
    fake.answers = lambda _: Answer([{"id": "a"}])
    with pytest.raises(BillhouseError, match="without its sandboxID"):
        poll(home, fake, NOON)


def test_the_command_says_what_to_call_next(home: Home, fake: FakeApi, provider: Provider) -> None:
    now = int(datetime.now(UTC).timestamp())
    provider.run("a", now - 2 * MINUTE, {now - MINUTE: 12.5})
    polled = billhouse(home.path, "poll-metrics", "--url", fake.url, "--api-key-env", "E2B_API_KEY")
    assert polled.code == 0
    words = polled.stdout.splitlines()[-1].split()
    assert words[:5] == ["Next:", "billhouse", "land", "--kind", "metrics"]
    assert json.loads(Path(words[5]).read_text())["cpuUsedPct"] == 12.5
    assert billhouse(home.path, *words[2:]).code == 0
    assert "Nothing new" not in billhouse(home.path, "poll-metrics", "--url", fake.url, "--api-key-env", "E2B_API_KEY").stdout
