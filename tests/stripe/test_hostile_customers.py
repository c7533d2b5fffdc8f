"""A customer's id or name cannot prevent other customers' invoices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing import checks
from pipeline.landing.record_kinds import Kind
from pipeline.stripe.client import StripeConnection, local_emulator
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.requests import metadata_text
from pipeline.stripe.steps import idempotency_key
from tests.support import billhouse, copy_home, event, prepare, query

SEPTEMBER = BillingPeriod(2026, 9)
LANDED_TODAY = (
    "0 名前",
    "مرحبا",
    "💥" * 50,
    "a" * 200,
    "../../etc/passwd",
    "o'brien; drop table invoices; --",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "%00%0d%0a",
    "é" * 199,
    "a/b?c#d&e=f",
    "{}[]",
    "\\\\server\\share",
    "null",
)
LANDED_BEFORE_IDS_HAD_BOUNDS = ("line\nbreak", "tab\tand\x07bell", "\u202egnidaer", "b" * 700, "carriage\r\nreturn")
CUSTOMERS = LANDED_TODAY + LANDED_BEFORE_IDS_HAD_BOUNDS


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A month of customers with such ids on Pro, closed and approved."""
    usage = []
    for number, customer in enumerate(CUSTOMERS):
        usage.append(event("start", "2026-09-10T10:00:00Z", user=customer, sandbox=f"box-{number}", vcpu_count=100))
        usage.append(event("stop", "2026-09-10T15:00:00Z", user=customer, sandbox=f"box-{number}"))
    plans = [{"customer_id": customer, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for customer in CUSTOMERS]
    people = [{"customer_id": customer, "name": customer * 3, "email": "x@example.com"} for customer in CUSTOMERS]
    with patch.object(checks, "_id_errors", lambda *_: []):
        return prepare(
            tmp_path_factory.mktemp("hostile") / "home",
            parsed_project,
            {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans, Kind.CUSTOMERS: people},
            ("build", "--as-of", "2026-10-05T00:00:00Z"),
            ("close", "2026-09"),
            ("approve", "2026-09", "--all", "--by", "cfo"),
        )


@pytest.fixture
def home(closed: Path, tmp_path: Path) -> Home:
    return copy_home(closed, tmp_path / "home")


def customers_in_stripe(connection: StripeConnection) -> set[str]:
    invoices = connection.client.v1.invoices.list({"limit": 100}).auto_paging_iter()
    found = {str(invoice.customer) for invoice in invoices if invoice.status == "open"}
    listed = connection.client.v1.customers.list({"limit": 100}).auto_paging_iter()
    return {metadata_of(one)["billhouse_customer_id"] for one in listed if one.id in found}


def test_every_customer_is_published_with_any_id(home: Home) -> None:
    published = billhouse(home.path, "publish", "2026-09", "--json")
    assert published.json["problems"] == []
    assert published.json["published"] == len(CUSTOMERS)
    with local_emulator(home) as connection:
        assert customers_in_stripe(connection) == {metadata_text(customer) for customer in CUSTOMERS}
    assert billhouse(home.path, "publish", "2026-09", "--json").json["already_published"] == len(CUSTOMERS)


def test_a_request_that_cannot_be_encoded_fails_only_its_invoice(home: Home) -> None:
    (refused, *_) = query(home, "from invoices where customer_id = '0 名前'")

    def key(connection: StripeConnection, *parts: Any) -> str:
        return "0 名前" if parts[0] == refused["invoice_id"] else idempotency_key(connection, *parts)

    with patch("pipeline.stripe.publisher.idempotency_key", key):
        published = billhouse(home.path, "publish", "2026-09", "--json")
    assert published.json["published"] == len(CUSTOMERS) - 1
    (problem,) = published.json["problems"]
    assert problem["file"] == refused["invoice_id"]
    assert "cannot be encoded" in problem["reason"]
    assert billhouse(home.path, "publish", "2026-09", "--json").json["published"] == 1


def test_an_address_that_stripe_refuses_is_omitted_with_a_warning(tmp_path: Path, parsed_project: Path) -> None:
    addresses = {
        "good": "ada+billing@mail.example.com",
        "long": "a" * 600 + "@example.com",
        "broken": "ada@example.com\r\nBcc: eve@example.com",
        "foreign": "名前@example.com",
        "none": "not an address",
        "host": "ada@localhost",
    }
    home = Home(
        prepare(
            tmp_path / "home",
            parsed_project,
            {
                Kind.USAGE: [
                    event(what, f"2026-09-10T1{hour}:00:00Z", user=customer, sandbox=customer, vcpu_count=100)
                    for customer in addresses
                    for hour, what in ((0, "start"), (5, "stop"))
                ],
                Kind.SUBSCRIPTIONS: [
                    {"customer_id": customer, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for customer in addresses
                ],
                Kind.CUSTOMERS: [{"customer_id": customer, "email": address} for customer, address in addresses.items()],
            },
            ("build", "--as-of", "2026-10-05T00:00:00Z"),
            ("close", "2026-09"),
            ("approve", "2026-09", "--all", "--by", "cfo"),
        )
    )
    dry = billhouse(home.path, "publish", "2026-09", "--dry-run", "--json")
    published = billhouse(home.path, "publish", "2026-09", "--json")
    assert (published.code, published.json["published"], published.json["problems"]) == (0, len(addresses), [])
    warned = {warning["next_step"].split("'")[1]: warning["reason"] for warning in published.json["warnings"]}
    assert warned.keys() == addresses.keys() - {"good"}
    assert "without the e-mail address 'ada@localhost'" in warned["host"]
    assert dry.json["warnings"] == published.json["warnings"]
    with local_emulator(home) as connection:
        listed = connection.client.v1.customers.list({"limit": 100}).data
    assert [(metadata_of(one)["billhouse_customer_id"], one.email) for one in listed if one.email] == [
        ("good", addresses["good"])
    ]


def test_idempotency_keys_contain_no_text_of_a_customer(home: Home) -> None:
    with local_emulator(home) as connection:
        keys = {idempotency_key(connection, customer, step) for customer in CUSTOMERS for step in ("a", "b")}
    assert len(keys) == 2 * len(CUSTOMERS)
    assert all(re.fullmatch("billhouse/test/[0-9a-f]{64}", key) for key in keys)
