"""The server: what it answers, and what is in the inbox then."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.feeds.receive.keys import revoke_keys
from pipeline.landing import land_files
from pipeline.landing.inbox import waiting_files
from tests.feeds.receive.running import LINES, SECONDS, Receiving, answer_of, error_of, metric, receiving, until, waiting
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
