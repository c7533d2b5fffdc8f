"""Makes text from outside safe to show: escapes characters that control a terminal, and redacts secrets.

Names, ids, file names and responses of servers may contain escape codes, which move a terminal's cursor or set its title,
bidirectional marks, which reorder text, and zero-width characters, which hide in it. A server may repeat the key that it was
sent. All text that is printed, logged, raised as an error or stored as an alert passes through `plain_text`.
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote, urlsplit

_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape codes start with these
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidirectional, zero-width, line ends
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters without a glyph
    "\ud800-\udfff"  # bytes of a file name that are not UTF-8
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # formatting, tags
)
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\t\n])[{_UNSAFE}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_KNOWN_KEY = re.compile(r"\b((?:sk|rk|pk)_(?:live|test)_|whsec_|bhk_)[A-Za-z0-9*+/=_-]+")
"""Stripe's keys, secrets of webhooks, and keys of `billhouse receive`."""
_TOKEN = re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
REDACTED = "[redacted]"
_SHORTEST_SECRET = 8
"""A shorter text is not treated as a secret: it may be a word of our own messages."""
_SECRET_VARIABLES = ("STRIPE_API_KEY", "BILLHOUSE_ALERT_WEBHOOK_SECRET", "BILLHOUSE_ALERT_SLACK_URL")
_SECRET_ADDRESSES = ("BILLHOUSE_ALERT_SMTP_URL", "DAGSTER_POSTGRES_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Environment variables that contain a URL with a password."""
_secrets: set[str] = set()


def remember_secret(secret: str) -> None:
    """Redact this text from now on in this process. Call it for each key that is read."""
    _secrets.update(_forms(secret))


def redact(text: str) -> str:
    """The text with secrets replaced: keys by their prefix, bearer tokens, secrets from the environment, and remembered ones."""
    known = set(_secrets)
    for name in _SECRET_VARIABLES:
        known |= _forms(os.environ.get(name, ""))
    for name in _SECRET_ADDRESSES:
        known |= _forms(_password(os.environ.get(name) or os.environ.get(name.lower(), "")))
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _TOKEN.sub(rf"\1 {REDACTED}", _KNOWN_KEY.sub(rf"\1{REDACTED}", text))


def plain_text(text: object) -> str:
    r"""Text of several lines, safe to show: control characters as visible escapes (\x1b, \u202e), secrets redacted."""
    return visible(redact(str(text)))


def visible(text: str) -> str:
    """Control characters, except line feeds and tabs, as visible escapes. Does not redact secrets: see `plain_text`."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_IN_LINES.sub(_visible, text)


def plain_line(text: object) -> str:
    """The same as `plain_text`, as one line: line feeds and tabs become visible escapes, too."""
    return _UNSAFE_CHARACTER.sub(_visible, redact(str(text)))


def plain_json(data: object) -> str:
    """One line of ASCII JSON, control characters escaped and secrets redacted. Other types are converted with `str`."""
    return redact(json.dumps(data, default=str)).replace("\x7f", "\\u007f")


def _visible(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    return _SHORT.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _forms(secret: str) -> set[str]:
    """A secret as it is, percent-encoded, and escaped for JSON."""
    secret = secret.strip()
    if len(secret) < _SHORTEST_SECRET:
        return set()
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""


def is_utf_8(text: str) -> bool:
    """Whether a text has none of the characters that stand for bytes of an argument that are not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
