"""A build after a decision runs only what depends on it, and gives the same as a build from scratch."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing.record_kinds import Kind
from pipeline.warehouse.build import build
from pipeline.warehouse.build_inputs import code_version, input_digests, parts_to_rebuild
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.connection import open_warehouse
from pipeline.warehouse.parsed_project import parsed_project
from tests.support import billhouse, event, prepare, query

JULY = [
    event("start", "2026-07-20T10:00:00Z", user="paula", vcpu_count=4, memory_gb=4, storage_gb=5),
    event("stop", "2026-07-20T11:00:00Z", user="paula"),
    event("start", "2026-08-20T10:00:00Z", user="paula", sandbox="next", vcpu_count=4, memory_gb=4, storage_gb=5),
    event("stop", "2026-08-20T19:00:00Z", user="paula", sandbox="next"),
    event("start", "2026-08-21T10:00:00Z", user="hugo", sandbox="other", vcpu_count=2),
    event("stop", "2026-08-21T12:00:00Z", user="hugo", sandbox="other"),
]
SUBSCRIPTIONS = [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-07-01T00:00:00Z"}]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    records = {Kind.USAGE: JULY, Kind.SUBSCRIPTIONS: SUBSCRIPTIONS}
    folder = tmp_path_factory.mktemp("refresh") / "home"
    return Home(prepare(folder, parsed_project, records, ("build", "--as-of", "2026-09-05T00:00:00Z")))


def marts(home: Home) -> dict[str, str]:
    files = sorted(home.marts.rglob("*.parquet"))
    return {str(path.relative_to(home.marts)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_decisions_change_is_built_and_nothing_else_and_equals_a_build_from_scratch(built: Home) -> None:
    record = last_build(built)
    assert record is not None
    everything = steps_of_the_last_build(built)
    decisions = (
        ("close", "2026-07"),
        ("approve", "2026-07", "--all"),
        ("publish", "2026-07"),
        ("close", "2026-08"),
        ("sync-stripe",),
    )
    steps, written = {}, {}
    for words in decisions:
        files = {path: path.stat().st_ino for path in built.marts.rglob("*.parquet")}
        outcome = billhouse(built.path, *words)
        assert outcome.code == 0, outcome.stderr
        steps[words[0]] = steps_of_the_last_build(built)
        written[words[0]] = {path.stem for path in built.marts.rglob("*.parquet") if path.stat().st_ino != files.get(path)}
    assert written["approve"] == {"invoices"}, "other reports are not written again"
    assert {"invoices", "stripe_reconciliation"} < written["publish"]
    assert "customers" not in written["publish"]
    statuses = {(row["period"], row["status"]) for row in query(built, "from invoices where customer_id = 'paula'")}
    assert statuses == {("2026-07", "open"), ("2026-08", "closed"), ("2026-09", "draft")}
    with open_warehouse(built) as warehouse:
        rated = warehouse.execute("select count(*) from build_state.rated_inputs").fetchall()
    assert rated == [(1,)], "the next build is incremental"
    refreshed = marts(built)
    scratch = build(built, record.as_of, from_scratch=True)
    assert marts(built) == refreshed
    assert steps_of_the_last_build(built) == everything
    assert steps["approve"] < everything / 10
    assert steps["publish"] < everything / 4
    assert steps["close"] < everything / 2
    assert steps["sync-stripe"] < everything
    later = build(built, record.as_of + timedelta(hours=1))
    kinds = {
        kind: {step.unique_id for step in later.steps if step.unique_id.startswith(kind)} for kind in ("seed", "model", "test")
    }
    assert kinds["seed"] == set(), "the price book is what it was"
    assert kinds["test"] == {step.unique_id for step in scratch.steps if step.unique_id.startswith("test")}
    assert "model.billhouse.invoices" in kinds["model"]
    assert "model.billhouse.stg_usage_events" not in kinds["model"]


def test_the_tables_that_know_what_they_can_reuse_are_those_before_the_dirty_executions(home: Home) -> None:
    manifest = parsed_project(home, PROJECT_ROOT)
    before, waiting = set(), ["model.billhouse.dirty_executions", "model.billhouse.sandbox_minutes"]
    while waiting:
        name = waiting.pop()
        if name in manifest.nodes and name not in before:
            before.add(name)
            waiting += manifest.nodes[name].depends_on_nodes
    conditions = {
        manifest.nodes[name].config.get("full_refresh_when")
        for name in before
        if manifest.nodes[name].config.materialized == "incremental_replace"
    }
    macro = manifest.macros["macro.billhouse.before_rating"].macro_sql
    assert conditions == set(re.findall(r"'(\w+)'", macro))


def steps_of_the_last_build(home: Home) -> int:
    record = last_build(home)
    assert record is not None
    return record.step_count


def test_a_part_that_every_model_may_hang_on_has_everything_built() -> None:
    before = {"as_of": "a", "project": "b", "ledger/approvals": "c", "ledger/closes": "d"}
    assert parts_to_rebuild(before, before | {"ledger/approvals": "x"}, PROJECT_ROOT) == frozenset({"ledger/approvals"})
    assert parts_to_rebuild(before, before | {"ledger/approvals": "x", "as_of": "y"}, PROJECT_ROOT) is None
    assert parts_to_rebuild({}, before, PROJECT_ROOT) is None
    assert parts_to_rebuild(before, before, PROJECT_ROOT) is None


def test_another_version_of_the_engine_takes_nothing_over(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    as_of = datetime(2026, 9, 5, tzinfo=UTC)
    before, version = input_digests(home, as_of, PROJECT_ROOT), code_version(PROJECT_ROOT)
    assert before == input_digests(home, as_of, PROJECT_ROOT)
    monkeypatch.setattr("duckdb.__version__", "another")
    assert code_version(PROJECT_ROOT) != version
    now = input_digests(home, as_of, PROJECT_ROOT)
    assert parts_to_rebuild(before | {"ledger/approvals": "x"}, now, PROJECT_ROOT) is None
