"""Servers on the loopback address: HTTP with a handler of the test, and raw bytes without any library."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def http_server(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Call `respond` for each GET and POST during the block; yields the base address, http://127.0.0.1:port."""

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            respond(self)

        do_GET = do_POST = handle_request  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def raw_server(response: Callable[[], Iterable[bytes]], *, reads_first: bool = True) -> Iterator[str]:
    """Send the pieces of `response()` on each connection, then close it. Yields the address, 127.0.0.1:port.

    `reads_first`: wait for the first bytes of the client before sending.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed at the end of the test
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=send, args=(connection,), daemon=True).start()

    def send(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client hangs up
            if reads_first:
                connection.recv(1 << 16)
            for piece in response():
                connection.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def dripping(response: bytes, pause: float = 0.05) -> Iterator[bytes]:
    """One byte at a time, each within the timeout of a read."""
    for place in range(len(response)):
        yield response[place : place + 1]
        time.sleep(pause)


def endless(head: bytes, piece: bytes, times: int) -> Iterator[bytes]:
    """A head, then a piece repeated `times` times."""
    yield head
    for _ in range(times):
        yield piece
