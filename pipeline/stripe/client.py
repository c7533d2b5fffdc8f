"""The connection to Stripe: the official library, with its key from the environment alone.

STRIPE_API_KEY         the secret or restricted key; without one, invoices go to the local emulator
BILLHOUSE_STRIPE_URL   another base address than Stripe's own, for an emulator that runs elsewhere: https, or on this machine

Every request waits for its turn (Stripe takes 100 a second live, 25 in test mode), and what may be repeated is repeated with
growing pauses, under the same idempotency key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.parse import urlsplit

import stripe
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.http_client import bounded_client, environment_proxy, is_network_error
from pipeline.core.loopback import is_loopback
from pipeline.core.settings import Settings

KEY_VARIABLE = "STRIPE_API_KEY"
ADDRESS_VARIABLE = "BILLHOUSE_STRIPE_URL"
_EMULATOR_KEY = "sk_test_emulator"
_EMULATOR_REQUESTS_PER_SECOND = 1000
_LIVE_PREFIXES = ("sk_live_", "rk_live_")
_TEST_PREFIXES = ("sk_test_", "rk_test_")
_REQUESTS_PER_SECOND = {"live": 80, "test": 20}
"""A fifth under Stripe's limits, which other programs of the same account share."""
_ANSWER_SECONDS = 90
"""For one answer in all. Stripe itself gives up on a request after 80."""
_ANSWER_BYTES = 32 << 20
"""For one answer, once decompressed: a page has 100 objects at most."""

Mode = Literal["live", "test"]
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How long to wait for Stripe, and how often to ask again."""

    timeout_seconds: float = 30
    attempts: int = 7
    longest_pause_seconds: float = 20


@dataclass(frozen=True)
class StripeConnection:
    """A client and what it is connected to."""

    client: stripe.StripeClient = field(repr=False)
    is_live: bool
    where: str
    """For people: 'Stripe (test mode)', 'the local emulator'."""
    patience: Patience = field(default_factory=Patience)

    @property
    def mode(self) -> Mode:
        """Test and live never mix: it is part of every key and every record."""
        return "live" if self.is_live else "test"

    def call(self, function: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Call a method of the client; what is transient is tried again. Raises stripe.StripeError."""
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(self.patience.attempts),
            wait=wait_random_exponential(multiplier=0.5, max=self.patience.longest_pause_seconds),
            reraise=True,
        )
        return retrying(function, *args, **kwargs)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: not what Stripe remembers under its key and only replays."""
    if not isinstance(error, stripe.StripeError) or is_replayed(error):
        return False
    if isinstance(error, stripe.RateLimitError | stripe.APIConnectionError):
        return not is_local_error(error)
    return error.http_status is not None and (error.http_status == 409 or error.http_status >= 500)


def is_local_error(error: BaseException) -> bool:
    """Whether a request never left this machine, since it cannot be written: Stripe's library calls that a connection error."""
    cause = error.__cause__
    return isinstance(error, stripe.APIConnectionError) and cause is not None and not is_network_error(cause)


def is_replayed(told: Any) -> bool:
    """Whether an answer, or an error, is one that Stripe remembered under the request's idempotency key."""
    headers = told.headers if isinstance(told, stripe.StripeError) else told.last_response.headers
    return any(str(name).lower() == "idempotent-replayed" and value == "true" for name, value in (headers or {}).items())


