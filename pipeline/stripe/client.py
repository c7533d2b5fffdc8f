"""The connection to Stripe: the official library, with its key from the environment alone.

STRIPE_API_KEY         the secret or restricted key; without one, invoices go to the local emulator
BILLHOUSE_STRIPE_URL   another base address than Stripe's own, for an emulator that runs elsewhere
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import stripe

from pipeline.errors import BillhouseError
from pipeline.home import Home

KEY_VARIABLE = "STRIPE_API_KEY"
ADDRESS_VARIABLE = "BILLHOUSE_STRIPE_URL"
_EMULATOR_KEY = "sk_test_emulator"
_LIVE_PREFIXES = ("sk_live_", "rk_live_")
_TEST_PREFIXES = ("sk_test_", "rk_test_")
_RETRIES = 4
"""Stripe's library retries what may be retried, with growing pauses, under the same idempotency key."""


@dataclass(frozen=True)
class StripeConnection:
    """A client and what it is connected to."""

    client: stripe.StripeClient = field(repr=False)
    is_live: bool
    where: str
    """For people: 'Stripe (test mode)', 'the local emulator'."""


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
    if key.startswith(_LIVE_PREFIXES) and not allow_live:
        raise BillhouseError(
            f"{KEY_VARIABLE} is a live key: real customers would get real invoices.", "Use a test key, sk_test_... or rk_test_..."
        )
    if not key.startswith(_LIVE_PREFIXES + _TEST_PREFIXES):
        raise BillhouseError(f"{KEY_VARIABLE} does not look like a Stripe key.", "It starts with sk_test_ or rk_test_.")
    is_live = key.startswith(_LIVE_PREFIXES)
    address = os.environ.get(ADDRESS_VARIABLE)
    where = address or f"Stripe ({'LIVE' if is_live else 'test mode'})"
    yield StripeConnection(_client(key, address), is_live, where)


@contextmanager
def local_emulator(home: Home) -> Iterator[StripeConnection]:
    """The home's own emulator, whatever the environment says."""
    from pipeline.stripe.emulator.server import running_emulator

    with running_emulator(home.stripe_emulator) as address:
        yield StripeConnection(_client(_EMULATOR_KEY, address), False, "the local Stripe emulator")


def _client(key: str, address: str | None) -> stripe.StripeClient:
    addresses: stripe._base_address.BaseAddresses = {"api": address} if address else {}
    return stripe.StripeClient(key, base_addresses=addresses, max_network_retries=_RETRIES)
