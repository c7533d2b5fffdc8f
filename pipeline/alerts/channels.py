"""The ways by which an alert reaches people: a signed webhook, a Slack-compatible URL, e-mail."""

from __future__ import annotations

import json
import smtplib
import ssl
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from standardwebhooks.webhooks import Webhook

from pipeline.core.errors import BillhouseError
from pipeline.core.http_client import bounded_client
from pipeline.core.network_bounds import deadline_reader
from pipeline.core.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_SECONDS = 10
_ANSWER_SECONDS = 20
"""For one answer in all: a receiver that drips keeps the other channels and the next alerts waiting no longer."""
_MAIL_SECONDS = 60
_MAIL_BYTES = 1 << 20
"""For all that a mail server says while it takes one message."""
_TRY_AGAIN = (408, 425, 429)
"""Answers of the 4xx that say: later."""


class RefusedError(Exception):
    """The receiver answered that it does not want this message."""


class UnreachedError(Exception):
    """The receiver could not be reached, or could not take the message now."""

    def __init__(self, detail: str, retry_after_seconds: float = 0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Channel(ABC):
    """Somewhere to send alerts to."""

    name: str

    @abstractmethod
    def send(self, alert: dict[str, Any]) -> None:
        """Send one alert, once. Raises RefusedError or UnreachedError."""


@dataclass(frozen=True)
class WebhookChannel(Channel):
    """POSTs JSON, signed as standardwebhooks.com says; the id in `webhook-id` is the key that tells a repeat."""

    url: str
    secret: str = field(repr=False)
    name: str = "webhook"

    def send(self, alert: dict[str, Any]) -> None:
        body = json.dumps(payload(alert), separators=(",", ":"), sort_keys=True)
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": alert["alert_id"],
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(alert["alert_id"], now, body),
        }
        _post(self.url, body, headers)


@dataclass(frozen=True)
class SlackChannel(Channel):
    """POSTs {"text"} to an incoming webhook as Slack, Mattermost and others have it. The URL is the secret."""

    url: str = field(repr=False)
    name: str = "slack"

    def send(self, alert: dict[str, Any]) -> None:
        text = f"*{_escaped(alert['subject'])}*\n{_escaped(alert['text'])}\n{alert['alert_id']}\n{_head(alert)}"
        _post(self.url, json.dumps({"text": text}), {"content-type": "application/json"})


