"""The emulator's HTTP layer: authentication, idempotency, routes, error bodies, and fault injection."""

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

from pipeline.stripe_emulator.call_context import CallContext
from pipeline.stripe_emulator.credit_notes import CreditNotes
from pipeline.stripe_emulator.customers import Customers, Subscriptions
from pipeline.stripe_emulator.errors import RefusalError
from pipeline.stripe_emulator.faults import BrokenResponse, Fault, Faults, fault_response
from pipeline.stripe_emulator.forms import parse_form
from pipeline.stripe_emulator.invoice_items import InvoiceItems
from pipeline.stripe_emulator.invoices import Invoices
from pipeline.stripe_emulator.limits import check_idempotency_key, check_lengths
from pipeline.stripe_emulator.store import Object, Store

API_VERSION = "2026-10-28.endive"
Call = Callable[[str, Object], Object]
"""Takes the id in the path ('' if it has none) and the parameters."""


def create_app(database: Path, now: Callable[[], float] = time.time, requests_per_second: int | None = None) -> Starlette:
    """The application over a database file. `now`: its clock, in seconds since 1970."""
    store = Store(database)
    context = CallContext(store, lambda: int(now()))
    calls = _calls(context)
    faults = Faults(requests_per_second)
    request_lock = threading.Lock()

    async def serve(request: Request) -> Response:
        body = (await request.body()).decode()
        if request.url.path.startswith("/emulator/"):
            return control(request, body)
        return await run_in_threadpool(answer, request, body)

    def control(request: Request, body: str) -> Response:
        """Calls that Stripe does not have: fault injection, status changes of subscriptions, reset. They need a key, too."""
        try:
            _authenticate(request)
        except RefusalError as refused:
            return _refusal_response(refused)
        path = request.url.path if request.method == "POST" else ""
        if path == "/emulator/faults":
            faults.schedule(Fault(**fault) for fault in json.loads(body))
        elif path == "/emulator/subscriptions":
            changed = json.loads(body)
            with request_lock, store.transaction():
                Subscriptions(context).change(changed.pop("id"), changed)
        elif path == "/emulator/reset":
            faults.schedule([])
            with request_lock, store.transaction():
                store.clear()
        else:
            return Response(status_code=404)
        return Response(status_code=204)

    def answer(request: Request, body: str) -> Response:
        try:
            _authenticate(request)
            params = parse_form(body if request.method == "POST" else request.url.query)
            check_lengths(params)
            check_idempotency_key(request.headers.get("idempotency-key", ""))
            fault = faults.next(request.method)
            with request_lock:
                return _perform_once(store, calls, request, params, int(now()), fault)
        except RefusalError as refused:
            return _refusal_response(refused)

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET", "POST", "DELETE"])])


def _calls(context: CallContext) -> list[tuple[str, re.Pattern[str], Call]]:
    customers, subscriptions, items, invoices = (
        Customers(context),
        Subscriptions(context),
        InvoiceItems(context),
        Invoices(context),
    )
    notes = CreditNotes(context, invoices)
    table: list[tuple[str, str, Call]] = [
        ("POST", "/v1/customers", lambda _, params: customers.create(params)),
        ("GET", "/v1/customers", lambda _, params: customers.list(params)),
        ("GET", "/v1/customers/ID", lambda id, _: customers.retrieve(id)),
        ("POST", "/v1/customers/ID", customers.update),
        ("POST", "/v1/customers/ID/balance_transactions", customers.add_to_balance),
        ("DELETE", "/v1/customers/ID", lambda id, _: customers.delete(id)),
        ("POST", "/v1/prices", lambda _, params: subscriptions.create_price(params)),
        ("POST", "/v1/subscriptions", lambda _, params: subscriptions.create(params)),
        ("GET", "/v1/subscriptions", lambda _, params: subscriptions.list(params)),
        ("GET", "/v1/subscriptions/ID", lambda id, _: subscriptions.retrieve(id)),
        ("POST", "/v1/subscriptions/ID", subscriptions.update),
        ("DELETE", "/v1/subscriptions/ID", lambda id, _: subscriptions.cancel(id)),
        ("POST", "/v1/subscriptions/ID/pause", lambda id, _: subscriptions.pause(id)),
        ("POST", "/v1/subscriptions/ID/resume", lambda id, _: subscriptions.resume(id)),
        ("GET", "/v1/subscription_items", lambda _, params: subscriptions.list_items(params)),
        ("POST", "/v1/tax_rates", lambda _, params: invoices.create_tax_rate(params)),
        ("POST", "/v1/invoiceitems", lambda _, params: items.create(params)),
        ("GET", "/v1/invoiceitems", lambda _, params: items.list(params)),
        ("POST", "/v1/invoiceitems/ID", items.update),
        ("DELETE", "/v1/invoiceitems/ID", lambda id, _: items.delete(id)),
        ("POST", "/v1/invoices", lambda _, params: invoices.create(params)),
        ("GET", "/v1/invoices", lambda _, params: invoices.list(params)),
        ("GET", "/v1/invoices/ID", lambda id, _: invoices.retrieve(id)),
        ("POST", "/v1/invoices/ID", invoices.update),
        ("DELETE", "/v1/invoices/ID", lambda id, _: invoices.delete(id)),
        ("GET", "/v1/invoices/ID/lines", invoices.list_lines),
        ("POST", "/v1/invoices/ID/add_lines", invoices.add_lines),
        ("POST", "/v1/invoices/ID/finalize", lambda id, _: invoices.finalize(id)),
        ("POST", "/v1/invoices/ID/send", lambda id, _: invoices.send(id)),
        ("POST", "/v1/invoices/ID/pay", invoices.pay),
        ("POST", "/v1/invoices/ID/void", lambda id, _: invoices.void(id)),
        ("POST", "/v1/invoices/ID/mark_uncollectible", lambda id, _: invoices.mark_uncollectible(id)),
        ("GET", "/v1/invoice_payments", lambda _, params: invoices.list_payments(params)),
        ("GET", "/v1/invoice_payments/ID", lambda id, _: invoices.retrieve_payment(id)),
        ("POST", "/v1/credit_notes", lambda _, params: notes.create(params)),
        ("GET", "/v1/credit_notes", lambda _, params: notes.list(params)),
        ("GET", "/v1/credit_notes/ID", lambda id, _: notes.retrieve(id)),
        ("GET", "/v1/credit_notes/ID/lines", notes.list_lines),
        ("GET", "/v1/events", lambda _, params: context.list_events(params)),
    ]
    return [(verb, re.compile(path.replace("ID", "([A-Za-z0-9_]+)")), call) for verb, path, call in table]


