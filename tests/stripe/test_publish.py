"""Publishing: each closed invoice is in Stripe exactly once and equal to ours."""

from __future__ import annotations

import re
import sqlite3
import typing
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict, TypeAdapter, with_config
from stripe import params as stripe_params
from stripe._stripe_context import StripeContext

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.closed_invoices import ClosedInvoice, closed_invoices
from pipeline.store.closes import read_close
from pipeline.stripe.client import StripeConnection, connect, local_emulator
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.publish import publish_period
from pipeline.stripe.publisher import InvoicePublisher
from pipeline.stripe.requests import customer_request, invoice_request, line_requests
from pipeline.stripe.steps import FatalStripeError, StripeFailedError
from tests.support import Outcome, billhouse, copy_home, event, forget, prepare, query

SEPTEMBER = BillingPeriod(2026, 9)
CUSTOMERS = ("ada", "bob", "cyd", "dan")


def strict(params: Any) -> TypeAdapter[Any]:
    """A validator for Stripe's typed parameters; unknown parameters are errors."""
    names = vars(typing) | vars(import_module(params.__module__)) | {"StripeContext": StripeContext}
    config = ConfigDict(extra="forbid", defer_build=True, arbitrary_types_allowed=True)
    adapter: TypeAdapter[Any] = TypeAdapter(with_config(config)(params))
    adapter.rebuild(_types_namespace=names)
    return adapter


