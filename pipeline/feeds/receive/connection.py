"""A connection whose request heads are bounded in time and bytes, which uvicorn's are not with httptools."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
"""From the first byte of a request, or from the connection, to the end of its headers."""
MOST_CONNECTIONS = 800
"""More are answered with 503."""
MOST_OPEN_CONNECTIONS = 900
"""More are closed at once. Below the 1,024 open files that systems allow a process by default."""
MOST_HEAD_BYTES = 1 << 16
REST_SECONDS = 15.0
"""For the rest of a body whose request was answered before it had arrived; it is not stored."""
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """Answers 408 to a request whose headers do not arrive in time, and 431 to one with too many."""

    _head_bytes = 0
    _is_in_head = False
    """Whether a request has begun and its headers have not ended."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_OPEN_CONNECTIONS:
            transport.abort()
            return
        self._set_timer(HEAD_SECONDS, _TOO_SLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._close(_TOO_LARGE)
        elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._set_timer(HEAD_SECONDS, _TOO_SLOW)  # empty lines, which begin no request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._set_timer(HEAD_SECONDS, _TOO_SLOW)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._set_timer(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._set_timer(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is not None and self.cycle.more_body:
            self._set_timer(REST_SECONDS)

    def _set_timer(self, seconds: float | None, answer: bytes = b"") -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._close, answer)

    def _close(self, answer: bytes) -> None:
        transport: Any = self.transport
        if transport is not None and not transport.is_closing():
            if answer and (self.cycle is None or self.cycle.response_complete):
                transport.write(answer)
            transport.close()
