"""What answers in Stripe's place may drip or be endless: a request gives up, and says that the connection failed."""

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
ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "dripping": lambda: dripping(HEAD + b"Content-Length: %d\r\n\r\n" % len(CUSTOMER) + CUSTOMER),
    "endless": lambda: endless(HEAD + b"\r\n", b" " * (1 << 20), 100),
    "compressed": lambda: [HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_breaks_a_bound_is_a_failed_connection(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_RESPONSE_SECONDS", 0.3 if answer == "dripping" else 60)
    retry_policy = RetryPolicy(timeout_seconds=5, attempts=1)
    with (
        raw_server(ANSWERS[answer]) as address,
        connection_to("sk_test_1", f"http://{address}", 100, where="here", retry_policy=retry_policy) as connection,
        pytest.raises(stripe.APIConnectionError) as failed,
    ):
        connection.call(connection.client.v1.customers.retrieve, "cus_1")
    assert not is_local_error(failed.value), "it may have been done: whether it was is looked up again"
