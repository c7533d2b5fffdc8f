"""A server of the tests: `billhouse receive` in a thread, on a free loopback port, with short times."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.feeds.receive.keys import add_key
from pipeline.feeds.receive.server import open_server
from pipeline.feeds.receive.signatures import Signer

SECONDS = 20
"""The bound of every wait."""
JSON = "application/json"
LINES = "application/x-ndjson"


@dataclass
class Receiving:
    """A running server, and a client with a key for usage and e2b-events."""

    home: Home
    address: str
    key: str
    client: httpx.Client
    stop: Callable[[], None]
    """As SIGTERM does."""

    def post(self, content: bytes | str, name: str = "usage", content_type: str = JSON, **headers: str) -> httpx.Response:
        """POST a body with the key. Header names are written with _ for -; '' omits a header."""
        sent = {"Content-Type": content_type, "Authorization": f"Bearer {self.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value}
        return self.client.post(f"/v1/{name}", content=content, headers=sent)

    def connect(self) -> socket.socket:
        """A connection for raw bytes."""
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        return socket.create_connection((parts.hostname, parts.port or 0), timeout=SECONDS)

    def lines(self, name: str = "usage") -> list[str]:
        """The rows in the inbox, as their text."""
        return [line for path in waiting(self.home, name) for line in path.read_text(encoding="utf-8").splitlines()]

    def rows(self, name: str = "usage") -> list[dict[str, Any]]:
        """The rows in the inbox."""
        return [json.loads(line) for line in self.lines(name)]


def waiting(home: Home, name: str = "usage") -> list[Path]:
    """The files in the inbox, in the order of their names."""
    return sorted((home.inbox / name).glob("*.jsonl"))


def error_of(response: httpx.Response, status: int) -> str:
    """The reason of a refusal, which has this status."""
    assert response.status_code == status, response.text
    reason: str = response.json()["error"]
    return reason


@contextmanager
def receiving(home: Home, signers: Sequence[Signer] = (), **settings: Any) -> Iterator[Receiving]:
    """Serve during the block; `settings` without their prefix receive_."""
    own = {"gather_milliseconds": 1, "min_free_mb": 0} | settings
    _, key = add_key(home, "tester", ["usage", "e2b-events", "cloudevents"])
    with open_server(
        home, "127.0.0.1", 0, Settings(**{f"receive_{name}": value for name, value in own.items()}), signers
    ) as server:
        thread = threading.Thread(target=server.answer_requests)
        thread.start()
        try:
            with httpx.Client(base_url=server.address, timeout=SECONDS, trust_env=False) as client:
                yield Receiving(home, server.address, key, client, server.stop)
        finally:
            server.stop()
            thread.join(SECONDS)
            assert not thread.is_alive()


def metric(server: Receiving, name: str) -> float:
    """The value of a metric; 0 without one."""
    text = httpx.get(f"{server.address}/metrics", timeout=SECONDS, trust_env=False).text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def answer_of(raw: socket.socket) -> bytes:
    """What the server answers up to the end of the first answer's body, or of the connection."""
    answered = b""
    while b"\r\n\r\n" not in answered and (part := raw.recv(1 << 16)):
        answered += part
    head, _, body = answered.partition(b"\r\n\r\n")
    lengths = [int(line.partition(b":")[2]) for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0] and (part := raw.recv(1 << 16)):
        body += part
    return head + b"\r\n\r\n" + body
