"""Headers of an API's requests besides its key: their values come from the environment, and are as secret as a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.home import Home
from tests.feeds.fake_api import Answer, FakeApi, serving
from tests.support import Outcome, billhouse

TEAM = "team-secret-0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setenv("E2B_API_KEY", "e2b_secret_0123456789")
    monkeypatch.setenv("E2B_TEAM", TEAM)
    with serving() as serving_api:
        yield serving_api


def collect(home: Home, url: str, *words: str) -> Outcome:
    headers = ("--api-key-env", "E2B_API_KEY", "--header", "X-Team-ID=E2B_TEAM", "--header", "X-Region=REGION")
    return billhouse(home.path, "collect", "--url", url, "--rows-at", "$", *headers, *words, "--json")


def test_each_header_is_sent_with_the_value_of_its_variable(home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "eu")
    assert collect(home, api.url).code == 0
    assert billhouse(home.path, "poll-metrics", "--url", api.url, "--header", "X-Team-ID=E2B_TEAM").code == 0
    collected, polled = ({name.lower(): value for name, value in asked.headers.items()} for asked in api.asked)
    assert [collected[name] for name in ("x-api-key", "x-team-id", "x-region")] == ["e2b_secret_0123456789", TEAM, "eu"]
    assert polled["x-team-id"] == TEAM
    assert TEAM not in "".join(path.read_text() for path in home.collecting.glob("*.json"))


def test_the_value_of_a_header_goes_to_no_other_host_and_is_not_shown(
    home: Home, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGION", "eu")
    unencrypted = billhouse(home.path, "collect", "--url", "http://events.invalid/v1", "--header", "X-Team-ID=E2B_TEAM")
    assert unencrypted.code == 2
    assert "is not encrypted" in unencrypted.stderr
    with serving() as elsewhere:
        api.answers = lambda _: Answer([], headers={"Link": f'<{elsewhere.url}/steal>; rel="next"'})
        assert "is at another host" in collect(home, api.url, "--paging", "link").json["error"]
        api.answers = lambda _: Answer("", 302, {"Location": f"{elsewhere.url}/steal"})
        assert collect(home, api.url, "--name", "moved").code == 1
        assert elsewhere.asked == []
    api.answers = lambda _: Answer({"message": f"no team {TEAM}"}, 403)
    refused = collect(home, api.url, "--name", "refused")
    assert "the key in E2B_API_KEY and E2B_TEAM and REGION" in refused.json["error"]
    assert TEAM not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    "written",
    [
        "X-Team-ID",
        f"X-Team-ID: {TEAM}",
        f"X-Team-ID={TEAM}",
        "X Team=E2B_TEAM",
        "Host=E2B_TEAM",
        "x-api-key=E2B_TEAM",
        "X-Team-ID=UNSET",
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(written: str, home: Home, api: FakeApi) -> None:
    refused = billhouse(home.path, "collect", "--url", api.url, "--api-key-env", "E2B_API_KEY", "--header", written)
    assert refused.code == 2
    assert TEAM not in refused.stdout + refused.stderr
    assert api.asked == []
