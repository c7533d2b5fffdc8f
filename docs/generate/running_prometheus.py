"""A Prometheus server on a free loopback port, for tests of the rules and for the picture of the dashboard."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipeline.core.home import PROJECT_ROOT

RULES = PROJECT_ROOT / "deploy" / "prometheus" / "billhouse.rules.yml"
DASHBOARD = PROJECT_ROOT / "deploy" / "grafana" / "billhouse.json"
SECONDS = 60
"""The bound of every wait."""


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    address: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API. Raises AssertionError for an error, with its text."""
        answer = httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=SECONDS).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """The series of a query of now."""
        found: list[Mapping[str, Any]] = self.ask("query", query=expression)["result"]
        return found


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


@contextmanager
def process(words: Sequence[str | Path], ready: str) -> Iterator[None]:
    """Run a server during the block, which begins once the URL `ready` is answered with 200."""
    # Not a pipe, which would be full at some time.
    output = subprocess.DEVNULL
    running = subprocess.Popen(list(map(str, words)), stdout=output, stderr=output)  # noqa: S603 - our own words
    try:
        until = time.monotonic() + SECONDS
        while not _answers(ready):
            assert running.poll() is None, f"{words[0]} ended with {running.returncode}"
            assert time.monotonic() < until, f"{words[0]} does not answer"
            time.sleep(0.1)
        yield
    finally:
        running.terminate()
        try:
            running.wait(SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def prometheus(folder: Path, configuration: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus during the block, with its data in `folder`/data. JSON is valid YAML."""
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    address = f"127.0.0.1:{free_port()}"
    words = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with process(words, f"http://{address}/-/ready"):
        yield Prometheus(f"http://{address}")


def dashboard_queries(rate_interval: str) -> list[tuple[str, str]]:
    """Each query of the dashboard, with the title of its panel. `rate_interval`: what Grafana puts for its variable."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", rate_interval))
        for panel in panels
        for target in panel.get("targets", [])
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
