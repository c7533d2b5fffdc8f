"""Bounds on what a server may send over a socket that Python's own libraries read from: bytes, and seconds in all.

A timeout of a socket bounds one read; a server that sends a byte every few seconds stays within it.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any


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
