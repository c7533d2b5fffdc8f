"""Serves the application with uvicorn: one process per home, stopped by SIGTERM or Ctrl-C after all rows are written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.settings import Settings
from pipeline.feeds.receive.app import Receiver
from pipeline.feeds.receive.connection import MOST_CONNECTIONS, BoundedConnection
from pipeline.feeds.receive.names import check_name
from pipeline.feeds.receive.signatures import Signer

_IDLE_SECONDS = 75
"""For a connection between two requests; longer than the 60 seconds after which usual proxies give up theirs."""
_SECONDS_TO_STOP = 10


@contextmanager
def open_server(home: Home, host: str, port: int, settings: Settings, signers: Sequence[Signer] = ()) -> Iterator[ReceiveServer]:
    """A server that listens and holds the home's lock; its `answer_requests` answers. Port 0: any free port.

    Raises WrongUsageError if a signer's name is neither a kind nor a source, BillhouseError if another process receives into the
    home or the address cannot be used.
    """
    for signer in signers:
        check_name(home, signer.name)
    home.receiving.mkdir(mode=0o700, exist_ok=True)
    with (
        hold_lock(home.receiving / ".lock", activity=f"receiving into {home.path}", timeout_seconds=0),
        _listen(host, port) as listening,
    ):
        receiver = Receiver(home, settings, signers)
        try:
            yield ReceiveServer(receiver, listening)
        finally:
            receiver.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise BillhouseError(
            f"{host}, port {port}, cannot be listened on: {error}.",
            "End the program that uses it, or choose others with --host and --port.",
        ) from error


class ReceiveServer(uvicorn.Server):
    """A server that writes all rows before it stops, and whose process then ends with 0."""

    def __init__(self, receiver: Receiver, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                receiver.application(),
                http=BoundedConnection,
                ws="none",
                lifespan="off",
                access_log=False,
                log_level="critical",
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=_SECONDS_TO_STOP,
            )
        )
        self._receiver = receiver
        self._listening = listening

    @property
    def address(self) -> str:
        """http://host:port."""
        host, port = self._listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def answer_requests(self) -> None:
        """Answer requests until SIGTERM or an interrupt."""
        self.run(sockets=[self._listening])

    def stop(self) -> None:
        """Refuse new requests, and stop when those under way are answered."""
        self.should_exit = True
        self._receiver.is_stopping = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at a second signal without waiting for requests. uvicorn's own would raise the signal again at the end."""
        self.force_exit = self.should_exit
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.create_task(self._receiver.stop())
        await super().shutdown(sockets)
        await stopping
