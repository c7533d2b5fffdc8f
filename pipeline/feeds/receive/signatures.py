"""Signed webhooks, as an alternative to a key: Standard Webhooks, and E2B's own signature.

Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over id, timestamp and body. The timestamp may be five minutes off, which is
the library's rule, so a recorded request cannot be sent again later. Other headers are not signed: a signed CloudEvent in binary
mode, whose attributes are headers, is refused (app.py).

E2B (repository e2b-dev/docs, docs/sandbox/lifecycle-events-webhooks.mdx at 24d4916): `e2b-signature` is the SHA-256 of secret and
body, in base64 with - and _, without padding. It has no timestamp, so it cannot show that a request is a replay: a replayed event
has the id of the first one, and landing drops it. A hash of secret and body can be extended without the secret, but only
by a byte 0x80 behind the body, which is not UTF-8 there: such a body is refused (bodies.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.core.errors import WrongUsageError
from pipeline.feeds.environment import secret_of_feed

_FEWEST_CHARACTERS = 16
"""Of E2B's secret, which people choose: a shorter one could be found by trying."""


class Scheme(StrEnum):
    """How a webhook is signed."""

    STANDARD = "standard"
    E2B = "e2b"


@dataclass(frozen=True)
class Signer:
    """A webhook's secret, and the kind or source that it may post to."""

    scheme: Scheme
    name: str
    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        """For its rate limit."""
        return f"{self.scheme} {self.name}"

    def has_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the headers (names in lower case) have a valid and current signature of the body as it was sent."""
        return _is_standard(self.secret, headers, body) if self.scheme is Scheme.STANDARD else _is_e2b(self.secret, headers, body)


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request has a signature of any scheme, valid or not."""
    return "webhook-signature" in headers or "e2b-signature" in headers


def signer_of(scheme: Scheme, option: str) -> Signer:
    """The signer of an option NAME=VARIABLE. Raises WrongUsageError if it is malformed or the variable has no usable secret."""
    name, separator, variable = option.partition("=")
    if not (name and separator and variable):
        raise WrongUsageError(
            "A webhook is written as NAME=VARIABLE.",
            "For example e2b-events=E2B_WEBHOOK_SECRET, with the secret in that variable.",
        )
    secret = secret_of_feed(variable, "the webhook's secret")
    if scheme is Scheme.STANDARD:
        try:
            Webhook(secret)
        except Exception:  # anything that the library's base64 raises; its text may contain the secret
            raise WrongUsageError(
                f"{variable} has no secret of Standard Webhooks.", "It is whsec_ and base64, as its sender shows it."
            ) from None
    elif len(secret) < _FEWEST_CHARACTERS:
        raise WrongUsageError(
            f"The secret in {variable} has fewer than {_FEWEST_CHARACTERS} characters.", "Register the webhook with a longer one."
        )
    return Signer(scheme, name, secret)


def signers_of(standard: Iterable[str], e2b: Iterable[str]) -> list[Signer]:
    """The signers of the command line's options; several of one name are all valid, as while a secret is exchanged."""
    return [
        *(signer_of(Scheme.STANDARD, option) for option in standard),
        *(signer_of(Scheme.E2B, option) for option in e2b),
    ]


def _is_standard(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError, OverflowError):  # also for base64 and UTF-8 that are none
        return False
    return True


def _is_e2b(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    if headers.get("e2b-signature-version", "v1") != "v1":
        return False
    expected = base64.urlsafe_b64encode(hashlib.sha256(secret.encode() + body).digest()).rstrip(b"=")
    return hmac.compare_digest(expected, headers.get("e2b-signature", "").encode())
