"""The HTTP client. The tests of feeds, Stripe and alerts break its bounds; here is what an answer and a proxy may look like."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.http_client import bounded_client, environment_proxy, is_network_error
from tests.feeds.fake_api import Answer, serving
from tests.http_servers import HEAD, raw_server

BODY = b'{"id": "cus_1"}'


@contextmanager
def client(address: str, *, proxy: str | None = None, most_bytes: int = 1 << 20) -> Iterator[httpx.Client]:
    with bounded_client(address, timeout=5, seconds=5, most_bytes=most_bytes, proxy=proxy) as bounded:
        yield bounded


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY[:5], mtime=0) + gzip.compress(BODY[5:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
)
def test_a_compressed_answer_is_decompressed(encoding: str, body: bytes) -> None:
    with serving(lambda _: Answer(body, headers={"Content-Encoding": encoding})) as api, client(api.url) as bounded:
        answers = [bounded.get(api.url) for _ in range(2)]
    assert [answer.content for answer in answers] == [BODY] * 2
    assert api.asked[0].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)[:-9]),
        ("gzip", b"no gzip"),
        ("br", BODY),
    ],
)
def test_an_answer_that_cannot_be_decompressed_is_a_network_error(encoding: str, body: bytes) -> None:
    with (
        serving(lambda _: Answer(body, headers={"Content-Encoding": encoding})) as api,
        client(api.url) as bounded,
        pytest.raises(httpx.DecodingError) as failed,
    ):
        bounded.get(api.url)
    assert is_network_error(failed.value), "the request reached the server"


def test_an_answer_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    compressed = {"Content-Encoding": "gzip"}
    for body, headers in ((BODY, {}), (gzip.compress(BODY, mtime=0), compressed)):
        with serving(lambda _, body=body, headers=headers: Answer(body, headers=headers)) as api:  # type: ignore[misc]
            with client(api.url, most_bytes=len(BODY)) as bounded:
                assert bounded.get(api.url).content == BODY
            with (
                client(api.url, most_bytes=len(BODY) - 1) as bounded,
                pytest.raises(httpx.DecodingError, match="more than 14 bytes"),
            ):
                bounded.get(api.url)


def test_a_request_that_cannot_be_written_is_no_network_error() -> None:
    with serving() as api, client(api.url) as bounded, pytest.raises(httpx.LocalProtocolError) as failed:
        bounded.get(api.url, headers={"X-Key": "a\nb"})
    assert not is_network_error(failed.value)
    assert api.asked == []


def test_a_connection_that_is_closed_early_is_a_network_error() -> None:
    with (
        raw_server(lambda: [HEAD + b"Content-Length: 100\r\n\r\n{"]) as address,
        client(f"http://{address}") as bounded,
        pytest.raises(httpx.RemoteProtocolError) as failed,
    ):
        bounded.get(f"http://{address}")
    assert is_network_error(failed.value)


def test_a_proxy_is_asked_for_what_is_elsewhere_and_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert environment_proxy("https://api.example") is None
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    assert environment_proxy("https://api.example") == "http://secure.example:3128"
    assert environment_proxy("http://api.example") == "http://proxy.example:3128"
    for address in ("https://api.internal.example", "http://127.0.0.1:1", "http://localhost", "https://[::1]:2"):
        assert environment_proxy(address) is None


def test_a_request_through_a_proxy_names_the_whole_address() -> None:
    with serving(lambda _: Answer("through")) as proxy, client("http://api.invalid", proxy=proxy.url) as bounded:
        assert bounded.get("http://api.invalid/v1?limit=2").text == "through"
    assert (proxy.asked[0].headers["Host"], proxy.asked[0].query) == ("api.invalid", {"limit": "2"})


@pytest.mark.parametrize(
    "proxy", ["socks5://user:hunter22@proxy.example", "http://user:hunter22@proxy.example:port", "ftp://proxy.example"]
)
def test_a_proxy_that_is_no_http_proxy_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(BillhouseError, match="not an http:// or https:// address") as refused:
        bounded_client("http://api.invalid", timeout=1, seconds=1, most_bytes=1, proxy=proxy)
    assert "hunter22" not in str(refused.value)
