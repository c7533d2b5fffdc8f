"""Each alert is recorded and sent to each channel once; after a kill it can be sent again, with the same id."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from standardwebhooks.webhooks import Webhook

from pipeline.alerts import send as sending
from pipeline.alerts import send_alerts
from pipeline.alerts.channels import configured_channels
from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, alert_states, raise_alert, raise_alert_on_error
from tests.http_servers import dripping, endless, http_server, raw_server
from tests.support import billhouse, free_port

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 9, 11, tzinfo=UTC)
FAILED = OperationalAlert("publish_failed", "publish 2026-08", "Stripe said <no> & stayed there.")


class Receiver:
    """An HTTP server that answers with the given statuses, then with 200, and records the requests."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[dict[str, str], str]] = []
        self.url = ""

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"])).decode()
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, body))
        request.send_response(self.statuses.pop(0) if self.statuses else 200)
        request.send_header("content-length", "0")
        request.end_headers()


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    started = Receiver()
    with http_server(started.respond) as address:
        started.url = f"{address}/hook"
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose last build found two alerts: one old, one new."""
    opened = Home.open(tmp_path / "home")
    with duckdb.connect(str(opened.analysts_file)) as reports:
        reports.execute("create schema billing")
        reports.execute("""
            create table billing.usage_alerts as
            select 'ALT-OLD' as alert_id, 'ada' as customer_id, 'monthly_spend' as limit_kind, '2026-01' as period,
                50 as threshold_percent, 60.5::decimal(38, 12) as observed, 100::decimal(38, 12) as allowed, 'USD' as unit,
                timestamptz '2026-01-05 00:00:00+00' as reached_at
            union all
            select 'ALT-NEW', 'bob', 'credit', '2026-09', 80, 80, 100, 'USD', timestamptz '2026-09-10 00:00:00+00'""")
    return opened


@pytest.fixture
def webhook(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    return receiver


def send(home: Home) -> sending.SendResult:
    return send_alerts(home, now=NOW, pause=lambda _: None)


def states(home: Home) -> dict[str, str]:
    return {row["alert_id"]: row["state"] for row in alert_states(home)}


def test_a_webhook_receives_each_new_alert_once_and_signed_and_old_alerts_are_suppressed(home: Home, webhook: Receiver) -> None:
    assert send(home).delivered == 1
    again = send(home)
    assert (again.raised, again.delivered, again.problems) == (0, 0, [])
    ((headers, body),) = webhook.requests
    assert headers["webhook-id"] == "ALT-NEW"
    sent = Webhook(SECRET).verify(body, headers)
    assert sent["type"] == "billhouse.alert.limit"
    assert sent["data"]["text"] == "bob reached 80 % of its limit credit in 2026-09: 80.00 of 100.00 USD."
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body.replace("80", "90"), headers)
    assert states(home) == {"ALT-OLD": "suppressed", "ALT-NEW": "delivered"}


@pytest.mark.parametrize("statuses", [[500], [429, 503, 500]])
def test_a_temporary_failure_of_a_receiver_is_retried(home: Home, webhook: Receiver, statuses: list[int]) -> None:
    webhook.statuses = list(statuses)
    assert send(home).delivered == 1
    assert [headers["webhook-id"] for headers, _ in webhook.requests] == ["ALT-NEW"] * (len(statuses) + 1)


def test_a_receiver_that_is_down_is_retried_at_the_next_call(home: Home, webhook: Receiver) -> None:
    webhook.statuses = [500] * 4
    assert send(home).problems == ["ALT-NEW by webhook: failed, HTTP 500"]
    assert states(home)["ALT-NEW"] == "failed"
    assert send(home).delivered == 1
    assert states(home)["ALT-NEW"] == "delivered"


def test_an_alert_that_a_receiver_rejects_is_not_sent_again(home: Home, webhook: Receiver) -> None:
    webhook.statuses = [410]
    assert send(home).problems == ["ALT-NEW by webhook: rejected, HTTP 410"]
    assert send(home).problems == []
    assert len(webhook.requests) == 1


def test_a_redirect_is_not_followed(home: Home, webhook: Receiver) -> None:
    webhook.statuses = [302]
    assert send(home).problems == ["ALT-NEW by webhook: rejected, HTTP 302"]


def test_an_alert_is_sent_again_with_the_same_id_after_a_kill_between_sending_and_recording(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sending, "append_rows", die)
        with pytest.raises(KeyboardInterrupt):
            send(home)
    assert send(home).delivered == 1
    assert [headers["webhook-id"] for headers, _ in webhook.requests] == ["ALT-NEW", "ALT-NEW"]


def test_a_channel_that_is_down_does_not_stop_others_and_slack_text_is_escaped(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_receiver() as slack:
        monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", slack.url)
        raise_alert(home, FAILED, ["webhook", "slack"])
        webhook.statuses = [500] * 4
        result = send(home)
        assert result.delivered == 2, "both by Slack"
        assert [problem.partition(" by ")[2] for problem in result.problems] == [
            "webhook: failed, HTTP 500",
            "webhook: pending, because webhook cannot be reached",
        ]
        assert any("Stripe said &lt;no&gt; &amp; stayed there." in json.loads(body)["text"] for _, body in slack.requests)


def test_a_channel_configured_later_receives_no_earlier_alerts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    send(home)
    assert states(home) == {"ALT-OLD": "suppressed", "ALT-NEW": "kept"}
    with running_receiver() as later:
        monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", later.url)
        assert send(home).delivered == 0
        assert later.requests == []


def test_the_same_failure_on_one_day_is_one_alert(home: Home) -> None:
    first = raise_alert(home, FAILED, [], now=NOW)
    assert raise_alert(home, FAILED, [], now=NOW) == first
    assert raise_alert(home, FAILED, [], now=datetime(2026, 9, 12, tzinfo=UTC)) != first
    assert len(alert_states(home)) == 2


def test_a_failure_recorded_without_a_channel_is_sent_when_it_is_raised_again_with_one(home: Home, webhook: Receiver) -> None:
    for channels in ([], ["webhook"], ["webhook", "slack"]):
        raise_alert(home, FAILED, channels, now=NOW)
    assert send(home).delivered == 2, "this one and the limit alert"
    assert raise_alert(home, FAILED, [], now=NOW) in {headers["webhook-id"] for headers, _ in webhook.requests}


def test_a_failure_recorded_while_a_channel_is_misconfigured_is_sent_once_it_is_corrected(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", "not yet")
        alert_id = raise_alert(home, FAILED)
    send(home)
    assert states(home)[alert_id] == "delivered"


def test_raising_an_alert_does_not_wait_for_a_slow_receiver(home: Home, webhook: Receiver) -> None:
    def pause(_: float) -> None:
        with ThreadPoolExecutor(1) as other:
            other.submit(raise_alert, home, FAILED, ["webhook"]).result(timeout=20)

    webhook.statuses = [500]
    assert send_alerts(home, now=NOW, pause=pause).delivered == 1
    assert len(alert_states(home)) == 3


def test_a_failing_step_raises_an_alert_and_its_error(home: Home) -> None:
    with pytest.raises(BillhouseError), raise_alert_on_error(home, "check_failed", "The build"):
        raise BillhouseError("1 of 2 steps failed.", "Look at the log.")
    (alert,) = alert_states(home)
    assert (alert["kind"], alert["subject"]) == ("check_failed", "The build")
    assert "1 of 2 steps failed." in alert["text"]


class Inbox(Message):
    """A mail server's received messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.messages.append(message)