def _authenticate(request: Request) -> None:
    """Accept any test key, as a bearer token or as the user of basic authentication."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    try:
        key = base64.b64decode(credentials).decode().partition(":")[0] if scheme.lower() == "basic" else credentials
    except ValueError:
        key = ""
    if not re.match(r"(sk|rk)_test_\w+", key):
        raise RefusalError("Invalid API Key provided.", status=401, code="api_key_invalid")


def _perform_once(
    store: Store,
    calls: list[tuple[str, re.Pattern[str], Call]],
    request: Request,
    params: Object,
    now: int,
    fault: Fault | None,
) -> Response:
    """Perform the call, at most once in 24 hours per idempotency key, with the injected fault."""
    if fault and fault.kind in ("rate_limit", "lock_timeout"):
        return _response(*fault_response(fault))
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    fingerprint = json.dumps([request.method, request.url.path, params], sort_keys=True)
    if fault and not fault.after_commit and fault.kind != "error":
        return BrokenResponse(fault.seconds if fault.kind == "hang" else 0)
    with store.transaction():
        if key:
            stored = store.stored_response(key, now)
            if stored is not None:
                if stored[0] != fingerprint:
                    raise RefusalError(
                        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                        f"Try using a key other than '{key}' if you meant to execute a different request.",
                        type="idempotency_error",
                    )
                return _response(stored[1], stored[2], {"Idempotent-Replayed": "true"})
        status, body = _perform(store, calls, request, params, fault)
        if key:
            store.save_response(key, fingerprint, status, body, now)
    if fault and fault.kind != "error":
        return BrokenResponse(fault.seconds if fault.kind == "hang" else 0)
    return _response(status, body, {"Idempotency-Key": key} if key else {})


def _perform(
    store: Store, calls: list[tuple[str, re.Pattern[str], Call]], request: Request, params: Object, fault: Fault | None
) -> tuple[int, str]:
    """Status and body. Like Stripe, store errors 500 under the key, too, and refusals of calls that had begun."""
    if fault and fault.kind == "error" and not fault.after_commit:
        return fault_response(fault)
    try:
        with store.attempt():
            body = json.dumps(_call(calls, request.method, request.url.path, params))
    except RefusalError as refused:
        if not refused.is_stored:
            raise
        return refused.status, json.dumps({"error": refused.error})
    return fault_response(fault) if fault and fault.kind == "error" else (200, body)


def _call(calls: list[tuple[str, re.Pattern[str], Call]], method: str, path: str, params: Object) -> Object:
    for verb, pattern, call in calls:
        found = pattern.fullmatch(path)
        if verb == method and found:
            return call(found.group(1) if found.groups() else "", params)
    raise RefusalError(f"Unrecognized request URL ({method}: {path}).", status=404, code="parameter_unknown")


def _refusal_response(error: RefusalError) -> Response:
    return _response(error.status, json.dumps({"error": error.error}))


def _response(status: int, body: str, headers: dict[str, Any] | None = None) -> Response:
    stripe_headers = {"Request-Id": f"req_{secrets.token_hex(7)}", "Stripe-Version": API_VERSION}
    return Response(body, status, stripe_headers | (headers or {}), media_type="application/json")
