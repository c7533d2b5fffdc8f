"""The channels that alerts are sent to: a signed webhook, a Slack-compatible URL, e-mail."""

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
from pipeline.core.loopback import is_loopback
from pipeline.core.network_bounds import deadline_reader
from pipeline.core.settings import Settings

_TIMEOUT_SECONDS = 10
_RESPONSE_SECONDS = 20
"""Limit for one whole response: a receiver that sends slowly must not delay other channels and later alerts."""
_MAIL_SECONDS = 60
_MAIL_BYTES = 1 << 20
"""Limit for all replies of a mail server to one message."""
_RETRYABLE = (408, 425, 429)
"""The 4xx statuses that a later attempt can overcome."""


class RefusedError(Exception):
    """The receiver refused this message."""


class UnreachedError(Exception):
    """The receiver could not be reached, or could not accept the message now."""

    def __init__(self, detail: str, retry_after_seconds: float = 0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Channel(ABC):
    """A destination of alerts."""

    name: str

    @abstractmethod
    def send(self, alert: dict[str, Any]) -> None:
        """Send one alert, once. Raises RefusedError or UnreachedError."""


@dataclass(frozen=True)
class WebhookChannel(Channel):
    """POSTs JSON, signed as standardwebhooks.com specifies. Receivers recognize a repeated message by `webhook-id`."""

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
    """POSTs {"text"} to an incoming webhook of Slack, Mattermost or a compatible service. The URL is a secret."""

    url: str = field(repr=False)
    name: str = "slack"

    def send(self, alert: dict[str, Any]) -> None:
        text = f"*{_escaped(alert['subject'])}*\n{_escaped(alert['text'])}\n{alert['alert_id']}\n{_head_line(alert)}"
        _post(self.url, json.dumps({"text": text}), {"content-type": "application/json"})


class _MailServer(smtplib.SMTP):
    """An SMTP connection with a limit on the time and the bytes of all replies."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._until = time.monotonic() + _MAIL_SECONDS
        super().__init__(*args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:  # after connecting, and again after STARTTLS
            self.file = deadline_reader(self.sock, self._until - time.monotonic(), _MAIL_BYTES)
        return super().getreply()


class _SecureMailServer(_MailServer, smtplib.SMTP_SSL):
    pass


@dataclass(frozen=True)
class EmailChannel(Channel):
    """Sends by SMTP: smtps://, or smtp:// with STARTTLS if the server offers it. A password is only sent encrypted."""

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
        source = f"{alert['kind']}, {alert['reached_at']:%Y-%m-%d %H:%M} UTC, {alert['alert_id']}"
        message.set_content(f"{alert['text']}\n\n{source}\n{_head_line(alert)}\n")
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
            elif parts.password and not is_loopback(host):
                server.close()
                raise smtplib.SMTPNotSupportedError("no STARTTLS, and a password is not sent unencrypted")
        if parts.username and parts.password:
            server.login(unquote(parts.username), unquote(parts.password))
        return server


def configured_channels(settings: Settings | None = None) -> list[Channel]:
    """The channels that the environment configures. Raises BillhouseError naming the invalid variable."""
    settings = settings or Settings.load()
    channels: list[Channel] = []
    if settings.alert_webhook_url:
        if settings.alert_webhook_secret is None:
            raise BillhouseError(
                "BILLHOUSE_ALERT_WEBHOOK_URL is set, but BILLHOUSE_ALERT_WEBHOOK_SECRET is not.",
                "Set the secret shared with the receiver: whsec_ and at least 24 random bytes in base64.",
            )
        secret = settings.alert_webhook_secret.get_secret_value()
        try:
            Webhook(secret)
        except Exception:
            raise BillhouseError(
                "BILLHOUSE_ALERT_WEBHOOK_SECRET is not a Standard Webhooks secret.",
                "Set whsec_ and at least 24 random bytes in base64.",
            ) from None
        channels.append(WebhookChannel(_safe_url(settings.alert_webhook_url, "BILLHOUSE_ALERT_WEBHOOK_URL"), secret))
    if settings.alert_slack_url is not None:
        channels.append(SlackChannel(_safe_url(settings.alert_slack_url.get_secret_value(), "BILLHOUSE_ALERT_SLACK_URL")))
    if settings.alert_smtp_url is not None:
        server = settings.alert_smtp_url.get_secret_value()
        if not _is_mail_server(server):
            raise BillhouseError(
                "BILLHOUSE_ALERT_SMTP_URL is not a mail server URL.", "Write it as smtp://user:password@host:587."
            )
        recipients = tuple(one.strip() for one in settings.alert_email_to.split(",") if one.strip())
        if not recipients or any("\n" in one or "@" not in one for one in (*recipients, settings.alert_email_from)):
            raise BillhouseError(
                "BILLHOUSE_ALERT_EMAIL_TO and BILLHOUSE_ALERT_EMAIL_FROM must be e-mail addresses.",
                "Separate several addresses with commas.",
            )
        channels.append(EmailChannel(server, settings.alert_email_from, recipients))
    return channels


def payload(alert: dict[str, Any]) -> dict[str, Any]:
    """The JSON body of a webhook, as docs/operate/alerts.md documents it."""
    return {
        "type": f"billhouse.alert.{alert['kind']}",
        "timestamp": alert["reached_at"].astimezone(UTC).isoformat(),
        "data": {
            **{name: alert[name] for name in ("alert_id", "kind", "customer_id", "subject", "text")},
            "manifest_head": alert.get("manifest_head"),
        },
    }


def _head_line(alert: dict[str, Any]) -> str:
    """The head of the manifest, so that receivers can archive it; a test message has none."""
    return f"Head of the manifest: {alert['manifest_head']}" if alert.get("manifest_head") else ""


def _safe_url(url: str, variable: str) -> str:
    try:
        parts = httpx.URL(url)
        is_safe = bool(parts.host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.host)))
    except httpx.InvalidURL:
        is_safe = False
    if not is_safe:
        raise BillhouseError(f"{variable} must begin with https:// (http:// only for this machine).", "Correct or unset it.")
    return url


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a slash in a password makes the rest look like a port; the value is not shown
        return False


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: str, headers: dict[str, str]) -> None:
    """Send a request and read only the status and headers of the response, not its body."""
    try:
        with bounded_client(url, timeout=_TIMEOUT_SECONDS, seconds=_RESPONSE_SECONDS, most_bytes=0) as client:
            response = client.post(url, content=body.encode(), headers=headers)
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        ValueError,
        OSError,  # an unusable SSL_CERT_FILE
    ) as error:  # its message may contain the URL, a secret
        raise UnreachedError(type(error).__name__) from None
    status = response.status_code
    if 200 <= status < 300:
        return
    if status in _RETRYABLE or status >= 500:
        wait = response.headers.get("retry-after", "")
        raise UnreachedError(f"HTTP {status}", float(wait) if wait.isdecimal() else 0)
    raise RefusedError(f"HTTP {status}")
