"""Protects local web servers against cross-site requests: any page that a user opens can send requests to 127.0.0.1.

The Dagster UI has no authentication and accepts mutations from anyone who can reach it. All servers that Billhouse starts are
behind this middleware, except `billhouse receive`, which stores nothing without a key or a signature. A request passes only if
its Host header is known, it comes from a page of that host or not from a page, and, if it changes state, it is JSON sent by POST,
which a page of another origin cannot send.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})
_EXECUTED = ("query", "mutation", "operationName", "variables", "extensions")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class RequestGuard:
    """ASGI middleware. Rejects a request with 403 and one sentence, and a WebSocket before it opens."""

    def __init__(self, app: Application, hosts: Collection[str] = LOOPBACK_HOSTS, *, requires_json: bool = True) -> None:
        """`hosts`: accepted Host headers, without port. `requires_json`: whether requests that change state must be JSON."""
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.requires_json = requires_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application, or reject it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = self.refusal(scope)
        if reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            body = f"Refused: {reason}\n".encode()
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def refusal(self, scope: Scope) -> str | None:
        """Why the request is rejected; None if it passes."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _without_port(hosts[0]) not in self.hosts:
            return "the host name is unknown to this server. Open the address that it printed, or add the host to its settings."
        for origin in headers.get("origin", []):
            if not _is_origin_of(origin, hosts[0]):
                return "the request comes from a page of another origin."
        if any(site not in _OWN_SITE for site in headers.get("sec-fetch-site", [])):
            return "the request comes from a page of another site. Type the address into the browser instead."
        if scope["type"] == "websocket":
            return None
        return self._refusal_of_method(scope, headers)

    def _refusal_of_method(self, scope: Scope, headers: dict[str, list[str]]) -> str | None:
        method = scope["method"].upper()
        path = scope["path"].rstrip("/")
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if path.endswith("graphql") and any(name in query for name in _EXECUTED):
            return "GraphQL in the URL is not executed. Send it as JSON by POST."
        if method in _SAFE_METHODS:
            return None
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if self.requires_json and kind != "application/json":
            return "a request that changes state must have the content type application/json."
        return None


def _without_port(host: str) -> str:
    name, bracket, _ = host.strip().lower().partition("]")
    return name + bracket if bracket else name.partition(":")[0]


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether a page of this origin was served by this host and port."""
    parts = urlsplit(origin.strip().lower())
    port = _DEFAULT_PORTS.get(parts.scheme)
    if port is None or not parts.netloc:
        return False
    requested = host.strip().lower()
    return requested in (parts.netloc, f"{parts.netloc}:{port}") or parts.netloc == f"{requested}:{port}"
