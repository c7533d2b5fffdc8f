"""Metrics of the server for Prometheus, at /metrics. They name kinds and sources, and no senders."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "billhouse_receive_requests", "Requests by status of the answer.", ["name", "status"], registry=registry
        )
        self._rows = Counter("billhouse_receive_rows", "Rows that were stored in the inbox.", ["name"], registry=registry)
        self._bytes = Counter("billhouse_receive_bytes", "Bytes of these rows.", ["name"], registry=registry)
        self._files = Counter("billhouse_receive_files", "Files that were written to the inbox.", ["name"], registry=registry)
        self._commit_seconds = Histogram(
            "billhouse_receive_commit_seconds", "Time to write and sync a file.", buckets=_SECONDS, registry=registry
        )
        self._request_seconds = Histogram(
            "billhouse_receive_request_seconds",
            "Time from the head of a request to its answer.",
            ["status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge("billhouse_receive_waiting_bytes", "Bytes that are not in the inbox yet.", registry=registry)
        self._disk = Gauge(
            "billhouse_receive_disk_low", "1 if requests are refused because the disk is nearly full.", registry=registry
        )

    def watch(self, waiting_bytes: Callable[[], int], is_disk_low: Callable[[], bool]) -> None:
        """Read these values when the metrics are read."""
        self._waiting.set_function(lambda: float(waiting_bytes()))
        self._disk.set_function(lambda: float(is_disk_low()))

    def count_answer(self, name: str, status: int, seconds: float) -> None:
        """An answer; `name` is '' unless it is a known one, so that senders cannot add labels."""
        self._requests.labels(name, str(status)).inc()
        self._request_seconds.labels(str(status)).observe(seconds)

    def count_commit(self, name: str, rows: int, size: int, seconds: float) -> None:
        """A file that is in the inbox."""
        self._rows.labels(name).inc(rows)
        self._bytes.labels(name).inc(size)
        self._files.labels(name).inc()
        self._commit_seconds.observe(seconds)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
