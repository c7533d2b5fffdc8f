"""Sends hostile requests to `billhouse receive`: each must get its status, and nothing of them may be stored.

python -m benchmarks.receive_hostile [--requests 10000] [--folder /tmp/billhouse-receive]

Bad JSON, wrong keys and signatures, replays, gzip bombs, bodies and heads that are too large, slow or no HTTP at all, and among
them good requests, which must all be stored. The results are written to benchmarks/results/receive-hostile.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from standardwebhooks import Webhook

from benchmarks.receiving import running_server, write_result

RESULT = Path(__file__).parent / "results" / "receive-hostile.json"
AT_ONCE = 100
BODY_SECONDS = 2
STANDARD_SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
E2B_SECRET = "a-secret-of-e2b-0123"  # noqa: S105 - of the requests that are sent here
_MB = 1 << 20
_BOMB = gzip.compress(bytes(200 * _MB))
_ROW = (
    '{"event_id":"hostile-%d","sandbox_id":"b","user_id":"u","timestamp":"2026-01-05T10:00:00Z","event_type":"sandbox_started"}'
)


@dataclass(frozen=True)
class Sent:
    """A request as it is sent, and the statuses that are right for it."""

    head: bytes
    body: bytes
    right: tuple[int, ...]
    pause_before_end: float = 0
    """Seconds before the last byte of the body."""


class Requests:
    """Makes the requests of each kind."""

    def __init__(self, key: str) -> None:
        self._key = key

    def good(self, number: int) -> Sent:
        return self._keyed((_ROW % number).replace("hostile", "good").encode(), 202)

    def bad_json(self, number: int) -> Sent:
        row = _ROW % number
        bodies = (
            row[:-1],
            row + row,
            f"[{row},]",
            f"{row}\n{{]",
            f"{row}\n" + '{"a":' + "[" * 100_000,
            '{"a":NaN}',
            "",
            "null",
            f'[{row}, "x"]',
            row.replace("b", "\x01", 1),
        )
        wrong = [*(body.encode() for body in bodies), row.encode() + b"\xff", row.encode("utf-16")]
        return self._keyed(
            wrong[number % len(wrong)], 400, content_type="application/x-ndjson" if number % 2 else "application/json"
        )

    def wrong_key(self, number: int) -> Sent:
        keys = ("", "Bearer ", f"Bearer {self._key[:-1]}", f"Bearer {self._key}x", f"Basic {self._key}", "Bearer " + "x" * 20_000)
        return self._sent((_ROW % number).encode(), 401, authorization=keys[number % len(keys)])

    def not_allowed(self, number: int) -> Sent:
        names, rights = ("metrics", "nothing", "..%2f..%2fetc%2fpasswd", "usage%00", "%75sage%2f"), (403, 404, 404, 404, 404)
        place = number % len(names)
        return self._keyed((_ROW % number).encode(), rights[place], name=names[place])

    def wrong_signature(self, number: int) -> Sent:
        body = (_ROW % number).encode()
        signature = base64.urlsafe_b64encode(hashlib.sha256(b"another secret 0123" + body).digest()).decode().rstrip("=")
        wrong = (f"e2b-signature: {signature}", "e2b-signature: ", "webhook-signature: v1,AAAA", "webhook-signature: v1")
        return self._sent(body, 401, name=("e2b-events", "cloudevents")[number % 4 // 2], more=(wrong[number % 4],))

    def replayed(self, number: int) -> Sent:
        """A request that was signed with the right secret, and is sent again later; or its signature with another body."""
        body = _ROW % number
        at = datetime.now(UTC) - timedelta(minutes=6 + number % 1000)
        signature = Webhook(STANDARD_SECRET).sign("msg", at, body)
        second = int(at.timestamp()) if number % 2 else int(datetime.now(UTC).timestamp())
        more = ("webhook-id: msg", f"webhook-timestamp: {second}", f"webhook-signature: {signature}")
        return self._sent(body.encode(), 401, name="cloudevents", more=more)

    def too_large(self, number: int) -> Sent:
        row = (_ROW % number + "\n").encode()
        if number % 4 == 0:
            return self._keyed(row[:-2] + b',"metadata":"' + b"x" * 70_000 + b'"}', 413)
        if number % 4 == 1:
            return self._keyed(_BOMB, 413, more=("Content-Encoding: gzip",))
        if number % 4 == 2:
            return self._keyed(gzip.compress(row * (5 * _MB // len(row))), 413, more=("Content-Encoding: gzip",))
        return self._keyed(row * (5 * _MB // len(row)), 413, content_type="application/x-ndjson")

    def wrong_headers(self, number: int) -> Sent:
        row = (_ROW % number).encode()
        choices = (
            self._keyed(row, 415, content_type="text/csv"),
            self._keyed(row, 415, more=("Content-Encoding: br",)),
            self._keyed(row, 400, more=("Content-Encoding: gzip",)),
            self._keyed(row, 400, more=("ce-specversion: 1.0",)),
            self._keyed(row, 400, more=("Transfer-Encoding: chunked",)),  # with a length: request smuggling
            Sent(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n", b"", (431, 400)),
            Sent(b"\x16\x03\x01\x02\x00\x01 no HTTP\r\n\r\n", b"", (400,)),
            Sent(b"GET /v1/usage HTTP/1.1\r\nHost: x\r\n\r\n", b"", (405,)),
            Sent(self._keyed(row, 411).head.replace(b"Content-Length", b"X-Length"), b"", (411,)),
        )
        return choices[number % len(choices)]

    def slow(self, number: int) -> Sent:
        sent = self._keyed((_ROW % number).encode(), 408)
        return Sent(sent.head, sent.body, sent.right, pause_before_end=BODY_SECONDS + 1)

    def _keyed(self, body: bytes, right: int, **more: object) -> Sent:
        return self._sent(body, right, authorization=f"Bearer {self._key}", **more)  # type: ignore[arg-type]

    def _sent(
        self,
        body: bytes,
        right: int,
        *,
        name: str = "usage",
        authorization: str = "",
        content_type: str = "application/json",
        more: tuple[str, ...] = (),
    ) -> Sent:
        lines = [f"POST /v1/{name} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *more]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        return Sent("\r\n".join([*lines, "", ""]).encode(), body, (right,))


async def status_of(host: str, port: int, sent: Sent) -> int:
    """Send a request on a connection of its own; the status of the answer, 0 without one."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(sent.head)
        if sent.pause_before_end:
            writer.write(sent.body[:-1])
            line = asyncio.create_task(reader.readline())
            await asyncio.sleep(sent.pause_before_end)
            return _status(await line)
        writer.write(sent.body)
        await writer.drain()
        return _status(await asyncio.wait_for(reader.readline(), 60))
    except (ConnectionError, TimeoutError):
        return 0
    finally:
        writer.close()