def test_an_e_mail_has_the_alert_id_as_message_id_and_no_header_can_be_injected(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox()
    port = free_port()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        monkeypatch.setenv("BILLHOUSE_ALERT_SMTP_URL", f"smtp://127.0.0.1:{port}")
        monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_FROM", "billing@example.com")
        monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_TO", "ops@example.com, lead@example.com")
        raise_alert(home, OperationalAlert("run_failed", "a\r\nBcc: thief@example.com", "text"), ["email"], now=NOW)
        assert send(home).delivered == 2
    finally:
        server.stop()
    assert {message["Message-ID"] for message in inbox.messages} >= {"<ALT-NEW@billhouse.invalid>"}
    assert all(message["Bcc"] is None and message["To"] == "ops@example.com, lead@example.com" for message in inbox.messages)


OK = b"HTTP/1.1 200 OK\r\nX-Padding: 0123456789012345678901234567890123456789\r\nContent-Length: 0\r\n\r\n"


def test_a_receiver_that_answers_too_slowly_is_abandoned_and_the_other_channel_is_served(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte arrives within the read timeout: without a limit on the whole response, it would be accepted."""
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", receiver.url)
    monkeypatch.setattr("pipeline.alerts.channels._RESPONSE_SECONDS", 0.3)
    with raw_server(lambda: dripping(OK)) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        result = send(home)
    assert (result.delivered, result.problems) == (1, ["ALT-NEW by webhook: failed, ReadTimeout"])


def test_the_body_of_a_response_is_not_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless body would fill the memory. This one only exceeds what the connection buffers."""
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    sent_blocks: list[int] = []

    def answer() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
        for _ in range(200):
            yield b" " * (1 << 20)
            sent_blocks.append(1)

    with raw_server(answer) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        assert send(home).delivered == 1
    assert len(sent_blocks) < 100


def test_an_endless_response_header_is_abandoned(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    with raw_server(lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1000 + b"\r\n", 10_000)) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        assert send(home).problems == ["ALT-NEW by webhook: failed, ConnectionError"]


@pytest.mark.parametrize("reply", ["drip", "endless"])
def test_a_mail_server_that_replies_too_slowly_or_endlessly_is_abandoned(
    reply: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting = b"220 " + b"x" * 60 + b"\r\n250 good\r\n250 good\r\n250 good\r\n354 go on\r\n250 taken\r\n221 bye\r\n"
    replies = {"drip": lambda: dripping(greeting), "endless": lambda: endless(b"", b"220-more\r\n" * 1000, 10_000)}
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_FROM", "billing@example.com")
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setattr("pipeline.alerts.channels._MAIL_SECONDS", 0.5 if reply == "drip" else 600)
    with raw_server(replies[reply], reads_first=False) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_SMTP_URL", f"smtp://{address}")
        assert send(home).problems == ["ALT-NEW by email: failed, SMTPServerDisconnected"]


def test_a_password_is_not_sent_unencrypted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        ehlo = close = lambda self: None

        def has_extn(self, _: str) -> bool:
            return False

        def login(self, *_: object) -> None:
            raise AssertionError("the password was sent")

    monkeypatch.setattr("pipeline.alerts.channels._MailServer", Plain)
    monkeypatch.setenv("BILLHOUSE_ALERT_SMTP_URL", "smtp://ops:hunter2@mail.example.com")
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_FROM", "billing@example.com")
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_TO", "ops@example.com")
    assert send(home).problems == ["ALT-NEW by email: failed, SMTPNotSupportedError"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BILLHOUSE_ALERT_SLACK_URL", "http://hooks.example.com/secret-part"),
        ("BILLHOUSE_ALERT_WEBHOOK_URL", "https://example.com/hook"),
        ("BILLHOUSE_ALERT_SMTP_URL", "mail.example.com"),
        ("BILLHOUSE_ALERT_SMTP_URL", "smtps://ops:secret-part@mail.example.com"),
        ("BILLHOUSE_ALERT_SMTP_URL", "smtps://ops:secret-part/2@mail.example.com"),
        ("BILLHOUSE_ALERT_SLACK_URL", "https://hooks.example.com\x7f/secret-part"),
        ("BILLHOUSE_ALERT_SLACK_URL", "https://[::1/secret-part"),
    ],
)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    outcome = billhouse(home.path, "alerts", "--send")
    assert outcome.code == 1
    assert "BILLHOUSE_ALERT_" in outcome.stderr
    assert "secret-part" not in outcome.stderr + outcome.stdout


def test_an_empty_setting_counts_as_unset_and_invalid_json_is_reported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", "")
    assert configured_channels() == []
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", "{USD: 500}")
    with pytest.raises(BillhouseError, match="BILLHOUSE_AUTO_APPROVE_UNDER"):
        Settings.load()


def test_the_url_of_a_channel_is_not_logged(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert send(home).delivered == 1
    assert webhook.url not in caplog.text


def test_a_home_can_have_any_name(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "[prod] it's" / "channel=a*")
    raise_alert(home, FAILED, ["webhook"])
    assert [row["channel"] for row in alert_states(home)] == ["webhook"]
    assert "billhouse_unsent_alerts 1.0" in write_health(home).read_text()


def test_the_command_sends_lists_and_tests_alerts(home: Home, webhook: Receiver) -> None:
    assert billhouse(home.path, "alerts", "--test", "--json").json["delivered"] == 1
    assert billhouse(home.path, "alerts", "--send").code == 0
    listed = billhouse(home.path, "alerts", "--json").json["alerts"]
    # The alert of 2026-09-10 is older than the maximum age now.
    assert {row["state"] for row in listed} == {"suppressed"}
    webhook.statuses = [410]
    assert billhouse(home.path, "alerts", "--test").code == 1
