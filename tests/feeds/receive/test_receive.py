"""The server: what it answers, and what is in the inbox then."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.feeds.receive import app, connection, limits
from pipeline.feeds.receive.keys import add_key, revoke_keys
from pipeline.landing import land_files
from pipeline.landing.inbox import waiting_files
from tests.feeds.receive.running import LINES, SECONDS, Receiving, error_of, receiving, waiting
from tests.landing.raw import event_line, events
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def server(home: Home) -> Iterator[Receiving]:
    with receiving(home) as running:
        yield running


def test_each_kind_of_body_is_in_the_inbox_when_it_is_answered_and_lands(server: Receiving) -> None:
    exact = event_line("e1", metadata={"n": "?"}).replace('"?"', "123456789012345678901234567890.00000000000000000001")
    bodies: list[tuple[str, bytes, dict[str, str], int]] = [
        ("application/json", exact.encode(), {}, 1),
        ("application/json", f"[{event_line('e2')},\n{event_line('e3')}]".encode(), {}, 2),
        ("application/x-ndjson", f"{event_line('e4')}\n{event_line('e5')}".encode(), {}, 2),
        ("application/jsonl", gzip.compress(f"{event_line('e6')}\n".encode()), {"Content_Encoding": "gzip"}, 1),
        ("application/json", b"[]", {}, 0),
    ]
    known = 0
    for content_type, body, headers, count in bodies:
        answered = server.post(body, "usage", content_type, **headers)
        assert (answered.status_code, answered.json()) == (202, {"name": "usage", "rows": count})
        known += count
        assert len(server.lines()) == known
    assert exact in server.lines()
    assert len({path.name for path in waiting(server.home)}) == 4
    repeated = server.post(exact)
    assert repeated.status_code == 202
    landed = land_files(server.home, waiting_files(server.home, "usage"))
    assert [row["event_id"] for row in events(server.home)] == ["e1", "e2", "e3", "e4", "e5", "e6"]
    assert landed.problems == []
    assert [(path.stat().st_mode & 0o777) for path in waiting(server.home)] == [0o600] * 5


def test_cloud_events_are_stored_in_structured_mode(server: Receiving) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "com.example.sandbox.started", "data": {"a": 1}}
    text = json.dumps(event)
    assert server.post(text, "cloudevents", "application/cloudevents+json").json()["rows"] == 1
    assert server.post(f"[{text},{text}]", "cloudevents", "application/cloudevents-batch+json; charset=utf-8").json()["rows"] == 2
    binary = {f"ce_{name}": str(value) for name, value in event.items() if name != "data"}
    assert server.post('{"a": 1}', "cloudevents", **binary).json()["rows"] == 1
    rows = server.rows("cloudevents")
    assert rows[:3] == [event] * 3
    assert rows[3] == event | {"datacontenttype": "application/json"}


def test_a_wrong_request_gets_its_status_and_nothing_of_it_is_stored(server: Receiving) -> None:
    good = event_line("e1")
    assert error_of(server.post(good, Authorization=""), 401).startswith("The request has no key")
    for wrong in ("Bearer bhk_wrong", "Bearer", "Basic " + server.key, "Bearer " + server.key + "x", "Bearer " + "x" * 5000):
        response = server.post(good, Authorization=wrong)
        assert wrong == "Bearer" or wrong.partition(" ")[2] not in response.text
        assert error_of(response, 401).startswith("The key is not known")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert error_of(server.post(good, "metrics"), 403) == (
        "This key is not for metrics. It is for: usage, e2b-events, cloudevents."
    )
    for name in ("nothing", "..%2Fusage", "%2e%2e", "USAGE", "e2b-events.sql", "a" * 3000, "usage/"):
        assert error_of(server.post(good, name), 404)
    assert error_of(server.client.post("/v1/usage/more"), 404) == "Send POST to /v1/NAME."
    assert server.client.get("/v1/usage").status_code == 405
    assert server.client.get("/v1/usage").headers["Allow"] == "POST"
    assert "Content-Type must be one of" in error_of(server.post(good, content_type="text/csv"), 415)
    assert error_of(server.post(good, Content_Encoding="br"), 415)
    assert "Line 2, column" in error_of(server.post(f"{good}\n{{]", content_type=LINES), 400)
    assert "not valid gzip" in error_of(server.post(good, Content_Encoding="gzip"), 400)
    assert waiting(server.home) == []
    assert server.post(good).status_code == 202


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


def test_many_requests_are_one_file(home: Home) -> None:
    with receiving(home, gather_milliseconds=400) as server, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: server.post(event_line(f"e{number}")), range(20)))
        assert {it.status_code for it in answers} == {202}
        assert {row["event_id"] for row in server.rows()} == {f"e{number}" for number in range(20)}
        assert len(waiting(home)) <= 3
        assert metric(server, 'billhouse_receive_rows_total{name="usage"}') == 20


def test_it_writes_what_is_under_way_before_it_stops_and_refuses_new_requests(home: Home) -> None:
    with receiving(home, gather_milliseconds=10_000) as server:
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(server.post, event_line("e1"))
            until(lambda: metric(server, "billhouse_receive_waiting_bytes") > 0)
            server.stop()
            assert waits.result(SECONDS).status_code == 202
        assert time.monotonic() - started < 9
    assert len(waiting(home)) == 1


def test_a_request_whose_body_arrives_while_it_stops_gets_503(home: Home) -> None:
    with receiving(home) as server, server.connect() as raw:
        body = event_line("e1").encode()
        head = f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {server.key}\r\n"
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        until(lambda: metric(server, "billhouse_receive_waiting_bytes") > 0)
        server.stop()
        raw.sendall(body[-1:])
        answered = answer_of(raw)
        assert answered.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in answered.lower()
    assert waiting(home) == []


def test_the_command_serves_on_loopback_until_sigterm_and_one_process_serves_a_home(home: Home) -> None:
    key = billhouse(home.path, "receive-key", "add", "gateway", "usage").stdout.strip()
    command = [sys.executable, "-m", "pipeline.cli.app", "--home", str(home.path), "receive", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            address = process.stdout.readline().split()[2].removesuffix("/v1/NAME")
            assert address.startswith("http://127.0.0.1:")
            second = billhouse(home.path, "receive", "--port", "0")
            assert (second.code, "Another command is receiving into" in second.stderr) == (1, True)
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            answered = httpx.post(
                f"{address}/v1/usage", content=event_line("e1"), headers=headers, timeout=SECONDS, trust_env=False
            )
            assert answered.status_code == 202
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            assert process.stdout.read() == "stopped\n"
            assert process.stderr.read() == ""
        finally:
            process.kill()
    assert len(waiting(home)) == 1


def test_a_port_in_use_is_an_error(home: Home, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = billhouse(home.path, "receive", "--port", str(taken.getsockname()[1]))
    assert refused.code == 1
    assert "cannot be listened on" in refused.stderr


def test_a_revoked_key_is_refused_from_the_next_request_on(server: Receiving) -> None:
    assert server.post(event_line("e1")).status_code == 202
    (revoked,) = revoke_keys(server.home, "tester")
    assert error_of(server.post(event_line("e2")), 401)
    assert revoked.sender == "tester"
    (server.home.receiving / "keys.json").write_text("{")
    assert error_of(server.post(event_line("e2")), 503) == "The request could not be processed."
    assert [row["event_id"] for row in server.rows()] == ["e1"]


def test_the_metrics_name_no_sender_and_no_unknown_name(server: Receiving) -> None:
    server.post(event_line("e1"))
    server.post(event_line("e1"), "no-such-name")
    text = server.client.get("/metrics").text
    assert 'billhouse_receive_requests_total{name="usage",status="202"} 1.0' in text
    assert 'billhouse_receive_requests_total{name="",status="404"} 1.0' in text
    assert "tester" not in text and "no-such-name" not in text


def test_every_metric_of_the_server_is_on_its_page(server: Receiving) -> None:
    page = (PROJECT_ROOT / "docs" / "operate" / "receiving.md").read_text(encoding="utf-8")
    text = server.client.get("/metrics").text
    names = {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE") and not line.split()[2].endswith("_created")
    }
    assert [name for name in names if f"`{name}`" not in page] == []


def metric(server: Receiving, name: str) -> float:
    text = httpx.get(f"{server.address}/metrics", timeout=SECONDS, trust_env=False).text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def answer_of(raw: socket.socket) -> bytes:
    """What the server answers up to the end of the first answer's body, or of the connection."""
    answered = b""
    while b"\r\n\r\n" not in answered and (part := raw.recv(1 << 16)):
        answered += part
    head, _, body = answered.partition(b"\r\n\r\n")
    lengths = [int(line.partition(b":")[2]) for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0] and (part := raw.recv(1 << 16)):
        body += part
    return head + b"\r\n\r\n" + body
