"""Publishing: each closed invoice is in Stripe once, equal to ours, whatever happens on the way."""

from __future__ import annotations

import shutil
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

from pipeline.closed_invoices import ClosedInvoice, closed_invoices
from pipeline.errors import BillhouseError
from pipeline.home import Home
from pipeline.ledger_files import read_close
from pipeline.periods import BillingPeriod
from pipeline.stripe.client import StripeConnection, connect, local_emulator
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.publish import publish_period
from pipeline.stripe.requests import customer_request, invoice_request
from tests.support import Outcome, billhouse, event, query, write_jsonl

SEPTEMBER = BillingPeriod(2026, 9)
CUSTOMERS = ("ada", "bob", "cyd", "dan")


@pytest.fixture(scope="module")
def september_closed(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A home with September closed: four customers on Pro, one of them in yen, and one on hobby."""
    folder = tmp_path_factory.mktemp("publish")
    home = folder / "home"
    shutil.copytree(parsed_project, home / ".dbt" / "target")
    usage = []
    for number, name in enumerate((*CUSTOMERS, "hal"), 1):
        usage.append(event("start", "2026-09-10T10:00:00Z", user=name, sandbox=f"box-{name}", vcpu_count=100 * number))
        usage.append(event("stop", "2026-09-10T15:00:00Z", user=name, sandbox=f"box-{name}"))
    plans = [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS]
    people = [{"customer_id": "ada", "name": "Ada", "email": "ada@example.com"}, {"customer_id": "dan", "currency": "JPY"}]
    for words in (
        ("land", write_jsonl(folder / "usage.jsonl", usage)),
        ("land", "--kind", "subscriptions", write_jsonl(folder / "plans.jsonl", plans)),
        ("land", "--kind", "customers", write_jsonl(folder / "people.jsonl", people)),
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
        ("approve", "2026-09", "--all", "--by", "cfo"),
    ):
        assert billhouse(home, *words).code == 0
    return home


@pytest.fixture
def home(september_closed: Path, tmp_path: Path) -> Home:
    """A copy of that home."""
    shutil.copytree(september_closed, tmp_path / "home")
    return Home.open(tmp_path / "home")


@pytest.fixture
def run(home: Home) -> Callable[..., Outcome]:
    return lambda *words: billhouse(home.path, *words)


@pytest.fixture
def emulator(home: Home) -> Iterator[StripeConnection]:
    with local_emulator(home) as connection:
        yield connection


def in_stripe(connection: StripeConnection) -> list[Any]:
    """Every invoice there, oldest first."""
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
        there = v1.invoices.line_items.list(found[invoice_id].id, {"limit": 100}).auto_paging_iter()
        amounts = sorted(line.amount for line in there if "LIN-" in str(line.metadata))
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


def test_yen_go_over_whole_and_dollars_in_cents(home: Home, emulator: StripeConnection) -> None:
    publish_period(home, SEPTEMBER, client=emulator)
    totals = {one.currency: one.total for one in in_stripe(emulator)}
    (dan,) = query(home, "from invoices where customer_id = 'dan' and period = '2026-09'")
    assert totals["jpy"] == dan["total_amount"]
    row = {"invoice_id": "INV", "minor_unit_digits": 2}
    assert ClosedInvoice(row, [], []).minor_units(Decimal("12.34")) == 1234
    with pytest.raises(BillhouseError):
        ClosedInvoice(row, [], []).minor_units(Decimal("0.001"))


def test_a_lost_record_of_publications_is_found_again_in_stripe(home: Home, emulator: StripeConnection) -> None:
    publish_period(home, SEPTEMBER, client=emulator)
    shutil.rmtree(home.publications)
    home.publications.mkdir()
    result = publish_period(home, SEPTEMBER, client=emulator)
    assert result.counts["published"] == 4
    assert_published_once(home, emulator)


def test_a_draft_that_someone_changed_is_not_finalized_and_the_others_go_on(home: Home, emulator: StripeConnection) -> None:
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


def test_a_dry_run_sends_nothing_and_shows_requests_that_stripe_would_take(home: Home, emulator: StripeConnection) -> None:
    result = publish_period(home, SEPTEMBER, dry_run=True, client=emulator)
    assert in_stripe(emulator) == []
    typed = {
        "/v1/customers": stripe_params.CustomerCreateParams,
        "/v1/invoices": stripe_params.InvoiceCreateParams,
        "/v1/invoices/<the draft>/add_lines": stripe_params.InvoiceAddLinesParams,
        "/v1/invoices/<the draft>/send": stripe_params.InvoiceSendInvoiceParams,
        "/v1/invoices/<the draft>/finalize": stripe_params.InvoiceFinalizeInvoiceParams,
    }
    assert {request["path"] for request in result.requests} == typed.keys()
    for request in result.requests:
        adapter = strict(typed[request["path"]])
        adapter.validate_python(request["params"], strict=True)
    with pytest.raises(ValueError, match="no_such_parameter"):
        strict(stripe_params.InvoiceCreateParams).validate_python({"no_such_parameter": 1})


def strict(params: Any) -> TypeAdapter[Any]:
    """Stripe's own typed parameters; one that it does not know is an error."""
    names = vars(typing) | vars(import_module(params.__module__)) | {"StripeContext": StripeContext}
    config = ConfigDict(extra="forbid", defer_build=True, arbitrary_types_allowed=True)
    adapter: TypeAdapter[Any] = TypeAdapter(with_config(config)(params))
    adapter.rebuild(_types_namespace=names)
    return adapter


@pytest.mark.parametrize("key", ["sk_live_secret123", "rk_live_secret123"])
def test_a_live_key_is_refused_and_never_shown(key: str, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", key)
    refused = run("publish", "2026-09")
    assert refused.code == 1
    assert "is a live key" in refused.stderr
    assert "secret123" not in refused.stderr + refused.stdout


def test_what_is_no_key_is_refused_and_never_shown(
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
