"""The connection to Stripe: the official library, configured only by the environment.

STRIPE_API_KEY         the secret or restricted key; without one, invoices go to the local emulator
BILLHOUSE_STRIPE_URL   base URL of an emulator that runs elsewhere: https, or http on this machine; default: Stripe's own

Requests are rate-limited (Stripe allows 100 a second in live mode, 25 in test mode). Transient errors are retried with
exponential backoff, under the same idempotency key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.parse import urlsplit

import requests
import requests.exceptions
import stripe
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.loopback import is_local_address, is_loopback, without_proxy
from pipeline.core.network_bounds import BoundedAdapter
from pipeline.core.settings import Settings

KEY_VARIABLE = "STRIPE_API_KEY"
ADDRESS_VARIABLE = "BILLHOUSE_STRIPE_URL"
_EMULATOR_KEY = "sk_test_emulator"
_EMULATOR_REQUESTS_PER_SECOND = 1000
_LIVE_PREFIXES = ("sk_live_", "rk_live_")
_TEST_PREFIXES = ("sk_test_", "rk_test_")
_REQUESTS_PER_SECOND = {"live": 80, "test": 20}
"""A fifth below Stripe's limits: other programs of the same account share them."""
_RESPONSE_SECONDS = 90
"""Limit for one whole response. Stripe itself aborts a request after 80 seconds."""
_RESPONSE_BYTES = 32 << 20
"""Limit for one decompressed response: a page has at most 100 objects."""

_NETWORK_ERRORS = (
    requests.exceptions.Timeout,
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)

Mode = Literal["live", "test"]
Parameters = ParamSpec("Parameters")
Response = TypeVar("Response")


@dataclass(frozen=True)
class RetryPolicy:
    """Timeout and retries of a request to Stripe."""

    timeout_seconds: float = 30
    attempts: int = 7
    longest_pause_seconds: float = 20


@dataclass(frozen=True)
class StripeConnection:
    """A Stripe client, with its mode and retry policy."""

    client: stripe.StripeClient = field(repr=False)
    is_live: bool
    where: str
    """For messages: 'Stripe (test mode)', 'the local emulator'."""
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def mode(self) -> Mode:
        """'live' or 'test'; part of every idempotency key and every record, so that the modes never mix."""
        return "live" if self.is_live else "test"

    def call(self, function: Callable[Parameters, Response], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Response:
        """Call a method of the client; retry transient errors. Raises stripe.StripeError."""
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(self.retry_policy.attempts),
            wait=wait_random_exponential(multiplier=0.5, max=self.retry_policy.longest_pause_seconds),
            reraise=True,
        )
        return retrying(function, *args, **kwargs)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later; not for a failure that Stripe stored under its key and replays."""
    if not isinstance(error, stripe.StripeError) or is_replayed(error):
        return False
    if isinstance(error, stripe.RateLimitError | stripe.APIConnectionError):
        return not is_local_error(error)
    return error.http_status is not None and (error.http_status == 409 or error.http_status >= 500)


def is_local_error(error: BaseException) -> bool:
    """Whether a request was never sent because it cannot be encoded: Stripe's library reports that as a connection error."""
    cause = error.__cause__
    return isinstance(error, stripe.APIConnectionError) and cause is not None and not isinstance(cause, _NETWORK_ERRORS)


def is_replayed(result: Any) -> bool:
    """Whether a response or an error was replayed from the request's idempotency key."""
    headers = result.headers if isinstance(result, stripe.StripeError) else result.last_response.headers
    return any(str(name).lower() == "idempotent-replayed" and value == "true" for name, value in (headers or {}).items())


