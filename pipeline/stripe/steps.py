"""One step of publishing: recorded in the outbox before and after the request, retried while that can help."""

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
from pipeline.stripe.outbox import Outbox, PublishStep

ATTEMPTS = 4
"""How often a document is compared with Stripe again after an ambiguous failure."""
_REFUSALS = range(400, 429)


class AmbiguousOutcomeError(Exception):
    """Stripe failed and stored the failure under the step's key: the step may have been performed or not."""


class FatalStripeError(BillhouseError):
    """An error that every document would meet; the run ends."""


class StripeFailedError(BillhouseError):
    """Stripe itself failed for a document, after all retries."""


def idempotency_key(connection: StripeConnection, *parts: object) -> str:
    """The key of one step: equal parts give the same key in any run; test and live mode never share one.

    A hash, because the key is sent as an HTTP header of at most 255 characters and ids may hold any text.
    """
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
    return f"billhouse/{connection.mode}/{digest}"


class StepRunner:
    """Performs steps over a connection and records them in the outbox."""

    def __init__(self, connection: StripeConnection, outbox: Outbox) -> None:
        self.connection = connection
        self.outbox = outbox

    def run(self, document_id: str, step: PublishStep, key: str, function: Callable[..., Any], *args: Any) -> Any:
        """Send one request that writes; return Stripe's response.

        Raises AmbiguousOutcomeError, or stripe.StripeError when Stripe refuses the request.
        """
        self.outbox.record(document_id, step, "intended", key=key)
        try:
            response = self.connection.call(function, *args, {"idempotency_key": key})
        except stripe.StripeError as error:
            self.outbox.record(document_id, step, "failed", key=key, note=error_message(error)[:500])
            if is_replayed(error) or (error.http_status or 0) >= 500:
                raise AmbiguousOutcomeError from error
            raise
        self.outbox.record(document_id, step, "done", key=key, stripe_id=str(response.id))
        return response

    def run_until_done(self, advance: Callable[[int], None]) -> None:
        """Call `advance(1)`; after each AmbiguousOutcomeError call it again with the next attempt number.

        Raises StripeFailedError after ATTEMPTS attempts, and FatalStripeError for an error that every document would meet.
        """
        with translate_stripe_errors():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    advance(attempt)
                except AmbiguousOutcomeError:
                    continue
                return
            raise StripeFailedError(f"Stripe failed {ATTEMPTS} times in a row.", "Check status.stripe.com, then run this again.")


def error_message(error: Exception) -> str:
    """The message of an error, without a key that Stripe may have repeated in it."""
    return plain_text(getattr(error, "user_message", None) or error)


@contextmanager
def translate_stripe_errors() -> Iterator[None]:
    """Raise errors of the key, the network and Stripe itself as BillhouseError; a refused request passes unchanged."""
    try:
        yield
    except stripe.StripeError as error:
        if (error.http_status or 0) in _REFUSALS and not isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
            raise
        raise stripe_failure(error) from error


def stripe_failure(error: Exception) -> BillhouseError:
    """The BillhouseError for an error of Stripe or of the network; a FatalStripeError if every document would meet it."""
    status = getattr(error, "http_status", None) or 0
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return FatalStripeError(
            f"Stripe refuses the key: {error_message(error)}",
            "Check STRIPE_API_KEY and its permissions; docs/operate/stripe.md lists the required ones.",
        )
    if is_local_error(error):
        return BillhouseError(
            f"The request to Stripe cannot be encoded: {error.__cause__!r}.",
            "Correct the customer's name or e-mail address and publish again, or report this as a bug in Billhouse.",
        )
    if isinstance(error, stripe.APIConnectionError):
        return FatalStripeError(
            f"Stripe cannot be reached{_through_proxy()}, or does not answer.",
            "Check the network, then run this again; it continues where it stopped.",
        )
    if status == 429:
        return FatalStripeError(
            "Stripe has had too many requests (429).",
            "Run this again later, or lower BILLHOUSE_STRIPE_REQUESTS_PER_SECOND.",
        )
    if status >= 500 or not status:
        return StripeFailedError(
            f"Stripe failed ({status or 'without a status'}) after all retries: {error_message(error)}",
            "Check status.stripe.com, then run this again; it continues where it stopped.",
        )
    return BillhouseError(
        f"Stripe refused a request ({status}): {error_message(error)}", "Correct the cause, then run this again."
    )


def _through_proxy() -> str:
    name = next((name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if os.environ.get(name)), None)
    return f" through the proxy in {name}" if name else ""


register_error_converter("stripe", stripe_failure)