@pytest.fixture(scope="module")
def september_closed(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A home with September closed: four customers on Pro, one of them in yen, and one on hobby."""
    usage = []
    for number, name in enumerate((*CUSTOMERS, "hal"), 1):
        usage.append(event("start", "2026-09-10T10:00:00Z", user=name, sandbox=f"box-{name}", vcpu_count=100 * number))
        usage.append(event("stop", "2026-09-10T15:00:00Z", user=name, sandbox=f"box-{name}"))
    plans = [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS]
    people = [{"customer_id": "ada", "name": "Ada", "email": "ada@example.com"}, {"customer_id": "dan", "currency": "JPY"}]
    return prepare(
        tmp_path_factory.mktemp("publish") / "home",
        parsed_project,
        {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans, Kind.CUSTOMERS: people},
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
        ("approve", "2026-09", "--all", "--by", "cfo"),
    )


@pytest.fixture
def home(september_closed: Path, tmp_path: Path) -> Home:
    """A copy of that home."""
    return copy_home(september_closed, tmp_path / "home")


@pytest.fixture
def run(home: Home) -> Callable[..., Outcome]:
    return lambda *words: billhouse(home.path, *words)


@pytest.fixture
def emulator(home: Home) -> Iterator[StripeConnection]:
    with local_emulator(home) as connection:
        yield connection


def in_stripe(connection: StripeConnection) -> list[Any]:
    """All invoices in Stripe, oldest first."""
    return list(connection.client.v1.invoices.list({"limit": 100}).auto_paging_iter())[::-1]


def assert_published_once(home: Home, connection: StripeConnection) -> None:
    """Stripe has exactly our collected invoices, each with exactly our lines, and one customer for each of ours."""
    v1 = connection.client.v1
    invoices = read_close(home, SEPTEMBER, "invoices").to_pylist()
    collected = {row["invoice_id"]: row for row in invoices if row["collection"] != "none"}
    assert len(collected) == len(CUSTOMERS)
    found = {metadata_of(one)["billhouse_invoice_id"]: one for one in in_stripe(connection)}
    assert found.keys() == collected.keys()
    assert len(in_stripe(connection)) == len(collected)
    lines = read_close(home, SEPTEMBER, "invoice_lines").to_pylist()
    for invoice_id, row in collected.items():
        assert found[invoice_id].status in ("open", "paid")
        assert found[invoice_id].total == row["total_amount"].scaleb(row["minor_unit_digits"])
        listed = v1.invoices.line_items.list(found[invoice_id].id, {"limit": 100}).auto_paging_iter()
        amounts = sorted(line.amount for line in listed if "LIN-" in str(line.metadata))
        ours = [line["amount"].scaleb(row["minor_unit_digits"]) for line in lines if line["invoice_id"] == invoice_id]
        assert amounts == sorted(ours)
    customers = list(v1.customers.list({"limit": 100}).auto_paging_iter())
    assert sorted(metadata_of(one)["billhouse_customer_id"] for one in customers) == sorted(CUSTOMERS)


def test_every_collected_invoice_is_in_stripe_once_and_equal_to_ours(home: Home, run: Callable[..., Outcome]) -> None:
    published = run("publish", "2026-09", "--json")
    assert published.code == 0
    assert {
        name: published.json[name] for name in ("published", "already_published", "not_approved", "not_collected", "failed")
    } == {
        "published": 4,
        "already_published": 0,
        "not_approved": 0,
        "not_collected": 1,
        "failed": 0,
    }
    again = run("publish", "2026-09", "--json").json
    assert (again["published"], again["already_published"]) == (0, 4)
    with local_emulator(home) as connection:
        assert_published_once(home, connection)
    statuses = {row["customer_id"]: row["status"] for row in query(home, "from invoices where period = '2026-09'")}
    assert statuses == {**dict.fromkeys(CUSTOMERS, "published"), "hal": "closed"}


def test_yen_are_sent_whole_and_dollars_in_cents(home: Home, emulator: StripeConnection) -> None:
    publish_period(home, SEPTEMBER, client=emulator)
    totals = {one.currency: one.total for one in in_stripe(emulator)}
    (dan,) = query(home, "from invoices where customer_id = 'dan' and period = '2026-09'")
    assert totals["jpy"] == dan["total_amount"]
    row = {"invoice_id": "INV", "minor_unit_digits": 2}
    assert ClosedInvoice(row, [], []).minor_units(Decimal("12.34")) == 1234
    with pytest.raises(BillhouseError):
        ClosedInvoice(row, [], []).minor_units(Decimal("0.001"))


def test_lost_publications_are_restored_from_stripe(home: Home, emulator: StripeConnection) -> None:
    publish_period(home, SEPTEMBER, client=emulator)
    forget(home, home.publications, home.outbox)
    result = publish_period(home, SEPTEMBER, client=emulator)
    assert result.counts["published"] == 4
    assert_published_once(home, emulator)


def test_a_changed_draft_is_not_finalized_and_the_others_are_published(home: Home, emulator: StripeConnection) -> None:
    v1: Any = emulator.client.v1
    invoice = next(closed for batch in closed_invoices(home, SEPTEMBER) for closed in batch if closed.customer_id == "ada")
    customer = v1.customers.create(customer_request(invoice))
    v1.invoices.create(invoice_request(invoice, customer.id))
    (started,) = in_stripe(emulator)
    v1.invoice_items.create({"customer": started.customer, "invoice": started.id, "amount": 1, "currency": started.currency})
    result = publish_period(home, SEPTEMBER, client=emulator)
    (problem,) = result.problems
    assert problem.file == metadata_of(started)["billhouse_invoice_id"]
    assert "stays a draft" in problem.reason
    assert result.counts["published"] == 3
    assert v1.invoices.retrieve(started.id).status == "draft"


TYPED = {
    r"/v1/customers": stripe_params.CustomerCreateParams,
    r"/v1/invoices": stripe_params.InvoiceCreateParams,
    r"/v1/invoices/[^/]+/add_lines": stripe_params.InvoiceAddLinesParams,
    r"/v1/invoices/[^/]+/finalize": stripe_params.InvoiceFinalizeInvoiceParams,
    r"/v1/invoices/[^/]+/send": stripe_params.InvoiceSendInvoiceParams,
}
"""Stripe's parameter types by path."""


def assert_typed(path: str, params: Any) -> str:
    """Validate the parameters by Stripe's type; return the pattern of the path."""
    (pattern,) = (known for known in TYPED if re.fullmatch(known, path))
    strict(TYPED[pattern]).validate_python(params, strict=True)
    return pattern


def test_every_writing_request_conforms_to_stripes_types(
    home: Home, emulator: StripeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    requestor: Any = emulator.client._requestor
    real, sent = requestor.request, []

    def request(method: str, url: str, params: Any = None, options: Any = None, **more: Any) -> Any:
        if method == "post":
            sent.append((url, params, options["idempotency_key"]))
        return real(method, url, params, options, **more)

    monkeypatch.setattr(requestor, "request", request)
    publish_period(home, SEPTEMBER, client=emulator)
    assert {assert_typed(url, params) for url, params, _ in sent} == TYPED.keys()
    assert len({key for _, _, key in sent}) == len(sent)
    assert all(key.startswith("billhouse/test/") for _, _, key in sent)
    (lines,) = (params["lines"] for url, params, _ in sent if "add_lines" in url and params["lines"][0]["amount"] == 2520)
    vcpu = next(line for line in lines if line["metadata"].get("billhouse_unit") == "vCPU-second")
    assert vcpu["metadata"]["billhouse_quantity"] == "1800000"
    assert vcpu["metadata"]["billhouse_unit_amount"] == "0.000014"
    assert vcpu["period"] == {"start": int(SEPTEMBER.start.timestamp()), "end": int(SEPTEMBER.end.timestamp())}


def test_a_dry_run_sends_nothing_and_lists_requests_that_conform_to_stripes_types(home: Home, emulator: StripeConnection) -> None:
    result = publish_period(home, SEPTEMBER, dry_run=True, client=emulator)
    assert in_stripe(emulator) == []
    assert {assert_typed(request["path"], request["params"]) for request in result.requests} == TYPED.keys()
    with pytest.raises(ValueError, match="no_such_parameter"):
        strict(stripe_params.InvoiceCreateParams).validate_python({"no_such_parameter": 1})


@pytest.mark.parametrize("key", ["sk_live_secret123", "rk_live_secret123"])
def test_a_live_key_is_refused_and_never_shown(key: str, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", key)
    refused = run("publish", "2026-09")
    assert refused.code == 1
    assert "is a live key" in refused.stderr
    assert "secret123" not in refused.stderr + refused.stdout


def test_a_malformed_key_is_refused_and_never_shown(
    home: Home, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "secret123")
    assert "does not look like a Stripe key" in run("publish", "2026-09").stderr
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_secret123")
    with connect(home) as connection:
        assert "secret123" not in repr(connection)


def test_only_closed_months_are_published(run: Callable[..., Outcome]) -> None:
    refused = run("publish", "2026-10")
    assert refused.code == 1
    assert "billhouse close 2026-10" in refused.stderr


def test_only_approved_invoices_are_published(home: Home, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    invoices = {row["customer_id"]: row["invoice_id"] for row in query(home, "from invoices where period = '2026-09'")}
    assert query(home, "select distinct approved_by from invoices where status = 'approved'") == [{"approved_by": "cfo"}]
    assert run("approve", "2026-09", "--all", "--revoke").code == 0
    waiting = run("approve", "2026-09", "--json").json["waiting"]
    assert sorted(waiting) == sorted(invoices[name] for name in CUSTOMERS)
    nothing = run("publish", "2026-09", "--json").json
    assert (nothing["published"], nothing["not_approved"]) == (0, 4)
    one = run("approve", "2026-09", invoices["ada"], "--by", "carla", "--why", "agrees", "--json").json
    assert (one["approved"], one["decided_by"], len(one["waiting"])) == ([invoices["ada"]], "carla", 3)
    ada = "select approved_by, approval_reason from invoices where approved_by is not null and period = '2026-09'"
    assert query(home, ada) == [{"approved_by": "carla", "approval_reason": "agrees"}]
    explained = run("explain", invoices["ada"])
    assert re.search(r"^approved by carla at 2\d{3}-\d\d-\d\d \d\d:\d\d UTC: agrees$", explained.stdout, re.MULTILINE)
    assert run("explain", invoices["ada"], "--json").json["approval_reason"] == "agrees"
    assert "approved by" not in run("explain", invoices["bob"]).stdout
    assert run("publish", "2026-09", "--json").json["published"] == 1
    refused = run("approve", "2026-09", invoices["ada"], "--revoke")
    assert refused.code == 1
    assert "is already in Stripe" in refused.stderr
    hobby = run("approve", "2026-09", invoices["hal"])
    assert "not a collected invoice of 2026-09" in hobby.stderr
    monkeypatch.setenv("BILLHOUSE_AUTO_APPROVE_UNDER", '{"USD": "1000000"}')
    # An invoice whose approval a person revoked is not approved automatically.
    assert run("publish", "2026-09", "--json").json["published"] == 0
    forget(home, home.approvals)
    assert run("publish", "2026-09", "--json").json["published"] == 2  # dan's is in yen
    by = query(home, "select distinct approved_by from invoices where period = '2026-09' and customer_id in ('bob', 'cyd')")
    assert by == [{"approved_by": "automatic: under 1000000 USD"}]


def test_pending_items_of_the_customer_are_not_included(home: Home, emulator: StripeConnection) -> None:
    v1: Any = emulator.client.v1
    customer = v1.customers.create({"metadata": {"billhouse_customer_id": "ada"}})
    left = v1.invoice_items.create({"customer": customer.id, "amount": 99900, "currency": "usd"})
    assert publish_period(home, SEPTEMBER, client=emulator).problems == []
    assert_published_once(home, emulator)
    (pending,) = v1.invoice_items.list({"pending": True}).data
    assert pending.id == left.id


def test_a_deleted_draft_is_created_again_under_another_key(home: Home, emulator: StripeConnection) -> None:
    """Stripe replays the creation of the first draft."""
    v1: Any = emulator.client.v1
    publish_period(home, SEPTEMBER, client=emulator)
    (drawn,) = [one for one in in_stripe(emulator) if one.currency == "jpy"]
    with sqlite3.connect(home.stripe_emulator) as stripe_state:
        stripe_state.execute("delete from objects where id = ? or invoice = ?", (drawn.id, drawn.id))
    forget(home, home.publications, home.outbox)
    assert publish_period(home, SEPTEMBER, client=emulator).problems == []
    (again,) = [one for one in in_stripe(emulator) if one.currency == "jpy"]
    assert (again.id != drawn.id, again.total, v1.invoices.retrieve(again.id).status) == (True, drawn.total, "open")


def test_a_duplicated_invoice_is_reported(home: Home, emulator: StripeConnection) -> None:
    v1: Any = emulator.client.v1
    publish_period(home, SEPTEMBER, client=emulator)
    first = in_stripe(emulator)[0]
    v1.invoices.create({"customer": first.customer, "currency": first.currency, "metadata": metadata_of(first)})
    forget(home, home.publications, home.outbox)
    (problem,) = publish_period(home, SEPTEMBER, client=emulator).problems
    assert "Stripe has 2 invoices for it" in problem.reason


def test_a_voided_invoice_is_not_published_again(home: Home, emulator: StripeConnection) -> None:
    v1: Any = emulator.client.v1
    publish_period(home, SEPTEMBER, client=emulator)
    v1.invoices.void_invoice(in_stripe(emulator)[0].id)
    forget(home, home.publications, home.outbox)
    result = publish_period(home, SEPTEMBER, client=emulator)
    assert (result.counts["published"], result.problems) == (4, [])
    assert len(in_stripe(emulator)) == 4


def big_invoice(lines: int, months: int) -> ClosedInvoice:
    rows = [
        {
            "line_id": f"LIN-{number}",
            "amount": Decimal(number),
            "description": f"line {number}",
            "service_period": f"2026-{number % months + 1:02d}",
            "line_type": "usage",
            "meter_id": "vcpu",
            "plan_id": f"plan-{number % 30}",
            "quantity": Decimal(number),
            "unit": "vCPU-second",
            "unit_amount": Decimal(1),
        }
        for number in range(lines)
    ]
    total = sum(map(Decimal, range(lines)), Decimal(0))
    invoice = {
        "invoice_id": "INV-2026-12-BIG",
        "customer_id": "big",
        "period": "2026-12",
        "currency": "USD",
        "minor_unit_digits": 2,
        "total_amount": total,
        "carried_forward_amount": Decimal(0),
    }
    return ClosedInvoice(invoice, rows, [])


@pytest.mark.parametrize(("lines", "months", "sent"), [(250, 1, 250), (251, 1, 30), (3000, 12, 60), (3000, 11, 30), (400, 4, 60)])
def test_more_lines_than_stripe_accepts_are_grouped_with_the_same_sum(lines: int, months: int, sent: int) -> None:
    closed = big_invoice(lines, months)
    requests = line_requests(closed)
    assert len(requests) == sent
    assert sum(line["amount"] for line in requests.values()) == closed.total
    if sent < lines:
        assert sum(int(line["metadata"]["billhouse_lines"]) for line in requests.values()) == lines
        assert all("on the statement" in line["description"] for line in requests.values())


def test_live_mode_needs_the_option_and_a_live_key(
    home: Home, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_x")
    refused = run("publish", "2026-09", "--live")
    assert refused.code == 1
    assert "is a test key" in refused.stderr
    monkeypatch.setenv("STRIPE_API_KEY", "rk_live_x")
    with connect(home, allow_live=True) as connection:
        assert (connection.is_live, connection.mode) == (True, "live")


@pytest.mark.parametrize("who", [{"ada"}, None], ids=["one customer", "all customers"])
def test_a_run_continues_if_stripe_fails_for_one_invoice_and_ends_if_it_fails_for_all(
    who: set[str] | None, home: Home, emulator: StripeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = InvoicePublisher._advance

    def fails(publisher: InvoicePublisher, closed: ClosedInvoice, attempt: int) -> None:
        if who is None or closed.customer_id in who:
            raise StripeFailedError("Stripe failed (500).", "Run this again later.")
        real(publisher, closed, attempt)

    monkeypatch.setattr(InvoicePublisher, "_advance", fails)
    monkeypatch.setattr("pipeline.stripe.publisher.MAX_CONSECUTIVE_FAILURES", 2)
    if who is None:
        with pytest.raises(FatalStripeError, match="failed for 2 invoices in a row"):
            publish_period(home, SEPTEMBER, client=emulator)
    else:
        result = publish_period(home, SEPTEMBER, client=emulator)
        assert (result.counts["published"], result.counts["failed"]) == (3, 1)