def _status(line: bytes) -> int:
    return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0


async def send_all(host: str, port: int, key: str, count: int) -> tuple[Counter[str], Counter[str], set[str]]:
    """Send hostile requests, and a good one with each tenth. Returns right and wrong answers by kind, and the good ids."""
    requests = Requests(key)
    often: tuple[Callable[[int], Sent], ...] = (
        *(requests.bad_json, requests.wrong_key, requests.wrong_signature, requests.replayed) * 4,
        *(requests.not_allowed, requests.wrong_headers) * 2,
        requests.too_large,
        requests.slow,
    )
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    good: set[str] = set()
    turns = asyncio.Semaphore(AT_ONCE)

    async def send(make: Callable[[int], Sent], number: int) -> None:
        async with turns:
            sent = make(number)
            status = await status_of(host, port, sent)
            if status in sent.right:
                right[f"{make.__name__} {status}"] += 1
            else:
                wrong[f"{make.__name__} {status} instead of {sent.right}"] += 1
            if make == requests.good and status == 202:
                good.add(f"good-{number}")

    async with asyncio.TaskGroup() as tasks:
        for number, make in zip(range(count), itertools.cycle(often), strict=False):
            tasks.create_task(send(make, number // len(often)))
            if number % 10 == 0:
                tasks.create_task(send(requests.good, number))
    return right, wrong, good


def main() -> None:
    """Send the requests. Exits with 1 if an answer is wrong, or the inbox has not exactly the good rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-receive"))  # noqa: S108 - a benchmark's own
    arguments = parser.parse_args()
    variables = {
        "BILLHOUSE_RECEIVE_BODY_SECONDS": str(BODY_SECONDS),
        "BILLHOUSE_RECEIVE_MEMORY_MB": "1024",  # so that each answer depends on its request alone
        "BILLHOUSE_RECEIVE_REQUESTS_PER_SECOND": "1000000",
        "BILLHOUSE_RECEIVE_MIN_FREE_MB": "100",
        "HOSTILE_E2B": E2B_SECRET,
        "HOSTILE_STANDARD": STANDARD_SECRET,
    }
    options = ["--e2b-webhook", "e2b-events=HOSTILE_E2B", "--standard-webhook", "cloudevents=HOSTILE_STANDARD"]
    with running_server(arguments.folder, options, variables) as server:
        started = time.monotonic()
        right, wrong, good = asyncio.run(send_all(server.host, server.port, server.key, arguments.requests))
        seconds = time.monotonic() - started
        peak = server.peak_megabytes()
        stored = {json.loads(row)["event_id"] for row in server.rows()}
    shutil.rmtree(arguments.folder)
    result = {
        "requests": right.total() + wrong.total(),
        "good_and_stored": len(good),
        "stored_that_should_not_be": len(stored - good),
        "good_and_lost": len(good - stored),
        "answered_wrongly": dict(wrong),
        "answered_rightly": dict(sorted(right.items())),
        "seconds": round(seconds, 1),
        "peak_megabytes": round(peak),
        "load_average_at_the_end": os.getloadavg()[0],
    }
    write_result(RESULT, result)
    if wrong or stored != good:
        sys.exit(1)


if __name__ == "__main__":
    main()
