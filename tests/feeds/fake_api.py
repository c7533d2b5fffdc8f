"""An API on this machine that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.http_servers import http_server


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

    def respond(request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(request.headers))
        api.asked.append(asked)
        answer = api.answers(asked)
        text = answer.body if isinstance(answer.body, str | bytes) else json.dumps(answer.body)
        body = text if isinstance(text, bytes) else text.encode()
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with http_server(respond) as address:
        api = FakeApi(address, answers)
        yield api
