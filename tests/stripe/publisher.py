"""A publisher in its own process that kills itself at a chosen request; and fault injection in the emulator."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.stripe.client import RetryPolicy, StripeConnection, connection_to
from pipeline.stripe.publish import publish_period
from pipeline.stripe.publish_result import PublishResult

KEY = "sk_test_emulator"
QUICK = RetryPolicy(timeout_seconds=0.6, attempts=4, longest_pause_seconds=0.02)
When = Literal["before", "after"]


@contextmanager
def quick_connection(address: str) -> Iterator[StripeConnection]:
    """A connection with short timeouts."""
    with connection_to(KEY, address, 5000, where="the emulator", retry_policy=QUICK) as connection:
        yield connection


def publish(home: Path, period: str, address: str) -> PublishResult:
    """Publish a month to the emulator at an address."""
    with quick_connection(address) as connection:
        return publish_period(Home(home), BillingPeriod.parse(period), client=connection)


def publish_and_kill(home: Path, period: str, address: str, at: int, when: When) -> None:
    """Publish, and kill this process at the n-th writing request: before it is sent, or after its response or failure."""
    with quick_connection(address) as connection:
        kill_at(connection, at, when)
        publish_period(Home(home), BillingPeriod.parse(period), client=connection)


def kill_at(connection: StripeConnection, at: int, when: When) -> None:
    """Send SIGKILL to this process at the n-th writing request."""
    requestor: Any = connection.client._requestor
    real, lock, count = requestor.request, threading.Lock(), 0

    def request(method: str, *words: Any, **more: Any) -> Any:
        nonlocal count
        if method == "get":
            return real(method, *words, **more)
        with lock:
            count += 1
            is_last = count == at
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return real(method, *words, **more)
        finally:
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

    requestor.request = request


def inject_faults(address: str, faults: list[dict[str, Any]]) -> None:
    """Set the faults of the emulator's next requests."""
    post(f"{address}/emulator/faults", json.dumps(faults))


def reset(address: str) -> None:
    """Delete all objects of the emulator."""
    post(f"{address}/emulator/reset", "")


def post(url: str, body: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers, method="POST"), timeout=10):
        pass
