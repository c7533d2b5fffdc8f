"""One HTTP client for everything that is asked over the network, with bounds on what a server may answer.

A timeout of a socket bounds one read. A server that sends a byte every few seconds, or a small compressed answer that expands to
gigabytes, stays within it. Here an answer has a deadline and a maximum size, counted after decompression. h11, which httpcore
parses with, bounds the headers (100 KB).
"""

from __future__ import annotations

import logging
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from pipeline.core.errors import BillhouseError
from pipeline.core.loopback import is_loopback

# Both log the address of each request, which may hold a secret (a Slack webhook's address is one).
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "ConnectError", "ReadError", "WriteError"),
        *("ProxyError", "UnsupportedProtocol", "LocalProtocolError", "RemoteProtocolError"),
    )
}
_DROPPED_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding", b"location")
"""Headers that no longer describe a body once it is read and decompressed, and the address of a redirect: none is followed, and
httpx fails if it cannot parse one."""


class AnswerTooLargeError(httpx.DecodingError):
    """An answer has more bytes than the client reads."""


def bounded_client(
    address: str, *, timeout: float, seconds: float, most_bytes: int, proxy: str | None = None, ca_file: str | None = None
) -> httpx.Client:
    """A client for one server. It takes nothing from the environment but SSL_CERT_FILE and SSL_CERT_DIR, and follows no redirect.

    `ca_file` is a file of certificate authorities to trust instead of certifi's or SSL_CERT_FILE.

    `timeout` is for connecting and for each read or write; an answer has `seconds` in all, from the last byte sent, and
    `most_bytes` once decompressed; with `most_bytes` 0 an answer's body is not read. Requests raise httpx.HTTPError:
    AnswerTooLargeError, a ReadTimeout after the deadline, and httpx's own. Raises BillhouseError for an unusable proxy.
    """
    tls = None
    if urlsplit(address).scheme == "https":
        tls = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    transport = _BoundedTransport(seconds, most_bytes, proxy, tls)
    return httpx.Client(transport=transport, timeout=timeout, trust_env=False, headers={"Accept-Encoding": "gzip"})


def environment_proxy(address: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name for an address; None for this machine itself and for NO_PROXY."""
    parts = urlsplit(address)
    if is_loopback(parts.hostname) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def is_network_error(error: BaseException) -> bool:
    """Whether a request may have reached the server: not one that this machine could not write."""
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return False
    return isinstance(error, httpx.TransportError | httpx.DecodingError)


class _BoundedTransport(httpx.BaseTransport):
    """Sends the requests of an `httpx.Client` over httpcore, and reads each answer within its bounds."""

    def __init__(self, seconds: float, most_bytes: int, proxy: str | None, tls: ssl.SSLContext | None) -> None:
        self._most_bytes = most_bytes
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            proxy=_proxy(proxy) if proxy else None,
            max_connections=None,
            network_backend=_DeadlineBackend(seconds),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._pool.handle_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
            try:
                content = self._content(answer) if self._most_bytes else b""
            finally:
                answer.close()
        except tuple(_ERRORS) as error:
            raise _ERRORS[type(error)](str(error), request=request) from error
        except httpx.DecodingError as error:
            error.request = request
            raise
        headers = [(name, value) for name, value in answer.headers if name.lower() not in _DROPPED_HEADERS]
        return httpx.Response(answer.status, headers=headers, content=content, request=request)

    def _content(self, answer: httpcore.Response) -> bytes:
        encoding = httpx.Headers(answer.headers).get("content-encoding", "identity").strip().lower()
        assert isinstance(answer.stream, Iterable)
        pieces: Iterator[bytes] = iter(answer.stream)
        if encoding in ("gzip", "x-gzip", "deflate"):
            pieces = _decompressed(pieces, self._most_bytes)
        elif encoding != "identity":
            raise httpx.DecodingError(f"an answer in the encoding {encoding!a}, which was not asked for")
        content = bytearray()
        for piece in pieces:
            content += piece
            if len(content) > self._most_bytes:
                raise AnswerTooLargeError(f"an answer of more than {self._most_bytes:,} bytes")
        return bytes(content)

    def close(self) -> None:
        self._pool.close()


def _decompressed(pieces: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
    """The pieces of a gzip or zlib stream, decompressed, each at most one byte longer than an answer may be."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    is_whole = True
    for piece in pieces:
        try:
            while piece:
                if stream.eof:  # gzip allows one stream after another
                    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
                yield stream.decompress(piece, most_bytes + 1)
                piece = stream.unconsumed_tail or stream.unused_data
                is_whole = stream.eof
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error
    if not is_whole:
        raise httpx.DecodingError("a compressed answer that ends too early")


def _proxy(address: str) -> httpcore.Proxy:
    try:
        proxy = httpx.Proxy(address)
        if proxy.url.scheme not in ("http", "https"):
            raise ValueError(proxy.url.scheme)
    except (httpx.InvalidURL, ValueError):  # its text may hold a password
        raise BillhouseError(
            "The proxy that the environment names is not an http:// or https:// address.",
            "Correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or unset it.",
        ) from None
    url = httpcore.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path)
    return httpcore.Proxy(url, auth=proxy.raw_auth)


class _DeadlineBackend(httpcore.SyncBackend):
    """Opens connections of which an answer is read for so many seconds in all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _DeadlineStream(super().connect_tcp(*args, **kwargs), self._seconds)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection. Reads time out so many seconds after the last write, which is when an answer is first waited for."""

    def __init__(self, stream: httpcore.NetworkStream, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise httpcore.ReadTimeout("the answer took too long in all")
        return self._stream.read(max_bytes, seconds_left if timeout is None else min(timeout, seconds_left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        self._deadline = time.monotonic() + self._seconds

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _DeadlineStream(self._stream.start_tls(*args, **kwargs), self._seconds)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
