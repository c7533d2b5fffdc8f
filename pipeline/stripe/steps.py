"""One step of publishing: written in the outbox before and after, tried again while that may help, told plainly when not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import register_error_converter
from pipeline.core.plain_text import plain_text
from pipeline.stripe.client import StripeConnection, is_local_error, is_replayed
from pipeline.stripe.outbox import Outbox, Step

ATTEMPTS = 4
"""How often one document is looked at afresh, after failures that Stripe remembers and only replays."""
_REFUSALS = range(400, 429)


class LookAgainError(Exception):
    """Stripe failed, and remembers the failure under the step's key: whether the step was done must be seen first."""


class HopelessError(BillhouseError):
    """What would fail for every document alike, and ends the run."""


class StripeFailedError(BillhouseError):
    """Stripe itself failed for a document, however often it was asked."""


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
            raise StripeFailedError(
                f"Stripe failed {ATTEMPTS} times in a row.", "Look at status.stripe.com, and call this again."
            )


def told(error: Exception) -> str:
    """An error in words for people, without a key that Stripe may have repeated in it."""
    return plain_text(getattr(error, "user_message", None) or error)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turns what is no document's own (the key, the network, Stripe itself) into a message; a refused request passes."""
    try:
        yield
    except stripe.StripeError as error:
        if (error.http_status or 0) in _REFUSALS and not isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
            raise
        raise stripe_failure(error) from error


def stripe_failure(error: Exception) -> BillhouseError:
    """What Stripe, or the way to it, made fail: a HopelessError where it would fail for every document alike."""
    status = getattr(error, "http_status", None) or 0
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return HopelessError(
            f"Stripe refuses the key: {told(error)}",
            "Check STRIPE_API_KEY and its permissions: docs/stripe.md lists those it needs.",
        )
    if is_local_error(error):
        return BillhouseError(
            f"The request to Stripe cannot be written: {error.__cause__!r}.",
            "Correct the customer's name or e-mail address and publish again, or report this as a fault of Billhouse.",
        )
    if isinstance(error, stripe.APIConnectionError):
        return HopelessError(
            f"Stripe cannot be reached{_through_proxy()}, or does not answer.",
            "Check the network, and call this again later: what is there is continued.",
        )
    if status == 429:
        return HopelessError(
            "Stripe has had too many requests (429).",
            "Call this again later, or ask more slowly: BILLHOUSE_STRIPE_REQUESTS_PER_SECOND.",
        )
    if status >= 500 or not status:
        return StripeFailedError(
            f"Stripe failed ({status or 'without a status'}), however often it was asked: {told(error)}",
            "Look at status.stripe.com, and call this again later: what is there is continued.",
        )
    return BillhouseError(f"Stripe refused a request ({status}): {told(error)}", "Put that right, and call this again.")


def _through_proxy() -> str:
    name = next((name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if os.environ.get(name)), None)
    return f" through the proxy in {name}" if name else ""


register_error_converter("stripe", stripe_failure)