@contextmanager
def connect(home: Home, *, allow_live: bool = False) -> Iterator[StripeConnection]:
    """Stripe, as the environment says; without a key the local emulator, for the time of the block.

    Raises BillhouseError for a live key that was not explicitly allowed, and for what is no key.
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
            "Use a test key (sk_test_... or rk_test_...); or, if that is what you want, say --live.",
        )
    if not key.startswith(_LIVE_PREFIXES + _TEST_PREFIXES):
        raise BillhouseError(f"{KEY_VARIABLE} does not look like a Stripe key.", "It starts with sk_test_ or rk_test_.")
    if allow_live and not is_live:
        raise BillhouseError(f"--live was said, and {KEY_VARIABLE} is a test key.", "Set the live key, or leave --live out.")
    mode: Mode = "live" if is_live else "test"
    address = _checked_address(os.environ.get(ADDRESS_VARIABLE, "").strip(), is_live=is_live)
    pace = Settings.load().stripe_requests_per_second or _REQUESTS_PER_SECOND[mode]
    with connection_to(key, address, pace, where=address or f"Stripe ({'LIVE' if is_live else 'test mode'})") as connection:
        yield connection


def _checked_address(address: str, *, is_live: bool) -> str | None:
    """The address, or None for Stripe's own. Raises BillhouseError for one at which the key could be read on the way."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_password = bool(parts.username or parts.password)
    except ValueError:  # brackets that do not close, a port that is no number
        is_address = has_password = False
    if not is_address or has_password:
        raise BillhouseError(
            f"{ADDRESS_VARIABLE} is no address{' that may be shown: it holds a name or a password' if has_password else ''}.",
            "Write it as https://host, or unset it for Stripe itself.",
        )
    if parts.scheme == "http" and (is_live or not is_loopback(parts.hostname)):
        what = "a live key is never sent unencrypted" if is_live else "everybody on the way could read the key"
        raise BillhouseError(
            f"{ADDRESS_VARIABLE} is {address}, which is not encrypted: {what}.",
            "Write https://, or unset it for Stripe itself. http:// is for test keys on this machine alone.",
        )
    return address


@contextmanager
def local_emulator(home: Home) -> Iterator[StripeConnection]:
    """The home's own emulator, whatever the environment says."""
    from pipeline.stripe_emulator.server import running_emulator

    with (
        running_emulator(home.stripe_emulator) as address,
        connection_to(_EMULATOR_KEY, address, _EMULATOR_REQUESTS_PER_SECOND, where="the local Stripe emulator") as connection,
    ):
        yield connection


@contextmanager
def connection_to(
    key: str, address: str | None, requests_per_second: int, *, where: str, patience: Patience | None = None
) -> Iterator[StripeConnection]:
    """A connection with this key; `address`: another base address than Stripe's own."""
    patience = patience or Patience()
    limiter = Limiter(Rate(requests_per_second, Duration.SECOND))
    http_client = _PacedClient(limiter, address or stripe.DEFAULT_API_BASE, patience.timeout_seconds)
    try:
        client = stripe.StripeClient(
            key,
            base_addresses={"api": address} if address else {},
            max_network_retries=0,  # `StripeConnection.call` repeats, and knows what may be repeated
            http_client=http_client,
        )
        yield StripeConnection(client, key.startswith(_LIVE_PREFIXES), where, patience)
    finally:
        http_client.close()
        limiter.close()


class _PacedClient(stripe.HTTPClient):
    """Sends the requests of Stripe's library; each waits for its turn, and its answer is bounded."""

    name = "httpx"

    def __init__(self, limiter: Limiter, address: str, timeout: float) -> None:
        super().__init__()
        self._limiter = limiter
        self._client = bounded_client(
            address,
            timeout=timeout,
            seconds=_ANSWER_SECONDS,
            most_bytes=_ANSWER_BYTES,
            proxy=environment_proxy(address),
            ca_file=stripe.ca_bundle_path,
        )

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> Any:  # tuple[bytes, int, Mapping[str, str]], as the library's own clients: it decodes the body
        self._limiter.try_acquire("stripe")
        try:
            answer = self._client.request(method, url, headers=headers, content=post_data)
        except Exception as error:  # as the library's own clients do: also a ValueError for what cannot be written
            message = f"Unexpected error communicating with Stripe: {type(error).__name__}."
            raise stripe.APIConnectionError(message) from error  # type: ignore[no-untyped-call]
        return answer.content, answer.status_code, answer.headers

    def close(self) -> None:
        self._client.close()
