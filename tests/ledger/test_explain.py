"""Explaining invoices, where the parts sum to the line down to landed rows; and simulating another price book."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing import land_files
from pipeline.landing.merge_raw_files import merge_raw_files
from pipeline.ledger.close import close_period
from pipeline.ledger.explain import explain
from pipeline.ledger.explanation import InvoiceExplanation
from pipeline.ledger.simulation import simulate
from pipeline.warehouse.build import build
from pipeline.warehouse.reconstruction import home_at_close
from tests.models.test_against_reference import land_records
from tests.reference.strategies import random_batch, to_jsonl_parts
from tests.support import billhouse, copy_home, event, query, write_jsonl


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """Histories of all kinds under the project's own prices, one month closed before the rest of the events landed."""
    folder = tmp_path_factory.mktemp("explain")
    home = copy_home(parsed_project, folder / "home")
    batch = random_batch(Random(36), 40, vary_prices=False)
    first, second = to_jsonl_parts(batch, folder, 2)
    land_records(batch, home, folder, PROJECT_ROOT)
    land_files(home, [first])
    month = BillingPeriod.containing(batch.as_of).previous()
    build(home, month.end)
    for period in sorted({row["period"] for row in query(home, "from invoices")}):
        if BillingPeriod.parse(period) <= month:
            close_period(home, BillingPeriod.parse(period), force=True)
    land_files(home, [second])
    build(home, batch.as_of)
    return home


def test_the_lines_and_days_of_an_explained_invoice_sum_to_it(history: Home) -> None:
    """Closed invoices are explained as they were closed, even where events landed for them since."""
    invoices = query(history, "from invoices order by invoice_id")
    chosen = [row for row in invoices if row["status"] == "draft"] + [row for row in invoices if row["status"] == "closed"][:4]
    assert {row["status"] for row in chosen} == {"draft", "closed"}
    for invoice in chosen:
        explained = explain(history, invoice["invoice_id"])
        assert sum(line.amount for line in explained.lines) == invoice["subtotal_amount"]
        credits = sum((credit["amount"] for credit in explained.credits), Decimal(0))
        assert credits == invoice["credits_applied_amount"]
        assert explained.subtotal_amount - credits - explained.carried_forward_amount == explained.total_amount
        for line in explained.lines:
            assert line.due_amount - sum(line.billed_before.values()) == line.amount
            assert line.arithmetic
            if line.days:
                assert sum(day.amount for day in line.days) == line.due_amount


def test_the_days_and_sessions_of_a_line_sum_to_it_and_name_their_landed_rows(history: Home) -> None:
    lines = query(
        history,
        "select invoice_id, line_id, meter_id from invoice_lines where line_type = 'usage' and quantity > 0"
        " and invoice_id in (select invoice_id from invoices where status = 'draft') order by line_id limit 12",
    )
    rows = sum(len(path.read_text().splitlines()) for path in history.path.parent.glob("events-*.jsonl"))
    for key in lines:
        (line,) = explain(history, key["invoice_id"], key["line_id"]).lines
        assert sum(day.amount for day in line.days) == line.due_amount
        for day in line.days:
            assert sum(session.amount for session in day.sessions) == day.amount
            assert sum(session.quantity for session in day.sessions) == day.quantity
            for session in day.sessions:
                assert session.events
                assert all(session.started_at <= event.event_at <= session.ended_at for event in session.events)
                assert all(1 <= event.file_row <= rows and event.file_name.startswith("events-") for event in session.events)


