"""Hostile requests of each kind, and good ones among them. `make bench-receive` sends 10,000."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.receive_hostile import BODY_SECONDS, E2B_SECRET, STANDARD_SECRET, send_all
from pipeline.core.home import Home
from pipeline.feeds.receive.signatures import Scheme, Signer
from tests.feeds.receive.running import receiving


def test_hostile_requests_get_the_right_answer_and_store_nothing(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    signers = [Signer(Scheme.E2B, "e2b-events", E2B_SECRET), Signer(Scheme.STANDARD, "cloudevents", STANDARD_SECRET)]
    settings = {"body_seconds": BODY_SECONDS, "memory_mb": 1024, "requests_per_second": 100_000}
    with receiving(home, signers, **settings) as server:
        address = urlsplit(server.address)
        assert address.hostname is not None and address.port is not None
        right, wrong, good = asyncio.run(send_all(address.hostname, address.port, server.key, 220))
        assert wrong == {}
        assert right.total() == 242
        assert len(good) == 22
        assert {row["event_id"] for row in server.rows()} == good
        assert server.rows("e2b-events") == server.rows("cloudevents") == []
