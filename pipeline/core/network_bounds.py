"""Bounds on what a server may answer: bytes, and seconds in all.

A timeout of a socket bounds one read. A server that sends a byte every few seconds, or a small compressed answer that expands to
gigabytes, keeps to it. Here an answer has a deadline from its first byte awaited to its last, and a number of bytes once
decompressed. Headers are bounded by the standard library (100 of them, 64 KB each).
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

_PIECE_BYTES = 1 << 16


class AnswerTooLargeError(requests.exceptions.ContentDecodingError):
    """An answer has more bytes than are read of one."""


class DeadlineReader(io.RawIOBase):
    """What a socket receives until a deadline (of `time.monotonic`), and at most so many bytes. Raises TimeoutError."""

    def __init__(self, received: socket.SocketIO, connection: socket.socket, deadline: float, most_bytes: float) -> None:
        super().__init__()
        self._received = received
        self._connection = connection
        self._deadline = deadline
        self._bytes_left = most_bytes
        self._timeout = connection.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the answer took too long in all")
        self._connection.settimeout(seconds_left if self._timeout is None else min(self._timeout, seconds_left))
        size = self._received.readinto(buffer)
        self._bytes_left -= size or 0
        if self._bytes_left < 0:
            raise TimeoutError("the answer is too long")
        return size

    def close(self) -> None:
        self._received.close()
        super().close()


def deadline_reader(connection: socket.socket, seconds: float, most_bytes: float = float("inf")) -> io.BufferedReader:
    """A socket's file to read from, for so many seconds from now and so many bytes."""
    received = connection.makefile("rb", buffering=0)
    return io.BufferedReader(DeadlineReader(received, connection, time.monotonic() + seconds, most_bytes))


class BoundedAdapter(HTTPAdapter):
    """Sends the requests of a `requests.Session`; an answer has `seconds` in all, and `most_bytes` once decompressed.

    With `most_bytes` 0 an answer's body is not read. Raises AnswerTooLargeError; what takes too long is a timeout of requests'.
    """

    def __init__(self, *, seconds: float, most_bytes: int, **kwargs: Any) -> None:
        self._pools = _pools(seconds)
        self._most_bytes = most_bytes
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **kwargs)
        try:
            content = self._content(response)
        except AnswerTooLargeError:
            raise
        except (HTTPError, OSError) as error:
            raise requests.exceptions.ConnectionError(error, request=request) from error
        finally:
            response.raw.close()
        # As if `requests` had read it: from here on `response.content` is this, and nothing else is read.
        response._content, response._content_consumed = content, True  # noqa: SLF001
        return response

    def _content(self, response: requests.Response) -> bytes:
        content = bytearray()
        if not self._most_bytes:
            return b""
        for piece in response.raw.stream(_PIECE_BYTES, decode_content=True):
            content += piece
            if len(content) > self._most_bytes:
                raise AnswerTooLargeError(f"an answer of more than {self._most_bytes:,} bytes", request=response.request)
        return bytes(content)


def _pools(seconds: float) -> dict[str, type[HTTPConnectionPool]]:
    """The classes of urllib3 by scheme, with answers that have so many seconds in all."""

    class Answer(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp.close()
            self.fp = deadline_reader(sock, seconds)

    class Connection(HTTPConnection):
        response_class = Answer

    class SecureConnection(HTTPSConnection):
        response_class = Answer

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
