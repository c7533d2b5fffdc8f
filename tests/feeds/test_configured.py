"""Feeds that feeds.toml configures: each runs in a process of its own, and a failed one stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.configured import find_feed, read_feeds, run_feeds
from tests.landing.raw import event_line
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_options_are_those_of_the_command(home: Home) -> None:
    assert read_feeds(home) == []
    home.feeds.write_text(
        '[feeds.sandbox-events]\ncommand = "consume kafka"\nservers = "kafka:9092"\ntopic = "usage"\nfile-rows = 100\n'
        'property = ["a=b", "c=d"]\naccept-loss = true\nsource = "e2b-events"\nservice = true\n'
        '[feeds.metrics]\ncommand = "poll-metrics"\nurl = "https://api.e2b.app"\nnewest-first = false\n'
    )
    kafka, metrics = read_feeds(home)
    assert " ".join(kafka.words) == (
        "consume kafka --servers kafka:9092 --topic usage --file-rows 100 --property a=b --property c=d --accept-loss"
        " --source e2b-events --name sandbox-events"
    )
    assert (kafka.is_service, kafka.is_queue, metrics.is_service, metrics.is_queue) == (True, True, False, False)
    assert metrics.words == ["poll-metrics", "--url", "https://api.e2b.app", "--name", "metrics"]
    listed = billhouse(home.path, "feeds", "list", "--json").json["feeds"]
    assert [(feed["feed"], feed["service"]) for feed in listed] == [("sandbox-events", True), ("metrics", False)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[feeds", "cannot be read"),
        ("[feed.a]\n", "tables [feeds.NAME] only"),
        ("feeds = 1\n", "tables [feeds.NAME] only"),
        ('[feeds.A]\ncommand = "collect"\n', "invalid name"),
        ('[feeds.a]\ncommand = "land"\n', "unknown command 'land'"),
        ("[feeds.a]\n", "unknown command None"),
        ('[feeds.a]\ncommand = "collect"\nname = "b"\n', "'name' cannot be set"),
        ('[feeds.a]\ncommand = "collect"\nservice = 1\n', "service is 1"),
        ('[feeds.a]\ncommand = "collect"\nurl = {}\n', "url is no text"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(text: str, message: str, home: Home) -> None:
    home.feeds.write_text(text)
    with pytest.raises(BillhouseError, match=r"feeds\.toml") as refused:
        read_feeds(home)
    assert message in str(refused.value)


@pytest.mark.slow
def test_a_failed_feed_is_an_alert_and_the_others_run(home: Home, tmp_path: Path) -> None:
    export = tmp_path / "queue.jsonl"
    export.write_text(event_line("a") + "\n")
    home.feeds.write_text(
        '[feeds.wrong]\ncommand = "consume redis-streams"\nurl = "redis://127.0.0.1:1"\nstream = "s"\n'
        '[feeds.followed]\ncommand = "consume sqs"\nurl = "https://sqs.x/1/q"\nservice = true\n'
        f'[feeds.good]\ncommand = "collect"\nexport = "{export}"\n'
    )
    ran = billhouse(home.path, "feeds", "run", "--json")
    assert ran.code == 1
    wrong, good = ran.json["feeds"]
    assert ("Redis at redis://127.0.0.1:1" in wrong["problem"], wrong["rows"]) == (True, 0)
    assert (good["feed"], good["rows"], good["files"], good["problem"]) == ("good", 1, 1, "")
    (alert,) = billhouse(home.path, "alerts", "--json").json["alerts"]
    assert (alert["subject"], "Redis" in alert["text"]) == ("Feed wrong", True)
    (late,) = run_feeds(home, [find_feed(home, "good")], timeout_seconds=0.01)
    assert "ended after 0.01 seconds" in late.problem


def test_only_a_queue_is_followed(home: Home) -> None:
    home.feeds.write_text('[feeds.a]\ncommand = "collect"\n')
    for words in (("--follow",), ("a", "--follow"), ("b",)):
        assert billhouse(home.path, "feeds", "run", *words).code == 2
