"""The emulator behaves like Stripe, as seen by Stripe's own library."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
import stripe
from starlette.testclient import TestClient

from pipeline.core.home import PROJECT_ROOT
from pipeline.stripe.client import is_replayed
from pipeline.stripe_emulator.app import create_app
from pipeline.stripe_emulator.server import running_emulator
from pipeline.stripe_emulator.store import Store

FIXTURES = PROJECT_ROOT / "tests" / "data" / "stripe" / "fixtures.json"
BEARER = {"Authorization": "Bearer sk_test_x"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "stripe.sqlite"


@pytest.fixture
def address(database: Path) -> Iterator[str]:
    with running_emulator(database) as address:
        yield address


def client(address: str, key: str = "sk_test_x") -> stripe.V1Services:
    return stripe.StripeClient(key, base_addresses={"api": address}, max_network_retries=0).v1


@pytest.fixture
def v1(address: str) -> Any:
    return client(address)


def draft(v1: Any, *amounts: int, **more: Any) -> Any:
    """A customer with a draft invoice of these items."""
    customer = v1.customers.create({"name": "Ada", "email": "ada@example.com"})
    params = {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 30, **more}
    invoice = v1.invoices.create(params)
    for amount in amounts:
        v1.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": amount, "currency": "usd"})
    return v1.invoices.retrieve(invoice.id)


def test_an_invoice_is_drafted_summed_and_finalized(v1: Any) -> None:
    invoice = draft(v1, 1200, -200)
    assert (invoice.status, invoice.total, invoice.number) == ("draft", 1000, None)
    finalized = v1.invoices.finalize_invoice(invoice.id)
    assert (finalized.status, finalized.total, finalized.amount_due) == ("open", 1000, 1000)
    assert finalized.number.endswith("-0001")
    paid = v1.invoices.pay(invoice.id)
    assert (paid.status, paid.amount_remaining) == ("paid", 0)


def test_an_invoice_with_nothing_to_pay_is_paid_when_it_is_finalized(v1: Any) -> None:
    assert v1.invoices.finalize_invoice(draft(v1, 500, -500).id).status == "paid"


def test_a_finalized_invoice_accepts_no_items_and_cannot_be_finalized_again(v1: Any) -> None:
    invoice = v1.invoices.finalize_invoice(draft(v1, 500).id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.invoice_items.create({"customer": invoice.customer, "invoice": invoice.id, "amount": 1, "currency": "usd"})
    assert refused.value.code == "invoice_not_editable"
    with pytest.raises(stripe.InvalidRequestError):
        v1.invoices.finalize_invoice(invoice.id)


def test_pending_items_are_included_only_on_request(v1: Any) -> None:
    customer = v1.customers.create({})
    v1.invoice_items.create({"customer": customer.id, "amount": 999, "currency": "usd"})
    alone = v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "exclude"})
    assert alone.total == 0
    together = v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert together.total == 999


def test_lists_are_paginated_newest_first(v1: Any) -> None:
    ids = [v1.customers.create({}).id for _ in range(7)]
    page = v1.customers.list({"limit": 3})
    assert [one.id for one in page.data] == ids[::-1][:3]
    assert page.has_more
    assert [one.id for one in page.auto_paging_iter()] == ids[::-1]
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.list({"limit": 101})


def test_an_idempotency_key_replays_the_first_response_and_refuses_another_request(v1: Any) -> None:
    first = v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
    again = v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len(v1.customers.list().data) == 1
    with pytest.raises(stripe.IdempotencyError):
        v1.customers.create({"name": "Bob"}, {"idempotency_key": "k"})


def test_an_idempotency_key_expires_after_a_day(database: Path) -> None:
    now = [1_000_000.0]
    web = TestClient(create_app(database, lambda: now[0]))
    headers = {"Authorization": "Bearer sk_test_x", "Idempotency-Key": "k"}

    def create() -> str:
        return str(web.post("/v1/customers", headers=headers, content="name=Ada").json()["id"])

    first = create()
    now[0] += 24 * 3600 - 1
    assert create() == first
    now[0] += 2
    assert create() != first


@pytest.mark.parametrize("key", ["sk_live_x", "pk_test_x", "nonsense"])
def test_only_test_keys_are_accepted(key: str, address: str) -> None:
    with pytest.raises(stripe.AuthenticationError):
        client(address, key).customers.list()


@pytest.mark.parametrize(
    ("header", "status"), [("Basic c2tfdGVzdF94Og==", 200), ("Basic !", 401), ("Basic /w==", 401), ("", 401)]
)
def test_a_key_can_be_the_user_of_basic_authentication(header: str, status: int, address: str) -> None:
    assert httpx.get(f"{address}/v1/customers", headers={"Authorization": header}).status_code == status


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk_live_x"}], ids=["no key", "a live key"])
@pytest.mark.parametrize(("path", "body"), [("reset", None), ("faults", []), ("subscriptions", {"id": "sub_x"})])
def test_control_requests_need_a_key(path: str, body: Any, headers: dict[str, str], v1: Any, address: str) -> None:
    v1.customers.create({"name": "Ada"})
    assert httpx.post(f"{address}/emulator/{path}", headers=headers, json=body).status_code == 401
    assert [one.name for one in v1.customers.list().data] == ["Ada"]


def test_control_requests_need_post(v1: Any, address: str) -> None:
    v1.customers.create({"name": "Ada"})
    assert httpx.get(f"{address}/emulator/reset", headers=BEARER).status_code == 404
    assert [one.name for one in v1.customers.list().data] == ["Ada"]
    assert httpx.post(f"{address}/emulator/reset", headers=BEARER).status_code == 204
    assert v1.customers.list().data == []


def test_errors_have_stripes_codes(v1: Any, address: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        v1.invoices.retrieve("in_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as required:
        v1.invoice_items.create({"currency": "usd"})
    assert (required.value.code, required.value.param) == ("parameter_missing", "customer")
    customer = v1.customers.create({})
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        v1.invoices.create({"customer": customer.id, "collection_method": "send_invoice"})
    assert httpx.get(f"{address}/v1/nothing", headers=BEARER).status_code == 404


@pytest.mark.parametrize(
    "email", ["ada", "@example.com", "ada@localhost", "a da@example.com", "ada@example.com\r\nx", "名@example.com"]
)
def test_an_invalid_email_address_is_refused(email: str, v1: Any) -> None:
    customer = v1.customers.create({"email": "ada@example.com"})
    for call in (v1.customers.create, partial(v1.customers.update, customer.id)):
        with pytest.raises(stripe.InvalidRequestError, match="Invalid email address") as refused:
            call({"email": email})
        assert refused.value.code == "email_invalid"
    assert v1.customers.retrieve(customer.id).email == "ada@example.com"


def test_an_invoice_accepts_at_most_250_items(v1: Any) -> None:
    invoice = draft(v1, *[1] * 250)
    assert invoice.total == 250
    assert len(invoice.lines.data) == 10
    assert len(list(v1.invoices.line_items.list(invoice.id, {"limit": 100}).auto_paging_iter())) == 250
    with pytest.raises(stripe.InvalidRequestError, match="250"):
        v1.invoice_items.create({"customer": invoice.customer, "invoice": invoice.id, "amount": 1, "currency": "usd"})


def test_its_state_survives_a_restart(database: Path) -> None:
    with running_emulator(database) as address:
        invoice = draft(client(address), 700)
    with running_emulator(database) as address:
        assert client(address).invoices.retrieve(invoice.id).total == 700


@pytest.mark.parametrize("left", [(), ("", "-wal", "-shm")], ids=["new files", "files readable by everyone"])
def test_only_the_owner_can_read_its_files(left: tuple[str, ...], database: Path) -> None:
    """The mode does not depend on the umask and is set when a file is created."""
    umask = os.umask(0)
    try:
        for suffix in left:
            database.with_name(database.name + suffix).touch(0o666)
        store = Store(database)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database.parent.iterdir()}
        store.close()
    finally:
        os.umask(umask)
    assert modes == dict.fromkeys(("stripe.sqlite", "stripe.sqlite-wal", "stripe.sqlite-shm"), 0o600)


def test_its_file_is_private_before_sqlite_opens_it(database: Path) -> None:
    seen: list[int] = []
    connect = sqlite3.connect

    def look(path: Path, *words: Any, **more: Any) -> Any:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        return connect(path, *words, **more)

    umask = os.umask(0)
    try:
        with patch("sqlite3.connect", look):
            Store(database).close()
    finally:
        os.umask(umask)
    assert seen == [0o600]


def test_it_serves_only_on_loopback(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    # A server that listened on all addresses would be reachable at 127.0.0.2.
    with pytest.raises((ConnectionError, TimeoutError)), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass


def test_its_objects_have_the_fields_of_stripes_samples(v1: Any, address: str) -> None:
    samples = json.loads(FIXTURES.read_text())
    invoice = draft(v1, 700)
    headers = BEARER

    def get(path: str) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{address}/v1/{path}", headers=headers).json()
        return answer

    v1.invoices.finalize_invoice(invoice.id)
    lines = [{"type": "custom_line_item", "description": "x", "quantity": 1, "unit_amount": 100}]
    note = v1.credit_notes.create({"invoice": invoice.id, "lines": lines})
    v1.invoices.pay(invoice.id)
    price = v1.prices.create({"currency": "usd", "unit_amount": 100, "product": "prod_x"})
    subscription = v1.subscriptions.create({"customer": invoice.customer, "items": [{"price": price.id}]})
    found = {
        "credit_note": get(f"credit_notes/{note.id}"),
        "event": get("events")["data"][0],
        "invoice_payment": get("invoice_payments")["data"][0],
        "price": json.loads(str(price)),
        "subscription": get(f"subscriptions/{subscription.id}"),
        "subscription_item": get(f"subscriptions/{subscription.id}")["items"]["data"][0],
        "customer": get(f"customers/{invoice.customer}"),
        "invoice": get(f"invoices/{invoice.id}"),
        "invoiceitem": get(f"invoiceitems?invoice={invoice.id}")["data"][0],
        "line_item": get(f"invoices/{invoice.id}/lines")["data"][0],
    }
    for name, one in found.items():
        assert set(samples[name]) == set(one), name
        assert one["object"] == samples[name]["object"]


def test_a_failure_is_stored_under_its_key_and_replayed(v1: Any, address: str) -> None:
    httpx.post(f"{address}/emulator/faults", headers=BEARER, json=[{"at": 1, "kind": "error", "after_commit": True}])
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
        assert failed.value.http_status == 500
    assert is_replayed(failed.value)
    assert [one.name for one in v1.customers.list().data] == ["Ada"]  # the request was performed


@pytest.mark.parametrize(
    ("kind", "after_commit", "is_performed"),
    [("rate_limit", False, False), ("lock_timeout", False, False), ("cut", False, False), ("cut", True, True)],
)
def test_faults_are_injected_at_the_chosen_request(
    kind: str, after_commit: bool, is_performed: bool, v1: Any, address: str
) -> None:
    httpx.post(f"{address}/emulator/faults", headers=BEARER, json=[{"at": 2, "kind": kind, "after_commit": after_commit}])
    v1.customers.create({"name": "Ada"})
    with pytest.raises(stripe.StripeError):
        v1.customers.create({"name": "Bob"})
    assert ("Bob" in {one.name for one in v1.customers.list().data}) == is_performed


def test_requests_above_the_rate_limit_get_429(database: Path) -> None:
    with running_emulator(database, requests_per_second=5) as limited, patch("pipeline.stripe_emulator.faults.time") as clock:
        clock.monotonic.return_value = 100.0
        answers = [httpx.get(f"{limited}/v1/customers", headers=BEARER).status_code for _ in range(8)]
        clock.monotonic.return_value = 101.0
        answers.append(httpx.get(f"{limited}/v1/customers", headers=BEARER).status_code)
    assert answers == [200] * 5 + [429] * 3 + [200]


def test_events_report_every_change_and_lists_can_be_filtered(v1: Any) -> None:
    invoice = v1.invoices.finalize_invoice(draft(v1, 700).id)
    v1.invoices.send_invoice(invoice.id)
    types = [event.type for event in v1.events.list().data]
    assert types[:2] == ["invoice.sent", "invoice.finalized"]
    assert [event.type for event in v1.events.list({"type": "customer.created"}).data] == ["customer.created"]
    assert v1.events.list({"created": {"gt": invoice.created + 1000}}).data == []
    assert [one.id for one in v1.invoices.list({"status": "open"}).data] == [invoice.id]
    assert v1.invoices.list({"status": "draft"}).data == []


def test_credit_notes_reduce_the_open_amount_and_settle_paid_invoices(v1: Any) -> None:
    def lines(amount: int) -> list[dict[str, Any]]:
        return [{"type": "custom_line_item", "description": "x", "quantity": 1, "unit_amount": amount}]

    invoice = v1.invoices.finalize_invoice(draft(v1, 1000).id)
    note = v1.credit_notes.create({"invoice": invoice.id, "lines": lines(400)})
    assert (note.type, v1.invoices.retrieve(invoice.id).amount_remaining) == ("pre_payment", 600)
    v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="credit_amount"):
        v1.credit_notes.create({"invoice": invoice.id, "lines": lines(100)})
    with pytest.raises(stripe.InvalidRequestError, match="can still be credited"):
        v1.credit_notes.create({"invoice": invoice.id, "lines": lines(601), "credit_amount": 601})
    paid = v1.credit_notes.create({"invoice": invoice.id, "lines": lines(600), "credit_amount": 600})
    assert paid.type == "post_payment"
