"""The process that is killed: serves a home, with the calls that change the file system patched as tests/kills does."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.feeds.receive.server import open_server
from tests.kills.hooks import install


def serve(folder: Path, orders: dict[str, Any], ready: Connection) -> None:
    """Serve until killed; sends the address."""
    settings = Settings(receive_gather_milliseconds=5, receive_min_free_mb=0, receive_requests_per_second=100_000)
    with open_server(Home.open(folder), "127.0.0.1", 0, settings) as server:
        install(folder, orders)
        ready.send(server.address)
        server.answer_requests()
