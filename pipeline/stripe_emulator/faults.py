"""Fault injection: network and server errors at the requests that a test selects.

`POST /emulator/faults` takes a JSON list of faults and counts writing requests (POST, DELETE) from then on. `/emulator/` is not
part of Stripe's API. Like every request, it needs a test key.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Kind = Literal["error", "rate_limit", "lock_timeout", "hang", "cut"]
_STATUS = {"error": 500, "rate_limit": 429, "lock_timeout": 409}
_BODIES: dict[str, dict[str, Any]] = {
    "error": {"message": "An unknown error occurred.", "type": "api_error"},
    "rate_limit": {"message": "Request rate limit exceeded.", "type": "invalid_request_error", "code": "rate_limit"},
    "lock_timeout": {
        "message": "This object cannot be accessed right now because another API request is currently accessing it.",
        "type": "invalid_request_error",
        "code": "lock_timeout",
    },
}


@dataclass(frozen=True)
class Fault:
    """An error at one request."""

    at: int
    """Number of the writing request, from 1."""
    kind: Kind
    after_commit: bool = False
    """Whether the call is performed and only its response is lost, or nothing is performed."""
    seconds: float = 0.2
    """How long a `hang` waits before it closes the connection."""


class Faults:
    """The scheduled faults, and the rate limit."""

    def __init__(self, requests_per_second: int | None = None) -> None:
        self._due: dict[int, Fault] = {}
        self._count = 0
        self._limit = requests_per_second
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def schedule(self, faults: Iterable[Fault]) -> None:
        """Replace the schedule and restart the count."""
        with self._lock:
            self._due = {fault.at: fault for fault in faults}
            self._count = 0

    def next(self, method: str) -> Fault | None:
        """The fault for this request, if any."""
        with self._lock:
            if self._is_too_fast():
                return Fault(0, "rate_limit")
            if method == "GET":
                return None
            self._count += 1
            return self._due.pop(self._count, None)

    def _is_too_fast(self) -> bool:
        if self._limit is None:
            return False
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            return True
        self._recent.append(now)
        return False


def fault_response(fault: Fault) -> tuple[int, str]:
    """Status and body of a fault that returns an error."""
    return _STATUS[fault.kind], json.dumps({"error": _BODIES[fault.kind]})


class BrokenResponse(Response):
    """A response that ends halfway, immediately or after a delay, and closes the connection."""

    def __init__(self, after_seconds: float) -> None:
        super().__init__()
        self._after_seconds = after_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send less than the content length."""
        import anyio

        await anyio.sleep(self._after_seconds)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id": "', "more_body": True})
        raise ConnectionAbortedError("injected fault")
