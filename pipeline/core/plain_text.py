"""Text from outside, made safe to show: no character that acts on a terminal, and no secret.

Names, ids, file names and answers of servers may hold escape codes, which move a terminal's cursor or set its title,
bidirectional marks, which show text in another order than it has, and characters without width, which hide in it. A server may
repeat the key that it was sent. Whatever is printed, logged, raised as an error or kept as an alert goes through `plain_text`.
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote, urlsplit

_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape codes begin with these
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidirectional marks, no width, line ends
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters that show nothing
    "\ud800-\udfff"  # what a file name holds that is no UTF-8
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # formatting, tags
)
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\t\n])[{_UNSAFE}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_STRIPE_KEY = re.compile(r"\b((?:sk|rk|pk)_(?:live|test)_|whsec_)[A-Za-z0-9*+/=_-]+")
_TOKEN = re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
REDACTED = "[redacted]"
_SHORTEST_SECRET = 8
"""A shorter one is no secret, and may be a word of our own messages."""
_SECRET_VARIABLES = ("STRIPE_API_KEY", "BILLHOUSE_ALERT_WEBHOOK_SECRET", "BILLHOUSE_ALERT_SLACK_URL")
_SECRET_ADDRESSES = ("BILLHOUSE_ALERT_SMTP_URL", "DAGSTER_POSTGRES_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Variables that hold an address with a password."""
_secrets: set[str] = set()


def remember_secret(secret: str) -> None:
    """Never show this text from now on, in this process: a key that was read from somewhere."""
    _secrets.update(_forms(secret))


def redact(text: str) -> str:
    """The text without secrets: keys of Stripe, bearer tokens, and every secret that is set or was remembered."""
    known = set(_secrets)
    for name in _SECRET_VARIABLES:
        known |= _forms(os.environ.get(name, ""))
    for name in _SECRET_ADDRESSES:
        known |= _forms(_password(os.environ.get(name) or os.environ.get(name.lower(), "")))
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _TOKEN.sub(rf"\1 {REDACTED}", _STRIPE_KEY.sub(rf"\1{REDACTED}", text))


def plain_text(text: object) -> str:
    r"""Text in lines, safe to show: characters that act on a terminal as visible escapes (\x1b, \u202e), no secret."""
    return visible(redact(str(text)))


def visible(text: str) -> str:
    """Characters that act on a terminal as visible escapes, but for line ends and tabs. Secrets stay: see `plain_text`."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_IN_LINES.sub(_visible, text)


def plain_line(text: object) -> str:
    """The same as one line: line ends and tabs become visible escapes, too."""
    return _UNSAFE_CHARACTER.sub(_visible, redact(str(text)))


def plain_json(data: object) -> str:
    """One line of JSON in ASCII, with every control character escaped, and no secret. What JSON does not know becomes text."""
    return redact(json.dumps(data, default=str)).replace("\x7f", "\\u007f")


def _visible(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    return _SHORT.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it stands in addresses and in JSON."""
    secret = secret.strip()
    if len(secret) < _SHORTEST_SECRET:
        return set()
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""
