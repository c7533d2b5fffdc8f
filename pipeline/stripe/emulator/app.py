"""The emulator's HTTP side: authentication, idempotency, routes and error bodies."""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.stripe.emulator.faults import RefusalError
from pipeline.stripe.emulator.forms import parse_form
from pipeline.stripe.emulator.service import Service
from pipeline.stripe.emulator.store import Object, Store

API_VERSION = "2026-10-28.endive"
Call = Callable[[Service, list[str], Object], Object]

_ID = r"([A-Za-z0-9_]+)"
_CALLS: list[tuple[str, str, Call]] = [
    ("POST", "/v1/customers", lambda service, _, params: service.create_customer(params)),
    ("GET", "/v1/customers", lambda service, _, params: service.list_customers(params)),
    ("GET", f"/v1/customers/{_ID}", lambda service, ids, _: service.retrieve_customer(ids[0])),
    ("POST", f"/v1/customers/{_ID}", lambda service, ids, params: service.update_customer(ids[0], params)),
    ("POST", "/v1/invoiceitems", lambda service, _, params: service.create_invoice_item(params)),
    ("GET", "/v1/invoiceitems", lambda service, _, params: service.list_invoice_items(params)),
    ("POST", "/v1/invoices", lambda service, _, params: service.create_invoice(params)),
    ("GET", "/v1/invoices", lambda service, _, params: service.list_invoices(params)),
    ("GET", f"/v1/invoices/{_ID}", lambda service, ids, _: service.retrieve_invoice(ids[0])),
    ("POST", f"/v1/invoices/{_ID}", lambda service, ids, params: service.update_invoice(ids[0], params)),
    ("GET", f"/v1/invoices/{_ID}/lines", lambda service, ids, params: service.list_lines(ids[0], params)),
    ("POST", f"/v1/invoices/{_ID}/finalize", lambda service, ids, _: service.finalize_invoice(ids[0])),
    ("POST", f"/v1/invoices/{_ID}/send", lambda service, ids, _: service.send_invoice(ids[0])),
    ("POST", f"/v1/invoices/{_ID}/pay", lambda service, ids, params: service.pay_invoice(ids[0], params)),
    ("POST", f"/v1/invoices/{_ID}/void", lambda service, ids, _: service.void_invoice(ids[0])),
    ("POST", f"/v1/invoices/{_ID}/mark_uncollectible", lambda service, ids, _: service.mark_uncollectible(ids[0])),
]


def create_app(database: Path, now: Callable[[], float] = time.time) -> Starlette:
    """The application over a database file; `now` is its clock, in seconds since 1970."""
    store = Store(database)
    service = Service(store, lambda: int(now()))
    one_at_a_time = threading.Lock()

    async def serve(request: Request) -> Response:
        body = (await request.body()).decode()
        return await run_in_threadpool(answer, request, body)

    def answer(request: Request, body: str) -> Response:
        with one_at_a_time:
            try:
                _authenticate(request)
                params = parse_form(body if request.method == "POST" else request.url.query)
                return _once(store, service, request, params, int(now()))
            except RefusalError as refusal:
                return _response(refusal.status, json.dumps({"error": refusal.error}))

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET", "POST", "DELETE"])])


def _authenticate(request: Request) -> None:
    """Any test key will do, as a bearer token or as the user of basic authentication."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    key = base64.b64decode(credentials).decode().partition(":")[0] if scheme.lower() == "basic" else credentials
    if not re.match(r"(sk|rk)_test_\w+", key):
        raise RefusalError("Invalid API Key provided.", status=401, code="api_key_invalid")


def _once(store: Store, service: Service, request: Request, params: Object, now: int) -> Response:
    """Perform the call; under an idempotency key, at most once in 24 hours."""
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    fingerprint = json.dumps([request.method, request.url.path, params], sort_keys=True)
    with store.transaction():
        if key:
            known = store.answer(key, now)
            if known is not None:
                if known[0] != fingerprint:
                    raise RefusalError(
                        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                        f"Try using a key other than '{key}' if you meant to execute a different request.",
                        type="idempotency_error",
                    )
                return _response(known[1], known[2], {"Idempotent-Replayed": "true"})
        body = json.dumps(_perform(service, request.method, request.url.path, params))
        if key:
            store.remember(key, fingerprint, 200, body, now)
    return _response(200, body, {"Idempotency-Key": key} if key else {})


def _perform(service: Service, method: str, path: str, params: Object) -> Object:
    for verb, pattern, call in _CALLS:
        found = re.fullmatch(pattern, path)
        if verb == method and found:
            return call(service, list(found.groups()), params)
    raise RefusalError(f"Unrecognized request URL ({method}: {path}).", status=404)


def _response(status: int, body: str, headers: dict[str, Any] | None = None) -> Response:
    stripe_headers = {"Request-Id": f"req_{secrets.token_hex(7)}", "Stripe-Version": API_VERSION}
    return Response(body, status, stripe_headers | (headers or {}), media_type="application/json")
