"""Serves the emulator on a loopback address."""

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
    """Serve in a thread during the block; yields the base address. Port 0: any free port.

    `requests_per_second`: the rate above which requests get 429, like Stripe's.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Stripe's requests are forms, so JSON cannot be required; they carry a key that a web page does not have.
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
