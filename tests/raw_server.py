"""A server on this machine that answers every connection with bytes as they are given, however slowly: no library is between."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def raw_server(answer: Callable[[], Iterable[bytes]], *, reads_first: bool = True) -> Iterator[str]:
    """The address `127.0.0.1:port`. Each connection is sent the pieces of `answer()` once something has come, and then closed."""
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
            for piece in answer():
                connection.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def dripping(whole: bytes, pause: float = 0.05) -> Iterator[bytes]:
    """Byte after byte, each well within the timeout of a read."""
    for place in range(len(whole)):
        yield whole[place : place + 1]
        time.sleep(pause)


def endless(head: bytes, piece: bytes, times: int) -> Iterator[bytes]:
    """A head, and then a piece over and over."""
    yield head
    for _ in range(times):
        yield piece
