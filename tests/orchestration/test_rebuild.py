"""The weekly rebuild fails, and keeps an alert, where incremental builds made other reports than a build from scratch."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from orchestration import rebuild
from orchestration.lib.resources import BillhouseHome
from pipeline.core.home import Home
from pipeline.store.alert_log import alert_states


@pytest.mark.parametrize("differing", [{}, {"invoices": 2}])
def test_the_rebuild_fails_where_a_report_differs(
    differing: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "rebuild_and_compare", lambda _: differing)
    home = Home.open(tmp_path / "home")
    resources = {"home": BillhouseHome(path=str(home.path))}
    with dg.DagsterInstance.ephemeral() as instance:
        result = rebuild.rebuild.execute_in_process(resources=resources, instance=instance, raise_on_error=False)
    assert result.success is not bool(differing)
    assert [(alert["kind"], "invoices (2 rows)" in alert["text"]) for alert in alert_states(home)] == (
        [("check_failed", True)] if differing else []
    )