def test_an_explanation_is_the_same_after_raw_files_were_merged_and_after_a_merge_that_was_killed(
    history: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are named by the file and line that they landed with. A closed invoice is explained by the files landed by then."""
    lines = query(
        history,
        "select invoice_id, line_id from invoice_lines where line_type = 'usage' and quantity > 0"
        " and invoice_id in (select invoice_id from invoices where status = 'draft') order by line_id limit 4",
    )
    rebuilt: list[Home] = []

    @contextmanager
    def recorded(home: Home, *words: Any, **named: Any) -> Iterator[Home]:
        rebuilt.append(home)
        with home_at_close(home, *words, **named) as scratch:
            yield scratch

    monkeypatch.setattr("pipeline.ledger.explain.home_at_close", recorded)
    for row in query(history, "from invoice_lines where line_type = 'usage' and quantity > 0 order by line_id"):
        found = explain(history, row["invoice_id"], row["line_id"])
        if rebuilt:
            lines.append(row)
            break
    assert rebuilt and any(session.events for day in found.lines[0].days for session in day.sessions)

    def explained() -> list[InvoiceExplanation]:
        return [explain(history, line["invoice_id"], line["line_id"]) for line in lines]

    before = explained()
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.store.append.Path.unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            merge_raw_files(history)
    assert list(history.scratch.glob("committed-*")), "the files that were replaced are still there"
    assert explained() == before
    assert merge_raw_files(history).files > 20
    assert explained() == before


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_command_prints_text_and_json_and_names_a_missing_invoice(history: Home) -> None:
    (line,) = query(history, "from invoice_lines where line_type = 'usage' and quantity > 0 order by line_id limit 1")
    explained = billhouse(history.path, "explain", line["invoice_id"], "--line", line["line_id"])
    assert explained.code == 0
    assert "rounded once, half away from zero" in explained.stdout
    assert "row " in explained.stdout
    as_json = billhouse(history.path, "explain", line["invoice_id"], "--json").json
    assert as_json["invoice_id"] == line["invoice_id"]
    missing = billhouse(history.path, "explain", "INV-none")
    assert (missing.code, "There is no invoice INV-none" in missing.stderr) == (1, True)
    assert billhouse(history.path, "explain", line["invoice_id"], "--line", "LIN-none").code == 1


def fingerprint(home: Home) -> str:
    """A hash over a home's files, without scratch folders and the simulations' files."""
    digest = hashlib.sha256()
    for path in sorted(home.path.rglob("*")):
        within = path.relative_to(home.path)
        if path.is_file() and within.parts[0] not in (".tmp", ".lock") and within.parts[:2] != ("exports", "simulations"):
            digest.update(str(within).encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_simulation_shows_the_changes_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    usage = [
        event("start", "2026-09-20T10:00:00Z", user="=paula", sandbox="p", vcpu_count=100, memory_gb=0, storage_gb=0),
        event("stop", "2026-09-20T11:00:00Z", user="=paula", sandbox="p"),
    ]
    land_files(home, [write_jsonl(tmp_path / "usage.jsonl", usage)])
    billhouse(home.path, "build", "--as-of", "2026-10-05T00:00:00Z")
    billhouse(home.path, "close", "2026-09")
    prices = tmp_path / "prices"
    prices.mkdir()
    rates = (PROJECT_ROOT / "seeds" / "rates.csv").read_text()
    (prices / "rates.csv").write_text(rates.replace(",0.000014,", ",0.000028,"))
    before = fingerprint(home)
    month = BillingPeriod(2026, 9)
    result = simulate(home, prices, month, month)
    assert fingerprint(home) == before
    assert result.totals == {"USD": (Decimal("5.04"), Decimal("10.08"))}
    assert [row[5] for row in result.changed] == [Decimal("5.04")]
    table, workbook = result.files
    assert table.read_text().splitlines()[1].startswith("'=paula,2026-09,USD,5.040,10.080,5.040")
    assert workbook.stat().st_size > 0
    assert json.dumps(result.as_dict())
    unsound = tmp_path / "unsound"
    unsound.mkdir()
    (unsound / "rates.csv").write_text(rates.replace(",vcpu,", ",no-such-meter,"))
    refused = billhouse(home.path, "simulate", "--prices", unsound, "--from", "2026-09", "--to", "2026-09")
    assert refused.code == 1
    assert "meter_id 'no-such-meter' is not in seeds/meters.csv" in refused.stderr
