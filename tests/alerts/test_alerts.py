"""Alerts go out once to each channel, at least once whatever dies, with an id that tells a repeat; and they are kept."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
from tests.raw_server import dripping, endless, raw_server
from tests.support import billhouse, free_port

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 9, 11, tzinfo=UTC)
FAILED = OperationalAlert("publish_failed", "publish 2026-08", "Stripe said <no> & stayed there.")


class Receiver:
    """An HTTP server that answers with what it is told to, then with 200, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.server.shutdown()
    started.server.server_close()


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


def test_a_webhook_gets_each_new_alert_once_signed_and_old_ones_are_kept(home: Home, webhook: Receiver) -> None:
    assert send(home).delivered == 1
    again = send(home)
    assert (again.raised, again.delivered, again.problems) == (0, 0, [])
    ((headers, body),) = webhook.got
    assert headers["webhook-id"] == "ALT-NEW"
    sent = Webhook(SECRET).verify(body, headers)
    assert sent["type"] == "billhouse.alert.limit"
    assert sent["data"]["text"] == "bob came to 80 % of its limit credit in 2026-09: 80.00 of 100.00 USD."
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body.replace("80", "90"), headers)
    assert states(home) == {"ALT-OLD": "suppressed", "ALT-NEW": "delivered"}


@pytest.mark.parametrize("answers", [[500], [429, 503, 500]])
def test_a_receiver_that_stumbles_is_tried_again(home: Home, webhook: Receiver, answers: list[int]) -> None:
    webhook.answers = list(answers)
    assert send(home).delivered == 1
    assert [headers["webhook-id"] for headers, _ in webhook.got] == ["ALT-NEW"] * (len(answers) + 1)


def test_a_receiver_that_is_down_is_tried_again_at_the_next_call(home: Home, webhook: Receiver) -> None:
    webhook.answers = [500] * 4
    assert send(home).problems == ["ALT-NEW by webhook: failed, HTTP 500"]
    assert states(home)["ALT-NEW"] == "failed"
    assert send(home).delivered == 1
    assert states(home)["ALT-NEW"] == "delivered"


def test_what_a_receiver_does_not_want_is_not_sent_again(home: Home, webhook: Receiver) -> None:
    webhook.answers = [410]
    assert send(home).problems == ["ALT-NEW by webhook: rejected, HTTP 410"]
    assert send(home).problems == []
    assert len(webhook.got) == 1


def test_a_redirect_is_not_followed(home: Home, webhook: Receiver) -> None:
    webhook.answers = [302]
    assert send(home).problems == ["ALT-NEW by webhook: rejected, HTTP 302"]


def test_who_dies_between_sending_and_recording_sends_the_same_id_again(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sending, "record", die)
        with pytest.raises(KeyboardInterrupt):
            send(home)
    assert send(home).delivered == 1
    assert [headers["webhook-id"] for headers, _ in webhook.got] == ["ALT-NEW", "ALT-NEW"]


