"""The mirror of Stripe: payments, differences, plans from subscriptions; and credit notes, each exactly once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from pipeline.store.credit_notes import read_credit_notes
from pipeline.stripe.client import StripeConnection, local_emulator
from pipeline.stripe.credit_notes import issue_credit_note
from pipeline.stripe.existing import metadata_of
from pipeline.stripe.mirror import sync_stripe
from pipeline.warehouse.build import build
from tests.support import Outcome, billhouse, copy_home, event, prepare, query, write_jsonl

AS_OF = "2026-10-05T00:00:00Z"
CUSTOMERS = ("ada", "bob", "cyd", "dan", "eve", "fay", "gil", "hal")
OVER_BILLED = ("ada", "bob", "cyd", "dan")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A home with September closed, approved and in the local Stripe: eight customers on Pro."""
    usage = []
    for name in CUSTOMERS:
        usage.append(
            event("start", "2026-09-10T10:00:00Z", user=name, sandbox=f"box-{name}", vcpu_count=1000, memory_gb=1, storage_gb=1)
        )
        usage.append(event("stop", "2026-09-10T15:00:00Z", user=name, sandbox=f"box-{name}"))
    plans = [{"customer_id": name, "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"} for name in CUSTOMERS]
    return prepare(
        tmp_path_factory.mktemp("mirror") / "home",
        parsed_project,
        {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans},
        ("build", "--as-of", AS_OF),
        ("close", "2026-09"),
        ("approve", "2026-09", "--all"),
        ("publish", "2026-09"),
    )


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Home:
    return copy_home(published, tmp_path / "home")


@pytest.fixture
def run(home: Home) -> Callable[..., Outcome]:
    return lambda *words: billhouse(home.path, *words)


@pytest.fixture
def emulator(home: Home) -> Iterator[StripeConnection]:
    with local_emulator(home) as connection:
        yield connection


