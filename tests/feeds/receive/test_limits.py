"""The server's limits: bytes, time, memory, disk, and the rate of a sender."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import pytest

from pipeline.core.home import Home
from pipeline.feeds.receive import app, connection, limits
from pipeline.feeds.receive.keys import add_key
from pipeline.feeds.receive.refusal import RefusalError
from pipeline.feeds.receive.signatures import Scheme, Signer
from tests.feeds.receive.running import LINES, Receiving, answer_of, error_of, metric, receiving, until, waiting
from tests.landing.raw import event_line


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def server(home: Home) -> Iterator[Receiving]:
    with receiving(home) as running:
        yield running


def test_a_body_that_is_too_large_is_refused_also_inside_gzip_and_in_chunks(server: Receiving) -> None:
    limit = 4 << 20
    row = event_line("e1") + "\n"
    too_large = row * (limit // len(row) + 1)
    for response in (
        server.post(too_large, content_type=LINES),
        server.post(gzip.compress(too_large.encode()), content_type=LINES, Content_Encoding="gzip"),
        server.post(gzip.compress(bytes(200 << 20)), content_type=LINES, Content_Encoding="gzip"),
        server.post(too_large, content_type=LINES, Connection="close"),
        server.client.post(
            "/v1/usage",
            content=(too_large.encode() for _ in range(2)),
            headers={"Content-Type": LINES, "Authorization": f"Bearer {server.key}"},
        ),
    ):
        assert "4,194,304 bytes" in error_of(response, 413)
    assert "A row may have 65,536" in error_of(server.post(event_line("e1", metadata={"a": "x" * 70_000})), 413)
    assert waiting(server.home) == []
    fits = too_large[: -len(row)]
    chunks = (fits[place : place + 100_000].encode() for place in range(0, len(fits), 100_000))
    headers = {"Content-Type": LINES, "Authorization": f"Bearer {server.key}"}
    assert server.client.post("/v1/usage", content=chunks, headers=headers).json()["rows"] == len(fits) // len(row)
    assert metric(server, "billhouse_receive_waiting_bytes") == 0


def test_a_request_without_a_length_needs_one(server: Receiving) -> None:
    with server.connect() as raw:
        raw.sendall(f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n".encode())
        raw.sendall(b"Content-Type: application/json\r\n\r\n")
        assert answer_of(raw).startswith(b"HTTP/1.1 411 ")


def test_slow_heads_slow_bodies_and_large_heads_end(home: Home) -> None:
    with (
        patch.object(connection, "HEAD_SECONDS", 0.3),
        patch.object(connection, "REST_SECONDS", 0.3),
        patch.object(app, "_REST_SECONDS", 0.1),
        receiving(home, body_seconds=1) as server,
    ):
        head = f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {server.key}\r\n"
        with server.connect() as silent:
            assert answer_of(silent).startswith(b"HTTP/1.1 408 ")
        with server.connect() as slow_head:
            slow_head.sendall(head[:50].encode())
            assert answer_of(slow_head).startswith(b"HTTP/1.1 408 ")
        with server.connect() as large_head:
            large_head.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000)
            assert answer_of(large_head).startswith(b"HTTP/1.1 431 ")
        with server.connect() as slow_body:
            slow_body.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
            answered = answer_of(slow_body)
            assert answered.startswith(b"HTTP/1.1 408 ")
            assert b"did not arrive within 1 seconds" in answered
        with server.connect() as refused_body:  # answered before its body arrived, which then never does
            refused_body.sendall(head.replace("bhk_", "bhk-").encode() + b"Content-Length: 100\r\n\r\n{")
            assert answer_of(refused_body).startswith(b"HTTP/1.1 401 ")
        with server.connect() as no_http:
            no_http.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert answer_of(no_http).startswith(b"HTTP/1.1 400 ")
        assert waiting(home) == []
        assert server.post(event_line("e1")).status_code == 202


def test_a_sender_that_is_too_fast_is_asked_to_wait(home: Home) -> None:
    with receiving(home, requests_per_second=5) as server:
        answers = [server.post(event_line(f"e{number}")) for number in range(30)]
        stored = [number for number, it in enumerate(answers) if it.status_code == 202]
        assert 5 <= len(stored) < 30
        assert {it.headers["Retry-After"] for it in answers if it.status_code == 429} == {"1"}
        assert [row["event_id"] for row in server.rows()] == [f"e{number}" for number in stored]
        _, other = add_key(home, "another", ["usage"])
        assert server.post(event_line("other"), Authorization=f"Bearer {other}").status_code == 202


def test_a_disk_that_is_nearly_full_refuses_and_recovers(server: Receiving) -> None:
    nearly_full = patch("shutil.disk_usage", lambda _: SimpleNamespace(free=-1))
    with nearly_full, patch.object(limits, "_SECONDS_BETWEEN_LOOKS", 0.0):
        response = server.post(event_line("e1"))
        assert error_of(response, 429) == "The disk is nearly full."
        assert response.headers["Retry-After"] == "60"
        assert server.client.get("/healthz").status_code == 503
        assert metric(server, "billhouse_receive_disk_low") == 1
    assert waiting(server.home) == []
    with patch.object(limits, "_SECONDS_BETWEEN_LOOKS", 0.0):
        assert server.post(event_line("e1")).status_code == 202
        assert server.client.get("/healthz").json() == {"status": "ok"}


def test_memory_is_bounded(home: Home) -> None:
    """Two requests hold the memory while they wait for the ends of their bodies; a third has no room, and has it later."""
    with receiving(home, memory_mb=8, body_seconds=3) as server:
        head = f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {server.key}\r\n"
        waiting_connections = [server.connect() for _ in range(2)]
        for raw in waiting_connections:
            raw.sendall(f"{head}Content-Length: {4 << 20}\r\n\r\n".encode() + b" " * ((4 << 20) - 1))
        until(lambda: metric(server, "billhouse_receive_waiting_bytes") == (8 << 20) - 2)
        response = server.post(event_line("e1"))
        assert error_of(response, 503) == "Too many rows wait to be written."
        assert response.headers["Retry-After"] == "1"
        for raw in waiting_connections:
            assert answer_of(raw).startswith(b"HTTP/1.1 408 ")
            raw.close()
        assert server.post(event_line("e1")).status_code == 202


def test_requests_without_a_valid_signature_leave_memory_to_the_others(home: Home) -> None:
    """Anyone can begin a request that claims a signature: it is known only once the body is there."""
    body = event_line("e1").encode() + b" " * (4 << 20)
    signer = Signer(Scheme.E2B, "e2b-events", "a-secret-of-e2b-0123")
    settings = {"memory_mb": 16, "max_body_mb": 4, "body_seconds": 3}
    with patch.object(app, "_REST_SECONDS", 0.1), receiving(home, [signer], **settings) as server:
        head = "POST /v1/e2b-events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nE2B-Signature: wrong\r\n"
        with server.connect() as unsigned, server.connect() as another:
            for raw in (unsigned, another):
                raw.sendall(f"{head}Content-Length: {4 << 20}\r\n\r\n".encode() + b" " * ((3 << 20) - 1))
            until(lambda: metric(server, 'billhouse_receive_requests_total{name="e2b-events",status="503"}') == 1)
            assert metric(server, "billhouse_receive_waiting_bytes") <= 4 << 20
            assert server.post(body[: 4 << 20]).status_code == 202
    memory = limits.Memory(8, 2)
    with memory.share() as share:
        share.hold(2)
        with pytest.raises(RefusalError, match="wait to be written"):
            share.hold(3)
        share.set_checked()
        share.hold(8)
        assert (memory.used, memory.unchecked) == (8, 0)
    assert (memory.used, memory.unchecked) == (0, 0)


def test_connections_are_bounded_also_those_that_send_nothing(home: Home) -> None:
    with patch.object(connection, "MOST_OPEN_CONNECTIONS", 3), receiving(home) as server:
        silent = [server.connect() for _ in range(3)]
        with server.connect() as one_more, suppress(ConnectionResetError):
            assert one_more.recv(1) == b""
        for raw in silent:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer_of(raw).startswith(b"HTTP/1.1 200 ")
            raw.close()
        until(lambda: is_open(server))
        assert server.post(event_line("e1")).status_code == 202


def is_open(server: Receiving) -> bool:
    """Whether the server takes a connection again."""
    try:
        return server.client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
