"""Feeds that feeds.toml configures: each runs in a process of its own, and a failed one stops no other."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.feeds.configured import find_feed, read_feeds, run_feeds
from tests.feeds.fake_api import serving
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
    assert "paged by offset and poll-metrics begin again" in late.problem


@pytest.mark.parametrize("variable", ["STRIPE_API_KEY", "BILLHOUSE_ALERT_WEBHOOK_SECRET", "DAGSTER_POSTGRES_URL"])
def test_a_feed_cannot_send_a_secret_of_billhouse_to_its_server(
    variable: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "own-secret-0123456789")
    with serving() as api:
        for words in (
            ("collect", "--url", api.url, "--api-key-env", variable),
            ("collect", "--url", api.url, "--header", f"X-Team={variable}"),
            ("poll-metrics", "--url", api.url, "--api-key-env", variable),
            ("consume", "redis-streams", "--url", "redis://127.0.0.1:1", "--stream", "s", "--password-env", variable),
            ("consume", "nats", "--servers", "nats://127.0.0.1:1", "--stream", "s", "--token-env", variable),
            ("consume", "kafka", "--servers", "127.0.0.1:1", "--topic", "t", "--secret", f"sasl.password={variable}"),
            ("collect-sql", "clickhouse", "--connection-env", variable, "--table", "t", "--cursor-column", "c"),
            ("collect-sql", "postgresql", "--connection-env", variable, "--table", "t", "--cursor-column", "c"),
        ):
            refused = billhouse(home.path, *words)
            assert (refused.code, f"{variable} is a secret of Billhouse" in " ".join(refused.stderr.split())) == (2, True), words
        assert api.asked == []


def test_the_process_of_a_feed_has_no_secret_of_billhouse(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"STRIPE_API_KEY", "BILLHOUSE_ALERT_SLACK_URL", "DAGSTER_POSTGRES_URL"}
    for variable in (*own, "QUEUE_PASSWORD"):
        monkeypatch.setenv(variable, "a-secret-0123456789")
    home.feeds.write_text('[feeds.a]\ncommand = "consume sqs"\nurl = "https://sqs.x/1/q"\n')
    with patch("subprocess.run", side_effect=OSError("not started")) as run, patch("os.execve", side_effect=SystemExit) as execve:
        run_feeds(home, read_feeds(home))
        billhouse(home.path, "feeds", "run", "a", "--follow")
    in_a_run, as_a_service = run.call_args.kwargs["env"], execve.call_args.args[2]
    assert in_a_run["QUEUE_PASSWORD"] == as_a_service["QUEUE_PASSWORD"] == "a-secret-0123456789"
    assert not own & in_a_run.keys()
    assert own & as_a_service.keys() == {"BILLHOUSE_ALERT_SLACK_URL"}, "it sends its alerts itself"


def test_only_a_queue_is_followed(home: Home) -> None:
    home.feeds.write_text('[feeds.a]\ncommand = "collect"\n')
    for words in (("--follow",), ("a", "--follow"), ("b",)):
        assert billhouse(home.path, "feeds", "run", *words).code == 2
