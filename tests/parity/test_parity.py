"""Spark builds the same reports as DuckDB from the same files. `make parity` compares more data and runs all dbt checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import BillhouseError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse.spark import build_on_spark, missing_for_spark
from tests.parity.compare import compare_reports
from tests.parity.homes import small
from tests.parity.servers import documented_settings

MISSING = missing_for_spark()


def test_the_error_says_what_to_install_if_java_or_pyspark_is_missing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BillhouseError, match=r"install a JRE|make setup-spark"):
        build_on_spark(home)


def test_the_documented_server_settings_are_those_that_a_build_requires() -> None:
    required = dict(re.findall(r"'(spark\.[\w.]+)': '(\w+)'", (PROJECT_ROOT / "macros" / "engine.sql").read_text()))
    profile = yaml.safe_load((PROJECT_ROOT / "profiles.yml").read_text())["billhouse"]["outputs"]["spark"]
    assert documented_settings() == required
    assert profile["server_side_parameters"] == {k: v for k, v in required.items() if k != "spark.sql.ansi.enabled"}


@pytest.mark.skipif(MISSING is not None, reason=f"Spark cannot run here: {MISSING}")
def test_a_home_path_with_pattern_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillhouseError, match="as a pattern"):
        build_on_spark(Home.open(tmp_path / "2026*"))


@pytest.mark.skipif(MISSING is not None, reason=f"Spark cannot run here: {MISSING}")
def test_every_report_is_the_same_on_spark_to_the_last_digit(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    built = small(home, tmp_path)
    assert len(list(home.raw.glob("usage_events/*/merged-*.parquet"))) > 3
    # In a separate process, so that no Java process outlives the test.
    arguments = ["--home", str(home.path), "--as-of", built.as_of.isoformat(), "--small", "--no-checks"]
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.warehouse.spark", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    comparisons = compare_reports(home, home.path / "spark" / "warehouse" / "billing.db")
    assert [found for found in comparisons if found.differences] == []
    # An empty table would show nothing. The shipped price book has no tiers (`make parity` has some), and this home has no
    # subscription in Stripe.
    assert {found.table for found in comparisons if found.rows == 0} <= {"rate_tiers", "stripe_subscriptions"}
