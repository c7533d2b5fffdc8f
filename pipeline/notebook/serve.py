"""Serves the notebook on the loopback address until interrupted."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from pipeline.core.errors import BillhouseError
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.request_guard import Application, Receive, RequestGuard, Scope, Send

LOOPBACK = "127.0.0.1"
_NOTEBOOK = Path(__file__).parent / "app.py"
_SETTINGS = """\
[display]
theme = "system"
"""
"""marimo's, in place of those of the user: light or dark as the browser is."""
_HEADERS = (
    # The page can ask this server only, also if a library or a text of the data tried. Vega compiles its expressions.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:;"
        b" frame-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def serve(home: Home, port: int = 2718) -> None:
    """Serve the notebook of a home until interrupted; then the process ends.

    Prints the address, with the token that opens it; the token is new at each start.

    Raises BillhouseError if marimo and Altair are not installed, or the port is in use.
    """
    listening = _listen(port)
    token = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="billhouse-notebook-") as folder:
        app = application(home, token, Path(folder))
        _run(app, listening, token, home)
    print("stopped", flush=True)
    os._exit(0)  # threads of marimo, one for each page that is still open, would keep the process


class _Server(uvicorn.Server):
    """uvicorn's own would raise the signal again at the end, and nothing after it would run."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _run(app: Application, listening: socket.socket, token: str, home: Home) -> None:
    address = f"http://{LOOPBACK}:{listening.getsockname()[1]}"
    print(f"Notebook at {address}/?access_token={token} (Ctrl-C stops it); home {home.path}", flush=True)
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", proxy_headers=False, server_header=False, timeout_graceful_shutdown=2
    )
    _Server(config).run(sockets=[listening])


def application(home: Home, token: str, scratch: Path) -> Application:
    """The notebook behind the guard against requests of other sites.

    Changes this process' folder and its environment: marimo reads settings from the current folder and its parents, then from the
    user's, and lists the notebooks that it opened in the user's state. `scratch` is in place of both.
    """
    (scratch / ".marimo.toml").write_text(_SETTINGS, encoding="utf-8")
    os.environ |= {HOME_VARIABLE: str(home.path), "XDG_CONFIG_HOME": str(scratch), "XDG_STATE_HOME": str(scratch)}
    os.chdir(scratch)
    try:
        import altair  # noqa: F401 - imported here, once, and not by the first page
        import marimo

        from pipeline.notebook import page  # noqa: F401
    except ModuleNotFoundError as error:
        raise BillhouseError(
            f"The notebook needs the Python package {error.name}, which is not installed.",
            "Install the extra: pip install 'billhouse[notebook]' (in a checkout: make setup-notebook)",
        ) from None
    builder = marimo.create_asgi_app(quiet=True, include_code=False, token=token)
    notebook: Any = builder.with_app(path="", root=str(_NOTEBOOK)).build()
    return RequestGuard(_with_headers(notebook))


def _with_headers(app: Application) -> Application:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_without(message.get("headers", ()), _HEADERS), *_HEADERS]
            await send(message)

        await app(scope, receive, sent)

    return answer


def _without(headers: Iterable[tuple[bytes, bytes]], replaced: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in replaced}
    return [(name, value) for name, value in headers if name.lower() not in names]


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError:
        raise BillhouseError(
            f"Port {port} is in use.", f"Stop the program that uses it, or choose another: --port {port + 1}"
        ) from None