@pytest.fixture(scope="module")
def all_corrected(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That home after a correction: `OVER_BILLED` were always on hobby, so that the billed Pro fee is not due."""
    home = copy_home(published, tmp_path_factory.mktemp("corrected") / "home")
    records = [{"customer_id": name, "plan_id": "hobby", "effective_at": "2026-09-01T00:00:00Z"} for name in OVER_BILLED]
    path = write_jsonl(home.path.parent / "corrections.jsonl", records)
    assert billhouse(home.path, "land", "--kind", "subscriptions", path).code == 0
    rebuild(home)
    return home.path


@pytest.fixture
def corrected(all_corrected: Path, tmp_path: Path) -> Home:
    return copy_home(all_corrected, tmp_path / "corrected")


@pytest.fixture
def its_emulator(corrected: Home) -> Iterator[StripeConnection]:
    with local_emulator(corrected) as connection:
        yield connection


def invoices_by_customer(home: Home, connection: StripeConnection) -> dict[str, Any]:
    """Stripe's invoices by our customer id."""
    ours = {
        row["stripe_invoice_id"]: row["customer_id"] for row in query(home, "from invoices where stripe_invoice_id is not null")
    }
    return {ours[one.id]: one for one in connection.client.v1.invoices.list({"limit": 100}).auto_paging_iter() if one.id in ours}


def rebuild(home: Home) -> None:
    build(home, datetime.fromisoformat(AS_OF))


def test_reconciliation_finds_exactly_the_introduced_differences(
    home: Home, emulator: StripeConnection, run: Callable[..., Outcome]
) -> None:
    v1: Any = emulator.client.v1
    in_stripe = invoices_by_customer(home, emulator)
    sync_stripe(home, client=emulator)
    rebuild(home)
    assert {row["difference"] for row in query(home, "from stripe_reconciliation")} == {"none"}
    assert run("reconcile").code == 0

    v1.invoices.void_invoice(in_stripe["ada"].id)
    v1.invoices.update(in_stripe["bob"].id, {"metadata": {"billhouse_content_hash": "by hand"}})
    v1.credit_notes.create(
        {
            "invoice": in_stripe["cyd"].id,
            "lines": [{"type": "custom_line_item", "description": "x", "quantity": 1, "unit_amount": 100}],
        }
    )
    v1.invoices.pay(in_stripe["dan"].id)
    v1.invoices.mark_uncollectible(in_stripe["eve"].id)
    extra = v1.invoices.create({"customer": in_stripe["fay"].customer, "collection_method": "send_invoice", "days_until_due": 5})
    tamper(home, "invoiceitem", "invoice", in_stripe["fay"].id, lambda item: item.update(amount=item["amount"] - 100))
    tamper(home, "invoice", "id", in_stripe["gil"].id, None)
    tamper(home, "invoice", "id", in_stripe["hal"].id, lambda invoice: invoice.update(customer=in_stripe["ada"].customer))
    sync_stripe(home, client=emulator, full=True)
    rebuild(home)
    found = {(row["customer_id"], row["invoice_id"] is not None): row for row in query(home, "from stripe_reconciliation")}
    assert {key: row["difference"] for key, row in found.items()} == {
        ("ada", True): "status",
        ("bob", True): "edited",
        ("cyd", True): "credited",
        ("dan", True): "none",
        ("eve", True): "none",
        ("fay", True): "amount",
        ("fay", False): "extra",
        ("gil", True): "missing",
        ("hal", True): "customer",
    }
    assert found["fay", False]["stripe_invoice_id"] == extra.id
    total = found["dan", True]["total_amount"]
    assert (found["dan", True]["paid_amount"], found["dan", True]["open_amount"]) == (total, 0)
    assert (found["eve", True]["paid_amount"], found["eve", True]["open_amount"]) == (0, total)
    statuses = {row["customer_id"]: row["status"] for row in query(home, "from invoices where period = '2026-09'")}
    assert statuses == {
        "ada": "void",
        "bob": "open",
        "cyd": "open",
        "dan": "paid",
        "eve": "uncollectible",
        "fay": "open",
        "gil": "published",
        "hal": "open",
    }
    outcome = run("reconcile", "--json")
    assert outcome.code == 1
    assert len(outcome.json["differences"]) == 7
    assert "docs/operate/stripe.md" in run("reconcile").stdout


def tamper(home: Home, kind: str, column: str, id: str, change: Callable[[dict[str, Any]], None] | None) -> None:
    """Change or delete (`change` is None) an object directly in the emulator's database, which Stripe's API does not allow."""
    with sqlite3.connect(home.stripe_emulator) as state:
        found, body = state.execute(
            f"select id, body from objects where kind = ? and {column} = ? limit 1", (kind, id)
        ).fetchone()
        if change is None:
            state.execute("delete from objects where id = ?", (found,))
        else:
            changed = json.loads(body)
            change(changed)
            state.execute("update objects set body = ? where id = ?", (json.dumps(changed), found))


def test_an_incremental_sync_gives_the_same_reports_as_a_full_one(home: Home, emulator: StripeConnection) -> None:
    v1: Any = emulator.client.v1
    in_stripe = invoices_by_customer(home, emulator)
    first = sync_stripe(home, client=emulator)
    assert first.is_full
    assert first.counts["invoices"] == len(CUSTOMERS)
    again = sync_stripe(home, client=emulator)
    assert not again.is_full
    assert sum(again.counts.values()) == 0
    v1.invoices.pay(in_stripe["ada"].id)
    draft = v1.invoices.create({"customer": in_stripe["bob"].customer, "collection_method": "send_invoice", "days_until_due": 5})
    v1.invoices.delete(draft.id)
    changed = sync_stripe(home, client=emulator)
    assert {kind: count for kind, count in changed.counts.items() if count} == {"events": 4, "invoices": 2, "invoice_payments": 1}
    rebuild(home)
    reports = "select * exclude (synced_at) from stripe_reconciliation order by all"
    by_events = query(home, reports)
    assert {row["customer_id"] for row in by_events if row["stripe_status"] == "paid"} == {"ada"}
    sync_stripe(home, client=emulator, full=True)
    rebuild(home)
    assert query(home, reports) == by_events


def test_an_interrupted_sync_has_no_effect(home: Home, emulator: StripeConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "pipeline.stripe.mirror.max", lambda *_, **__: 1 / 0, raising=False
        )  # after all objects, before the row of the sync
        with pytest.raises(ZeroDivisionError):
            sync_stripe(home, client=emulator, full=True)
    rebuild(home)
    assert query(home, "from stripe_reconciliation") == []
    sync_stripe(home, client=emulator)
    rebuild(home)
    assert len(query(home, "from stripe_reconciliation")) == len(CUSTOMERS)


def test_a_credit_note_credits_the_correction_that_the_next_invoice_would_have_made(
    corrected: Home, its_emulator: StripeConnection
) -> None:
    (draft,) = query(corrected, "from invoices where customer_id = 'ada' and status = 'draft'")
    assert draft["subtotal_amount"] == Decimal("-150.000")
    in_stripe = invoices_by_customer(corrected, its_emulator)["ada"]
    (closed,) = query(corrected, "from invoices where customer_id = 'ada' and period = '2026-09'")
    result = issue_credit_note(corrected, closed["invoice_id"], by="cfo", memo="Sorry", client=its_emulator)
    assert (result.amount, result.published) == (Decimal("150.000"), [result.credit_note_id])
    (note,) = its_emulator.client.v1.credit_notes.list({"invoice": in_stripe.id}).data
    assert (note.amount, note.memo, metadata_of(note)["billhouse_credit_note_id"]) == (15000, "Sorry", result.credit_note_id)
    rebuild(corrected)
    assert query(corrected, "from invoices where customer_id = 'ada' and status = 'draft'") == []
    assert sum(row["amount"] for row in query(corrected, "from credit_note_lines")) == Decimal("-150.000")
    again = issue_credit_note(corrected, closed["invoice_id"], by="cfo", client=its_emulator)
    assert (again.credit_note_id, again.published, again.issued_before) == ("", [], [result.credit_note_id]), "safe to repeat"
    sync_stripe(corrected, client=its_emulator)
    rebuild(corrected)
    (row,) = query(corrected, "from stripe_reconciliation where customer_id = 'ada'")
    assert (row["difference"], row["credited_amount"]) == ("none", Decimal("150.000"))
    assert billhouse(corrected.path, "verify").code == 0


def test_a_paid_invoice_is_credited_to_the_balance(corrected: Home, its_emulator: StripeConnection) -> None:
    in_stripe = invoices_by_customer(corrected, its_emulator)["bob"]
    its_emulator.client.v1.invoices.pay(in_stripe.id)
    (closed,) = query(corrected, "from invoices where customer_id = 'bob' and period = '2026-09'")
    issue_credit_note(corrected, closed["invoice_id"], by="cfo", client=its_emulator)
    (note,) = its_emulator.client.v1.credit_notes.list({"invoice": in_stripe.id}).data
    assert (note.type, note.post_payment_amount) == ("post_payment", 15000)


def test_a_credit_note_cannot_exceed_the_amount_charged(corrected: Home, its_emulator: StripeConnection) -> None:
    v1: Any = its_emulator.client.v1
    in_stripe = invoices_by_customer(corrected, its_emulator)["cyd"]
    line = {"type": "custom_line_item", "description": "by hand", "quantity": 1, "unit_amount": in_stripe.total - 100}
    v1.credit_notes.create({"invoice": in_stripe.id, "lines": [line]})
    (closed,) = query(corrected, "from invoices where customer_id = 'cyd' and period = '2026-09'")
    with pytest.raises(BillhouseError, match=r"only 1\.00 was charged"):
        issue_credit_note(corrected, closed["invoice_id"], by="cfo", client=its_emulator)
    assert read_credit_notes(corrected) == {}


def test_a_credit_note_with_a_lost_response_is_delivered_once(
    corrected: Home, its_emulator: StripeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (closed,) = query(corrected, "from invoices where customer_id = 'dan' and period = '2026-09'")
    requestor: Any = its_emulator.client._requestor
    real = requestor.request

    def lost(method: str, *words: Any, **more: Any) -> Any:
        answer = real(method, *words, **more)
        if method == "post":
            raise stripe.InvalidRequestError("cut off", None, http_status=400)  # type: ignore[no-untyped-call]
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(requestor, "request", lost)
        with pytest.raises(BillhouseError, match="is issued, but Stripe refused it"):
            issue_credit_note(corrected, closed["invoice_id"], by="cfo", client=its_emulator)
    (issued,) = read_credit_notes(corrected)
    again = issue_credit_note(corrected, closed["invoice_id"], by="cfo", client=its_emulator)
    assert again.published == [issued]
    assert (
        len(its_emulator.client.v1.credit_notes.list({"invoice": invoices_by_customer(corrected, its_emulator)["dan"].id}).data)
        == 1
    )
    assert list(read_credit_notes(corrected)) == [issued]


def test_a_subscription_in_stripe_changes_the_plan(
    home: Home, emulator: StripeConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    v1: Any = emulator.client.v1
    price = v1.prices.create({"currency": "usd", "unit_amount": 0, "product": "prod_x"})
    project = tmp_path / "project"
    from pipeline.core.home import PROJECT_ROOT

    for part in ("models", "macros", "seeds", "tests/warehouse"):
        shutil.copytree(PROJECT_ROOT / part, project / part)
    for file in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_ROOT / file, project / file)
    (project / "seeds" / "stripe_prices.csv").write_text(f"stripe_price_id,plan_id\n{price.id},pro\n")
    customer = v1.customers.create({"name": "Zoe", "metadata": {"billhouse_customer_id": "zoe"}})
    subscription = v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    sync_stripe(home, client=emulator)
    started = datetime.fromtimestamp(subscription.start_date, UTC)
    build(home, datetime(started.year + 1, 1, 1, tzinfo=UTC), project=project)
    (stay,) = query(home, "from subscriptions where customer_id = 'zoe'")
    assert (stay["plan_id"], stay["starts_at"]) == ("pro", started)
    v1.subscriptions.cancel(subscription.id)
    sync_stripe(home, client=emulator)
    build(home, datetime(started.year + 1, 1, 1, tzinfo=UTC), project=project)
    stays = query(home, "from subscriptions where customer_id = 'zoe' order by starts_at")
    assert stays[-1]["plan_id"] == "hobby"
