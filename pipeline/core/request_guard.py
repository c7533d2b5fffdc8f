"""Guards a local web page against other web pages: a browser sends requests to 127.0.0.1 for any page that its user opens.

The Dagster UI has no authentication, and takes mutations from anyone who reaches it. In front of all that Billhouse serves, a
request passes only if it names a known host, comes from a page of that host or from no page at all, and changes state only
in a way that a page of another origin cannot: JSON by POST.
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
    """ASGI middleware. Refuses with 403 and one sentence; a WebSocket is refused before it opens."""

    def __init__(self, app: Application, hosts: Collection[str] = LOOPBACK_HOSTS, *, requires_json: bool = True) -> None:
        """`hosts`: the names in `Host`, without a port. `requires_json`: whether a request that changes state must be JSON."""
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.requires_json = requires_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
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
        """Why a request may not pass; None where it may."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _without_port(hosts[0]) not in self.hosts:
            return "this server does not have that host name. Open the address that it printed, or name the host in its settings."
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
            return "GraphQL is not executed from the address. Send it as JSON by POST."
        if method in _SAFE_METHODS:
            return None
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if self.requires_json and kind != "application/json":
            return "a request that changes something must be of type application/json."
        return None


def _without_port(host: str) -> str:
    name, bracket, _ = host.strip().lower().partition("]")
    return name + bracket if bracket else name.partition(":")[0]


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether a page of this origin was served by this very host and port."""
    parts = urlsplit(origin.strip().lower())
    port = _DEFAULT_PORTS.get(parts.scheme)
    if port is None or not parts.netloc:
        return False
    asked = host.strip().lower()
    return parts.netloc == asked or f"{parts.netloc}:{port}" == asked or parts.netloc == f"{asked}:{port}"