@contextmanager
def connect(home: Home, *, allow_live: bool = False) -> Iterator[StripeConnection]:
    """A connection to the Stripe account that the environment configures; without a key, to the local emulator.

    Raises BillhouseError for a live key without `allow_live`, and for a malformed key or address.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        with local_emulator(home) as connection:
            yield connection
        return
    is_live = key.startswith(_LIVE_PREFIXES)
    if is_live and not allow_live:
        raise BillhouseError(
            f"{KEY_VARIABLE} is a live key: real customers would get real invoices.",
            "Use a test key (sk_test_... or rk_test_...), or confirm with --live.",
        )
    if not key.startswith(_LIVE_PREFIXES + _TEST_PREFIXES):
        raise BillhouseError(f"{KEY_VARIABLE} does not look like a Stripe key.", "Test keys start with sk_test_ or rk_test_.")
    if allow_live and not is_live:
        raise BillhouseError(f"--live was given, but {KEY_VARIABLE} is a test key.", "Set the live key, or omit --live.")
    mode: Mode = "live" if is_live else "test"
    address = _checked_address(os.environ.get(ADDRESS_VARIABLE, "").strip(), is_live=is_live)
    pace = Settings.load().stripe_requests_per_second or _REQUESTS_PER_SECOND[mode]
    with connection_to(key, address, pace, where=address or f"Stripe ({'LIVE' if is_live else 'test mode'})") as connection:
        yield connection


def _checked_address(address: str, *, is_live: bool) -> str | None:
    """The address, or None for Stripe's own. Raises BillhouseError for an invalid or unencrypted one."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_password = bool(parts.username or parts.password)
    except ValueError:  # unbalanced brackets, or a port that is not a number
        is_address = has_password = False
    if not is_address or has_password:
        raise BillhouseError(
            f"{ADDRESS_VARIABLE} {'contains a user name or a password' if has_password else 'is not a valid URL'}.",
            "Write it as https://host, or unset it to use Stripe itself.",
        )
    if parts.scheme == "http" and (is_live or not is_loopback(parts.hostname)):
        reason = "a live key is never sent unencrypted" if is_live else "the key could be read in transit"
        raise BillhouseError(
            f"{ADDRESS_VARIABLE} is {address}, which is not encrypted: {reason}.",
            "Write https://, or unset it to use Stripe itself. http:// is only for test keys on this machine.",
        )
    return address


@contextmanager
def local_emulator(home: Home) -> Iterator[StripeConnection]:
    """A connection to the home's own emulator; the environment is ignored."""
    from pipeline.stripe_emulator.server import running_emulator

    with (
        running_emulator(home.stripe_emulator) as address,
        connection_to(_EMULATOR_KEY, address, _EMULATOR_REQUESTS_PER_SECOND, where="the local Stripe emulator") as connection,
    ):
        yield connection


@contextmanager
def connection_to(
    key: str, address: str | None, requests_per_second: int, *, where: str, retry_policy: RetryPolicy | None = None
) -> Iterator[StripeConnection]:
    """A connection with this key; `address`: base URL, default Stripe's own."""
    retry_policy = retry_policy or RetryPolicy()
    limiter = Limiter(Rate(requests_per_second, Duration.SECOND))
    try:
        client = stripe.StripeClient(
            key,
            base_addresses={"api": address} if address else {},
            max_network_retries=0,  # StripeConnection.call retries, and knows which requests are safe to retry
            http_client=_RateLimitedClient(limiter, retry_policy.timeout_seconds, is_local=is_local_address(address or "")),
        )
        yield StripeConnection(client, key.startswith(_LIVE_PREFIXES), where, retry_policy)
    finally:
        limiter.close()


class _RateLimitedClient(stripe.RequestsClient):
    """Stripe's HTTP client, rate-limited; requests to this machine use no proxy."""

    def __init__(self, limiter: Limiter, timeout: float, *, is_local: bool) -> None:
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(seconds=_RESPONSE_SECONDS, most_bytes=_RESPONSE_BYTES))
        super().__init__(timeout=timeout, session=without_proxy(session) if is_local else session)
        self._limiter = limiter

    def request(self, *args: Any, **kwargs: Any) -> Any:
        self._limiter.try_acquire("stripe")
        return super().request(*args, **kwargs)
