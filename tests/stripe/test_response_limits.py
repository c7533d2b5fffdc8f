"""A response that is too slow, too long or expands too much is a failed connection."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable

import pytest
import stripe

from pipeline.stripe import client
from pipeline.stripe.client import RetryPolicy, connection_to, is_local_error
from tests.http_servers import HEAD, dripping, endless, raw_server

CUSTOMER = b'{"id": "cus_1", "object": "customer"}'
BOMB = gzip.compress(b'{"id": "' + b"x" * (64 << 20) + b'"}', 1)
RESPONSES: dict[str, Callable[[], Iterable[bytes]]] = {
    "dripping": lambda: dripping(HEAD + b"Content-Length: %d\r\n\r\n" % len(CUSTOMER) + CUSTOMER),
    "endless": lambda: endless(HEAD + b"\r\n", b" " * (1 << 20), 100),
    "compressed": lambda: [HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB],
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_response_that_exceeds_a_limit_is_a_failed_connection(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_RESPONSE_SECONDS", 0.3 if kind == "dripping" else 60)
    retry_policy = RetryPolicy(timeout_seconds=5, attempts=1)
    with (
        raw_server(RESPONSES[kind]) as address,
        connection_to("sk_test_1", f"http://{address}", 100, where="here", retry_policy=retry_policy) as connection,
        pytest.raises(stripe.APIConnectionError) as failed,
    ):
        connection.call(connection.client.v1.customers.retrieve, "cus_1")
    assert not is_local_error(failed.value), "the request may have been performed, so the outcome must be looked up"
