"""One check runs every generic test of the yml files: it leaves out none, and a failed one is reported under its own name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.lib.dbt_translator import GENERIC_TESTS
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse.build import build
from pipeline.warehouse.build_steps import COLUMN_RULES, BuildFailedError

CHECK = f"test.billhouse.{COLUMN_RULES}"


@pytest.fixture(scope="module")
def generic(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The generic tests."""
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "test" and node.get("test_metadata")]


def test_the_check_reads_every_model_with_a_generic_test(manifest: Mapping[str, Any], generic: list[Mapping[str, Any]]) -> None:
    tested = {test["attached_node"] for test in generic}
    assert len(generic) >= 48
    assert set(manifest["nodes"][CHECK]["depends_on"]["nodes"]) - {"model.billhouse.dirty_customer_days"} == tested


def test_a_generic_test_has_no_setting_that_the_check_would_ignore(generic: list[Mapping[str, Any]]) -> None:
    settings = {"where": None, "limit": None, "fail_calc": "count(*)", "error_if": "!= 0", "warn_if": "!= 0", "enabled": True}
    assert [test["name"] for test in generic if {name: test["config"][name] for name in settings} != settings] == []
    assert [test["name"] for test in generic if str(test["config"]["severity"]).lower() != "error"] == []
    one_column = GENERIC_TESTS.keys() - {"relationships"}
    assert [test["name"] for test in generic if test["test_metadata"]["name"] not in one_column] == []


def test_each_failed_rule_is_reported_with_its_model_column_and_rows(tmp_path: Path, home: Home) -> None:
    project = tmp_path / "project"
    for name in ("models", "macros", "seeds", "tests/warehouse"):
        shutil.copytree(PROJECT_ROOT / name, project / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copyfile(PROJECT_ROOT / name, project / name)
    yml = project / "models" / "billing" / "_billing.yml"
    rules = yml.read_text().replace("{values: [none, send_invoice]}", "{values: [by_pigeon]}")
    yml.write_text(rules)
    with pytest.raises(BuildFailedError) as failed:
        build(home, datetime(2026, 9, 5, tzinfo=UTC), project=project)
    rule = "accepted_values_billing_plans_collection__by_pigeon"
    assert f"check {rule}: Got 2 results, configured to fail if != 0\n    value_field " in failed.value.message
    (step,) = (step for step in failed.value.steps if rule in step.unique_id)
    assert (step.status, step.failures) == ("fail", 2)
    assert not home.analysts_file.exists()
