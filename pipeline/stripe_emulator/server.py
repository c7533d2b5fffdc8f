"""Runs the emulator on a loopback address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from pipeline.core.request_guard import RequestGuard
from pipeline.stripe_emulator.app import create_app


@contextmanager
def running_emulator(database: Path, port: int = 0, requests_per_second: int | None = None) -> Iterator[str]:
    """Serve for the time of a block, in a thread; yields the base address. Port 0: any that is free.

    `requests_per_second`: more than so many are answered 429, as Stripe does.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Stripe's own requests are forms, and carry a key that no other page has.
        app = RequestGuard(create_app(database, requests_per_second=requests_per_second), requires_json=False)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
        listening.listen(128)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(timeout=10)
