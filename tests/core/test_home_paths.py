"""A home works at any path, or the path is rejected with the character that makes it unusable."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.ui.serve import prepare_instance
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing.record_kinds import Kind
from tests.support import billhouse, event, prepare, query

UNUSUAL = '50% off; it\'s "[new]" {{ home }} *a* $HOME ~é名:=&+@!|<>()`^'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a,b", "a comma"),
        ("a?b", "a question mark"),
        ("a#b", "a hash sign"),
        ("a\\b", "a backslash"),
        ("a%20b", "%20 (Dagster decodes it)"),
        ("a\nb", "cannot be displayed"),
        ("a\x1b[2Jb", "cannot be displayed"),
        ("a\u202eb", "cannot be displayed"),
        ("caf\udce9", "cannot be displayed"),
        ("a,b?c", "a comma (DuckDB ends the folder's name there) and a question mark"),
    ],
)
def test_a_path_that_duckdb_or_dbt_misread_is_rejected_before_anything_is_written(tmp_path: Path, name: str, words: str) -> None:
    for command in (("status",), ("build",), ("land", "usage.jsonl"), ("ui",)):
        refused = billhouse(tmp_path / name, *command)
        assert refused.code == 1
        assert words in refused.stderr
        assert "\x1b[2J" not in refused.stderr
    assert not (tmp_path / name).exists()


def test_every_command_works_at_a_path_with_any_other_characters(tmp_path: Path, parsed_project: Path) -> None:
    usage = [event("start", "2026-09-10T10:00:00Z", vcpu_count=100), event("stop", "2026-09-10T15:00:00Z")]
    plans = [{"customer_id": "ada", "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"}]
    home = prepare(
        tmp_path / UNUSUAL,
        parsed_project,
        {Kind.USAGE: usage, Kind.SUBSCRIPTIONS: plans},
        ("build", "--as-of", "2026-10-05T00:00:00Z"),
        ("close", "2026-09"),
        ("approve", "2026-09", "--all"),
        ("publish", "2026-09"),
        ("sync-stripe",),
        ("reconcile",),
        ("export", "2026-09"),
        ("verify",),
        ("simulate", "--prices", PROJECT_ROOT / "seeds", "--from", "2026-09", "--to", "2026-09"),
        ("land", "--again"),
        ("check-prices",),
        ("status",),
        ("invoices",),
        ("health",),
        ("alerts",),
        ("docs",),
    )
    (invoice,) = query(Home(home), "from invoices where period = '2026-09'")
    assert invoice["status"] == "open"
    prepare_instance(Home(home))  # the first step of `billhouse ui`
    line = billhouse(home, "explain", invoice["invoice_id"], "--json").json["lines"][-1]["line_id"]
    assert billhouse(home, "explain", invoice["invoice_id"], "--line", line).code == 0
