"""The models: their own unit tests, their descriptions, and invariants that really fail when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.lib.dbt_manifest import ready_manifest
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.warehouse.report_tables import report_tables
from tests.support import billhouse, copy_home, dbt, event, failed_checks, write_jsonl

LAYERS = ("price_book", "staging", "customers", "usage", "rating", "invoicing", "limits", "utilisation", "billing")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A home with a closed month and an open one."""
    folder = tmp_path_factory.mktemp("models")
    home = copy_home(parsed_project, folder / "home")
    usage = []
    for day in ("08-10", "09-10"):
        usage.append(event("start", f"2026-{day}T10:00:00Z", sandbox=f"box-{day}", vcpu_count=8, tokens=5))
        usage.append(event("stop", f"2026-{day}T11:00:00Z", sandbox=f"box-{day}"))
    billhouse(home.path, "land", write_jsonl(folder / "usage.jsonl", usage))
    billhouse(home.path, "build", "--as-of", "2026-10-05T00:00:00Z")
    assert billhouse(home.path, "close", "2026-08").code == 0
    # So that the invariants of recomputed rows look at all rows.
    assert billhouse(home.path, "build", "--as-of", "2026-10-05T00:00:00Z", "--from-scratch").code == 0
    return home


@pytest.fixture(scope="module")
def nodes(built: Home) -> list[dict[str, Any]]:
    """What dbt knows of every seed, model and check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(built.path))
        found: dict[str, dict[str, Any]] = json.loads(ready_manifest().read_text())["nodes"]
    return list(found.values())


def test_the_models_own_unit_tests_pass(built: Home) -> None:
    results = dbt(built, "test", "--select", "test_type:unit")
    assert {status for _, status in results} == {"pass"}


def test_every_report_is_under_an_enforced_contract(nodes: list[dict[str, Any]]) -> None:
    reports = [node for node in nodes if node["resource_type"] == "model" and node["schema"] == "billing"]
    assert {node["alias"] for node in reports} == report_tables().keys()
    assert [node["name"] for node in reports if not node["config"]["contract"]["enforced"]] == []


def test_every_model_and_column_is_described_and_the_descriptions_reach_duckdb(built: Home, nodes: list[dict[str, Any]]) -> None:
    described = {
        (node["schema"], node["alias"], column["name"])
        for node in nodes
        if node["resource_type"] in ("model", "seed") and node["description"]
        for column in node["columns"].values()
        if column["description"]
    }
    with duckdb.connect(str(built.warehouse), read_only=True) as warehouse:
        there = warehouse.execute(
            "select schema_name, table_name, column_name from duckdb_columns() where schema_name in (select unnest(?))",
            [list(LAYERS)],
        ).fetchall()
    assert len(there) > 500
    undescribed = sorted(set(there) - described)
    assert undescribed == []
    with duckdb.connect(str(built.analysts_file), read_only=True) as reports:
        counted = reports.execute(
            "select count(*), count(*) filter (where coalesce(comment, '') = '') from duckdb_columns()"
            " where schema_name = 'billing'"
        ).fetchone()
        tables = reports.execute("select count(*) from duckdb_tables() where coalesce(comment, '') = ''").fetchone()
    assert counted is not None
    assert counted[0] > 100
    assert counted[1] == 0
    assert tables == (0,)


@pytest.mark.parametrize(
    ("broken", "invariant"),
    [
        ("update rating.session_usage set duration_microseconds = duration_microseconds - 1", "segments_fill_their_sessions"),
        ("delete from rating.usage_segments where tokens > 0", "every_quantity_reaches_its_line"),
        ("update rating.usage_segments set vcpu_count = vcpu_count / 2", "every_session_is_cut_without_loss"),
        ("update rating.usage_totals set slice_starts_at = '2020-01-01' where tokens > 0", "every_segment_is_priced"),
        (
            "update usage.sandbox_sessions set timeline_key = 1, ended_at = '2027-01-01'",
            "sessions_of_a_sandbox_follow_one_another",
        ),
        ("insert into customers.customer_terms from customers.customer_terms", "customer_terms_follow_one_another"),
        ("insert into rating.customer_price_periods from rating.customer_price_periods", "one_price_at_a_time"),
        ("update rating.due_usage_by_day set amount = amount + 0.01 where meter_id = 'vcpu'", "days_sum_to_lines"),
        ("update billing.invoices set subtotal_amount = subtotal_amount + 0.01", "lines_sum_to_invoices"),
        ("delete from billing.invoice_lines where period = '2026-09'", "lines_sum_to_invoices"),
        ("insert into billing.invoices from billing.invoices", "one_invoice_a_month"),
        ("update rating.due_lines set amount = amount + 0.01", "billed_and_drafted_is_due"),
        ("update billing.credit_applications set amount = 1000", "credit_is_never_overspent"),
        ("update billing.credit_ledger set closing_amount = closing_amount + 1", "credit_rolls_forward"),
        ("update billing.invoices set carried_forward_amount = -1 where period = '2026-08'", "what_is_carried_forward_arrives"),
    ],
)
def test_an_invariant_fails_when_it_is_broken(broken: str, invariant: str, built: Home) -> None:
    assert failed_checks(built, [invariant]) == set()
    assert failed_checks(built, [invariant], broken) == {invariant}
