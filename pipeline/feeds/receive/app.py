"""The application: checks a request step by step, cheapest first, and answers 202 after its rows are in the inbox.

It needs no request guard: each request that stores something has a key or a signature, which no page in a browser has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.feeds.receive.bodies import Form, Rows, check_encoding, decompressed, form_of, rows_of, too_large
from pipeline.feeds.receive.cloud_events import is_binary, structured
from pipeline.feeds.receive.group_commit import GroupCommit
from pipeline.feeds.receive.keys import KeyRing
from pipeline.feeds.receive.limits import DiskSpace, Memory, MemoryShare, SenderRates
from pipeline.feeds.receive.metrics import Metrics
from pipeline.feeds.receive.names import Names
from pipeline.feeds.receive.refusal import RefusalError
from pipeline.feeds.receive.signatures import Signer, is_signed

_log = logging.getLogger(__name__)
_LARGE_BODY = 1 << 18
"""Bytes. A larger body is read in a thread, so that other requests go on."""
_RETRY_SECONDS = 5
_UNCHECKED_SHARE = 4
"""Requests whose signature is not checked yet hold at most this part of the memory, a quarter."""
_REST_SECONDS = 5
_REST_BODIES = 4
"""How many of the largest bodies are read of one that is refused for its size."""


@dataclass(frozen=True)
class _Asked:
    """A request of a known sender for a known name."""

    name: str
    headers: Mapping[str, str]
    signers: Sequence[Signer]
    """Of which one must have signed the body; none: the request has a key."""
    form: Form
    is_gzip: bool
    is_binary_event: bool


@dataclass
class Receiver:
    """The state of a running server."""

    home: Home
    settings: Settings
    signers: Sequence[Signer] = ()
    metrics: Metrics = field(default_factory=Metrics)
    is_stopping: bool = False

    def __post_init__(self) -> None:
        settings = self.settings
        self._keys = KeyRing(self.home)
        self._names = Names(self.home)
        self._rates = SenderRates(settings.receive_requests_per_second)
        self._disk = DiskSpace(self.home.inbox, settings.receive_min_free_mb << 20)
        self._most_bytes = settings.receive_max_body_mb << 20
        memory = settings.receive_memory_mb << 20
        self._memory = Memory(memory, max(memory // _UNCHECKED_SHARE, self._most_bytes))  # at least one body fits
        self._commits = GroupCommit(self.home, settings.receive_gather_milliseconds / 1000, self.metrics.count_commit)
        self.metrics.watch(lambda: self._memory.used, self._disk.is_low)

    async def stop(self) -> None:
        """Refuse new requests, and write the rows of those that are under way."""
        self.is_stopping = True
        await self._commits.stop()

    def close(self) -> None:
        """Free what the server holds; nothing may be under way."""
        self._rates.close()
        self._commits.close()

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/{name}", self._receive, methods=["POST"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
        ]
        application = Starlette(routes=routes, exception_handlers={HTTPException: _unknown_request})
        application.router.redirect_slashes = False  # an answer 3xx is none that a sender expects
        return application

    async def _receive(self, request: Request) -> Response:
        name, began = "", time.perf_counter()
        try:
            with self._memory.share() as share:
                asked = self._accepted(request)
                name = asked.name
                count = await self._stored(request, asked, share)
                answer = _answer(202, {"name": name, "rows": count})
        except RefusalError as refused:
            answer = _refusal(refused)
        except ClientDisconnect:
            answer = Response(status_code=400)  # goes nowhere
        except Exception as error:
            failure = error if isinstance(error, BillhouseError) else to_billhouse_error(error)
            _log.error("A request failed: %s", failure)
            answer = _refusal(RefusalError(503, "The request could not be processed.", retry_after=_RETRY_SECONDS))
        if answer.status_code not in (202, 408):
            await self._read_rest(request)
        self.metrics.count_answer(name, answer.status_code, time.perf_counter() - began)
        return answer

    def _accepted(self, request: Request) -> _Asked:
        """What can be checked without the body. Raises RefusalError."""
        if self.is_stopping:
            raise RefusalError(503, "The server is stopping.", retry_after=_RETRY_SECONDS)
        headers = request.headers
        name: str = request.path_params["name"]
        signers = self._authenticate(name, headers)
        form = Form.DOCUMENT
        is_binary_event = is_binary(headers)
        if signers and is_binary_event:  # a signature is of the body, so anyone could write other headers for it
            raise RefusalError(400, "A signed webhook must be a CloudEvent in structured mode.")
        if not is_binary_event or headers.get("content-type"):
            form = form_of(headers.get("content-type", ""))
        is_gzip = check_encoding(headers.get("content-encoding", ""))
        self._check_length(headers)
        self._disk.check()
        return _Asked(name, headers, signers, form, is_gzip, is_binary_event)

    def _authenticate(self, name: str, headers: Mapping[str, str]) -> Sequence[Signer]:
        """The signers of whom one must have signed, none for a valid key. Raises RefusalError 401, 403, 404 or 429."""
        authorization = headers.get("authorization")
        if authorization is None:
            signers = [signer for signer in self.signers if signer.name == name]
            if not signers or not is_signed(headers):
                raise RefusalError(401, "The request has no key and no signature. Send the key as Authorization: Bearer KEY.")
            self._names_check(name)
            return signers
        scheme, _, presented = authorization.partition(" ")
        key = self._keys.find(presented.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise RefusalError(401, "The key is not known. Send it as Authorization: Bearer KEY.")
        self._rates.check(key.id)
        self._names_check(name)
        if name not in key.names:
            raise RefusalError(403, f"This key is not for {name}. It is for: {', '.join(key.names)}.")
        return ()

    def _names_check(self, name: str) -> None:
        try:
            self._names.check(name)
        except WrongUsageError:
            raise RefusalError(404, "There is no such kind of records and no such source.") from None

    def _check_length(self, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            raise RefusalError(411, "The request has no Content-Length.")
        if length is not None and int(length) > self._most_bytes:
            raise too_large(self._most_bytes)

    async def _stored(self, request: Request, asked: _Asked, share: MemoryShare) -> int:
        """Read the body and store its rows. Returns their number, once they are in the inbox. Raises RefusalError."""
        if not asked.signers:
            share.set_checked()
        body = await self._body(request, share)
        if asked.signers:
            signer = next((it for it in asked.signers if it.has_signed(asked.headers, body)), None)
            if signer is None:
                raise RefusalError(401, "The signature is not valid, or too old.")
            share.set_checked()
            self._rates.check(signer.id)
        if asked.is_gzip:
            share.hold(len(body) + self._most_bytes)
        if len(body) > _LARGE_BODY or asked.is_gzip:
            rows = await asyncio.to_thread(_rows, body, asked, self._most_bytes)
        else:
            rows = _rows(body, asked, self._most_bytes)
        share.hold(len(rows.lines))
        if self.is_stopping:
            raise RefusalError(503, "The server is stopping.", retry_after=_RETRY_SECONDS)
        if rows.count:
            await self._commits.store(asked.name, rows)
        return rows.count

    async def _body(self, request: Request, share: MemoryShare) -> bytes:
        """The body as it was sent. Raises RefusalError 408, 413 or 503."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.receive_body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._most_bytes:
                        raise too_large(self._most_bytes)
                    share.hold(len(body))  # what has arrived: a sender without a valid signature holds only what it sends
            request.state.body_is_read = True
        except TimeoutError:
            raise RefusalError(408, f"The body did not arrive within {self.settings.receive_body_seconds} seconds.") from None
        return bytes(body)

    async def _read_rest(self, request: Request) -> None:
        """Read what a refused request still sends, within limits: a client that is still sending would not see its answer."""
        has_body = "transfer-encoding" in request.headers or int(request.headers.get("content-length", 0)) > 0
        if not has_body or "expect" in request.headers or getattr(request.state, "body_is_read", False):
            return
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                while size < _REST_BODIES * self._most_bytes:
                    message = await request.receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return

    async def _health(self, _: Request) -> Response:
        if self.is_stopping or self._disk.is_low():
            return _answer(503, {"status": "stopping" if self.is_stopping else "disk nearly full"})
        return _answer(200, {"status": "ok"})

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _rows(body: bytes, asked: _Asked, most_bytes: int) -> Rows:
    if asked.is_gzip:
        body = decompressed(body, most_bytes)
    if asked.is_binary_event:
        body = structured(asked.headers, body)
    return rows_of(body, Form.DOCUMENT if asked.is_binary_event else asked.form)


def _answer(status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(content) + "\n", status, headers, media_type="application/json")


def _refusal(refused: RefusalError) -> Response:
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.status == 408:
        headers["Connection"] = "close"
    return _answer(refused.status, {"error": refused.reason}, headers)


async def _unknown_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = "Send POST to /v1/NAME." if error.status_code in (404, 405) else error.detail
    return _answer(error.status_code, {"error": reason}, error.headers)
