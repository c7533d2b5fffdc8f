"""An API on this machine that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What is said to it; a body that is text or bytes is sent as it is."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeApi:
    """`answers` says what is answered; it may be changed while the API runs."""

    url: str
    answers: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)

    def queries(self) -> list[dict[str, str]]:
        """The parameters of the requests so far, which are forgotten."""
        queries = [asked.query for asked in self.asked]
        self.asked.clear()
        return queries


@contextmanager
def serving(answers: Callable[[Asked], Answer] = lambda _: Answer([])) -> Iterator[FakeApi]:
    """The API, on a free port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(self.headers))
            api.asked.append(asked)
            answer = api.answers(asked)
            text = answer.body if isinstance(answer.body, str | bytes) else json.dumps(answer.body)
            body = text if isinstance(text, bytes) else text.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests read `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = FakeApi(f"http://127.0.0.1:{server.server_port}", answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