class _MailServer(smtplib.SMTP):
    """A mail server that has so many seconds and bytes for all its answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._until = time.monotonic() + _MAIL_SECONDS
        super().__init__(*args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:  # at the start, and again once the connection is encrypted
            self.file = deadline_reader(self.sock, self._until - time.monotonic(), _MAIL_BYTES)
        return super().getreply()


class _SecureMailServer(_MailServer, smtplib.SMTP_SSL):
    pass


@dataclass(frozen=True)
class EmailChannel(Channel):
    """Sends by SMTP: smtps://, or smtp:// with STARTTLS where the server offers it (and always before a password)."""

    server: str = field(repr=False)
    sender: str
    recipients: tuple[str, ...]
    name: str = "email"

    def send(self, alert: dict[str, Any]) -> None:
        message = EmailMessage()
        message["Subject"] = "[Billhouse] " + " ".join(alert["subject"].split())[:150]
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Message-ID"] = f"<{alert['alert_id']}@billhouse.invalid>"
        message.set_content(
            f"{alert['text']}\n\n{alert['kind']}, {alert['reached_at']:%Y-%m-%d %H:%M} UTC, {alert['alert_id']}\n{_head(alert)}\n"
        )
        try:
            with self._connected() as server:
                server.send_message(message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            codes = [code for code, _ in error.recipients.values()] if hasattr(error, "recipients") else [error.smtp_code]
            if all(code >= 500 for code in codes):
                raise RefusedError(f"SMTP {codes[0]}") from None
            raise UnreachedError(f"SMTP {codes[0]}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise UnreachedError(type(error).__name__) from None

    def _connected(self) -> smtplib.SMTP:
        parts = urlsplit(self.server)
        host = parts.hostname or ""
        if parts.scheme == "smtps":
            server: smtplib.SMTP = _SecureMailServer(
                host, parts.port or 465, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
            )
        else:
            server = _MailServer(host, parts.port or 587, timeout=_TIMEOUT_SECONDS)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            elif parts.password and host not in _LOOPBACK:
                server.close()
                raise smtplib.SMTPNotSupportedError("no STARTTLS, and a password is not sent in the clear")
        if parts.username and parts.password:
            server.login(unquote(parts.username), unquote(parts.password))
        return server


def configured_channels(settings: Settings | None = None) -> list[Channel]:
    """The channels that the environment configures. Raises BillhouseError that names the variable that is wrong."""
    settings = settings or Settings.load()
    channels: list[Channel] = []
    if settings.alert_webhook_url:
        if settings.alert_webhook_secret is None:
            raise BillhouseError(
                "BILLHOUSE_ALERT_WEBHOOK_URL is set, and BILLHOUSE_ALERT_WEBHOOK_SECRET is not.",
                "Set a secret that the receiver knows too: whsec_ and 24 random bytes or more in base64.",
            )
        secret = settings.alert_webhook_secret.get_secret_value()
        try:
            Webhook(secret)
        except Exception:
            raise BillhouseError(
                "BILLHOUSE_ALERT_WEBHOOK_SECRET is no secret of Standard Webhooks.", "Set whsec_ and base64."
            ) from None
        channels.append(WebhookChannel(_safe_url(settings.alert_webhook_url, "BILLHOUSE_ALERT_WEBHOOK_URL"), secret))
    if settings.alert_slack_url is not None:
        channels.append(SlackChannel(_safe_url(settings.alert_slack_url.get_secret_value(), "BILLHOUSE_ALERT_SLACK_URL")))
    if settings.alert_smtp_url is not None:
        server = settings.alert_smtp_url.get_secret_value()
        if not _is_mail_server(server):
            raise BillhouseError("BILLHOUSE_ALERT_SMTP_URL is no address of a mail server.", "As smtp://user:password@host:587")
        recipients = tuple(one.strip() for one in settings.alert_email_to.split(",") if one.strip())
        if not recipients or any("\n" in one or "@" not in one for one in (*recipients, settings.alert_email_from)):
            raise BillhouseError(
                "BILLHOUSE_ALERT_EMAIL_TO and BILLHOUSE_ALERT_EMAIL_FROM must be e-mail addresses.", "Several: with commas."
            )
        channels.append(EmailChannel(server, settings.alert_email_from, recipients))
    return channels


def payload(alert: dict[str, Any]) -> dict[str, Any]:
    """What a webhook is sent. docs/alerts.md documents it."""
    return {
        "type": f"billhouse.alert.{alert['kind']}",
        "timestamp": alert["reached_at"].astimezone(UTC).isoformat(),
        "data": {
            **{name: alert[name] for name in ("alert_id", "kind", "customer_id", "subject", "text")},
            "manifest_head": alert.get("manifest_head"),
        },
    }


def _head(alert: dict[str, Any]) -> str:
    """The head of the manifest, for whoever keeps it; a test has none."""
    return f"Head of the manifest: {alert['manifest_head']}" if alert.get("manifest_head") else ""


def _safe_url(url: str, variable: str) -> str:
    try:
        parts = httpx.URL(url)
        is_safe = bool(parts.host) and (parts.scheme == "https" or (parts.scheme == "http" and parts.host in _LOOPBACK))
    except httpx.InvalidURL:
        is_safe = False
    if not is_safe:
        raise BillhouseError(f"{variable} must begin with https:// (http:// only on this machine).", "Correct or unset it.")
    return url


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the part of a password behind a slash is no port; it is not shown, either
        return False


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: str, headers: dict[str, str]) -> None:
    """Send, and look at the answer's status and headers alone: its body is not read."""
    try:
        with bounded_client(url, timeout=_TIMEOUT_SECONDS, seconds=_ANSWER_SECONDS, most_bytes=0) as client:
            answer = client.post(url, content=body.encode(), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # its words may hold the URL, which may hold a secret
        raise UnreachedError(type(error).__name__) from None
    status = answer.status_code
    if 200 <= status < 300:
        return
    if status in _TRY_AGAIN or status >= 500:
        wait = answer.headers.get("retry-after", "")
        raise UnreachedError(f"HTTP {status}", float(wait) if wait.isdecimal() else 0)
    raise RefusedError(f"HTTP {status}")