def test_a_channel_that_is_down_stops_no_other_and_slack_text_is_escaped(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack = Receiver()
    try:
        monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", slack.url)
        raise_alert(home, FAILED, ["webhook", "slack"])
        webhook.answers = [500] * 4
        result = send(home)
        assert result.delivered == 2  # by Slack
        assert len(result.problems) == 2
        assert any("Stripe said &lt;no&gt; &amp; stayed there." in json.loads(body)["text"] for _, body in slack.got)
    finally:
        slack.server.shutdown()
        slack.server.server_close()


def test_a_channel_that_is_configured_later_gets_no_old_alerts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    send(home)
    assert states(home) == {"ALT-OLD": "suppressed", "ALT-NEW": "kept"}
    later = Receiver()
    try:
        monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", later.url)
        assert send(home).delivered == 0
        assert later.got == []
    finally:
        later.server.shutdown()
        later.server.server_close()


def test_the_same_failure_on_one_day_is_one_alert(home: Home) -> None:
    first = raise_alert(home, FAILED, [], now=NOW)
    assert raise_alert(home, FAILED, [], now=NOW) == first
    assert raise_alert(home, FAILED, [], now=datetime(2026, 9, 12, tzinfo=UTC)) != first
    assert len(alert_states(home)) == 2


def test_a_failure_that_was_kept_where_no_channel_is_configured_goes_out_when_it_is_raised_where_one_is(
    home: Home, webhook: Receiver
) -> None:
    for channels in ([], ["webhook"], ["webhook", "slack"]):
        raise_alert(home, FAILED, channels, now=NOW)
    assert send(home).delivered == 2, "this one and that of a limit"
    assert raise_alert(home, FAILED, [], now=NOW) in {headers["webhook-id"] for headers, _ in webhook.got}


def test_a_failure_that_comes_while_a_channel_is_set_wrongly_goes_out_once_it_is_set_right(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", "not yet")
        kept = raise_alert(home, FAILED)
    send(home)
    assert states(home)[kept] == "delivered"


def test_nobody_who_has_to_tell_something_waits_for_a_slow_receiver(home: Home, webhook: Receiver) -> None:
    def pause(_: float) -> None:
        with ThreadPoolExecutor(1) as other:
            other.submit(raise_alert, home, FAILED, ["webhook"]).result(timeout=20)

    webhook.answers = [500]
    assert send_alerts(home, now=NOW, pause=pause).delivered == 1
    assert len(alert_states(home)) == 3


def test_a_failing_step_leaves_an_alert_and_fails_all_the_same(home: Home) -> None:
    with pytest.raises(BillhouseError), raise_alert_on_error(home, "check_failed", "The build"):
        raise BillhouseError("1 of 2 steps failed.", "Look at the log.")
    (alert,) = alert_states(home)
    assert (alert["kind"], alert["subject"]) == ("check_failed", "The build")
    assert "1 of 2 steps failed." in alert["text"]


class Inbox(Message):
    """What a mail server took."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.taken.append(message)


def test_mail_goes_out_with_the_id_as_message_id_and_no_header_can_be_slipped_in(
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
    assert {message["Message-ID"] for message in inbox.taken} >= {"<ALT-NEW@billhouse.invalid>"}
    assert all(message["Bcc"] is None and message["To"] == "ops@example.com, lead@example.com" for message in inbox.taken)


OK = b"HTTP/1.1 200 OK\r\nX-Padding: 0123456789012345678901234567890123456789\r\nContent-Length: 0\r\n\r\n"


def test_a_receiver_that_drips_its_answer_is_given_up_and_the_other_channel_is_served(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes well within the timeout of a read: without a bound on it all, the answer would come and be taken."""
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", receiver.url)
    monkeypatch.setattr("pipeline.alerts.channels._ANSWER_SECONDS", 0.3)
    with raw_server(lambda: dripping(OK)) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        result = send(home)
    assert (result.delivered, result.problems) == (1, ["ALT-NEW by webhook: failed, ReadTimeout"])


def test_the_body_of_a_receivers_answer_is_not_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is endless would fill the memory; here it is only more than the connection holds unread."""
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    sent: list[int] = []

    def answer() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
        for _ in range(200):
            yield b" " * (1 << 20)
            sent.append(1)

    with raw_server(answer) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        assert send(home).delivered == 1
    assert len(sent) < 100


def test_an_endless_header_of_a_receiver_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_SECRET", SECRET)
    with raw_server(lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1000 + b"\r\n", 10_000)) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_WEBHOOK_URL", f"http://{address}/hook")
        assert send(home).problems == ["ALT-NEW by webhook: failed, RemoteProtocolError"]


@pytest.mark.parametrize("says", ["drip", "endless"])
def test_a_mail_server_that_drips_or_never_ends_is_given_up(says: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    greeting = b"220 " + b"x" * 60 + b"\r\n250 good\r\n250 good\r\n250 good\r\n354 go on\r\n250 taken\r\n221 bye\r\n"
    answers = {"drip": lambda: dripping(greeting), "endless": lambda: endless(b"", b"220-more\r\n" * 1000, 10_000)}
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_FROM", "billing@example.com")
    monkeypatch.setenv("BILLHOUSE_ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setattr("pipeline.alerts.channels._MAIL_SECONDS", 0.5 if says == "drip" else 600)
    with raw_server(answers[says], reads_first=False) as address:
        monkeypatch.setenv("BILLHOUSE_ALERT_SMTP_URL", f"smtp://{address}")
        assert send(home).problems == ["ALT-NEW by email: failed, SMTPServerDisconnected"]


def test_a_password_is_not_sent_in_the_clear(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        ehlo = close = lambda self: None

        def has_extn(self, _: str) -> bool:
            return False

        def login(self, *_: object) -> None:
            raise AssertionError("a password went out")

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
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    outcome = billhouse(home.path, "alerts", "--send")
    assert outcome.code == 1
    assert "BILLHOUSE_ALERT_" in outcome.stderr
    assert "secret-part" not in outcome.stderr + outcome.stdout


def test_an_empty_setting_is_as_one_that_is_not_set_and_one_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", "")
    assert configured_channels() == []
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", "{USD: 500}")
    with pytest.raises(BillhouseError, match="BILLHOUSE_AUTO_APPROVE_UNDER"):
        Settings.load()


def test_the_address_of_a_channel_is_not_logged(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert send(home).delivered == 1
    assert webhook.url not in caplog.text


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "[prod] it's" / "channel=a*")
    raise_alert(home, FAILED, ["webhook"])
    assert [row["channel"] for row in alert_states(home)] == ["webhook"]
    assert "billhouse_unsent_alerts 1.0" in write_health(home).read_text()


def test_the_command_sends_lists_and_tests(home: Home, webhook: Receiver) -> None:
    assert billhouse(home.path, "alerts", "--test", "--json").json["delivered"] == 1
    assert billhouse(home.path, "alerts", "--send").code == 0
    listed = billhouse(home.path, "alerts", "--json").json["alerts"]
    # The alert of 2026-09-10 is months old by the clock of whoever runs this.
    assert {row["state"] for row in listed} == {"suppressed"}
    webhook.answers = [410]
    assert billhouse(home.path, "alerts", "--test").code == 1
