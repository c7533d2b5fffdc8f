"""What incremental builds made is compared with a build from scratch."""

from __future__ import annotations

from pathlib import Path

import duckdb

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from pipeline.warehouse.audit import rebuild_and_compare
from tests.support import event, prepare, query

USAGE = [
    event("start", "2026-08-20T10:00:00Z", vcpu_count=4, memory_gb=4),
    event("stop", "2026-08-20T19:00:00Z"),
]


def test_a_report_that_differs_from_a_build_from_scratch_is_found_and_replaced(tmp_path: Path, parsed_project: Path) -> None:
    home = Home(prepare(tmp_path / "home", parsed_project, {Kind.USAGE: USAGE}, ("build", "--as-of", "2026-09-05T00:00:00Z")))
    usage = "from usage_daily order by meter_id"
    right = query(home, usage)
    home.analysts_file.chmod(0o640)
    with duckdb.connect(str(home.analysts_file)) as reports:  # as if a build had overlooked a change
        reports.execute("update billing.usage_daily set amount = amount + 1 where meter_id = 'vcpu'")
    assert query(home, usage) != right
    assert rebuild_and_compare(home) == {"usage_daily": 2}, "the row as it was, and as it is; every other report is the same"
    assert query(home, usage) == right
    assert not list(home.scratch.glob("audit-*"))
