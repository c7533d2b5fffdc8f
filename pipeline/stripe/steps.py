"""One step of publishing: written in the outbox before and after, tried again while that may help, told plainly when not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from pipeline.errors import BillhouseError
from pipeline.stripe.client import StripeConnection, is_local_error, is_replayed
from pipeline.stripe.outbox import Outbox, Step

ATTEMPTS = 4
"""How often one document is looked at afresh, after failures that Stripe remembers and only replays."""


class LookAgainError(Exception):
    """Stripe failed, and remembers the failure under the step's key: whether the step was done must be seen first."""


class HopelessError(BillhouseError):
    """What would fail for every document alike, and ends the run."""


def idempotency_key(connection: StripeConnection, *parts: object) -> str:
    """The key of one step: the same for the same parts in any run; test and live never share one.

    A hash, since it is sent as an HTTP header of at most 255 characters, and ids may hold any text.
    """
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
    return f"billhouse/{connection.mode}/{digest}"


class Steps:
    """Takes steps over a connection, and writes them down."""

    def __init__(self, connection: StripeConnection, outbox: Outbox) -> None:
        self.connection = connection
        self.outbox = outbox

    def take(self, document_id: str, step: Step, key: str, function: Callable[..., Any], *args: Any) -> Any:
        """One request that writes; returns Stripe's answer. Raises LookAgainError, or stripe.StripeError for a refusal."""
        self.outbox.record(document_id, step, "intended", key=key)
        try:
            answer = self.connection.call(function, *args, {"idempotency_key": key})
        except stripe.StripeError as error:
            self.outbox.record(document_id, step, "failed", key=key, note=told(error)[:500])
            if is_replayed(error) or (error.http_status or 0) >= 500:
                raise LookAgainError from error
            raise
        self.outbox.record(document_id, step, "done", key=key, stripe_id=str(answer.id))
        return answer

    def until_done(self, advance: Callable[[int], None]) -> None:
        """Call `advance(1)`, and again with the next number as often as Stripe makes us look again.

        Raises BillhouseError when it does so too often, and HopelessError for what would fail for every document.
        """
        with told_plainly():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    advance(attempt)
                except LookAgainError:
                    continue
                return
            raise BillhouseError(f"Stripe failed {ATTEMPTS} times in a row.", "Look at status.stripe.com, and call this again.")


def told(error: Exception) -> str:
    """An error in words for people."""
    return str(getattr(error, "user_message", None) or error)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turns what would fail for every document alike into one message that ends the run."""
    try:
        yield
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise HopelessError(
            f"Stripe refuses the key: {told(error)}",
            "Check STRIPE_API_KEY and its permissions: docs/stripe.md lists those it needs.",
        ) from error
    except stripe.APIConnectionError as error:
        if is_local_error(error):
            raise BillhouseError(
                f"The request to Stripe cannot be written: {error.__cause__!r}.",
                "Correct the customer's name or e-mail address and publish again, or report this as a fault of Billhouse.",
            ) from error
        raise HopelessError(
            "Stripe cannot be reached, or does not answer.", "Call this again later: what is there is continued."
        ) from error
