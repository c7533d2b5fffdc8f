"""Spark builds from the same files what DuckDB builds. `make parity` does the same with more, and with all of dbt's checks."""

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


def test_where_java_or_pyspark_is_missing_it_says_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BillhouseError, match=r"install a JRE|make setup-spark"):
        build_on_spark(home)


def test_what_a_server_is_started_with_is_what_a_build_asks_for() -> None:
    asked_for = dict(re.findall(r"'(spark\.[\w.]+)': '(\w+)'", (PROJECT_ROOT / "macros" / "engine.sql").read_text()))
    profile = yaml.safe_load((PROJECT_ROOT / "profiles.yml").read_text())["billhouse"]["outputs"]["spark"]
    assert documented_settings() == asked_for
    assert profile["server_side_parameters"] == {k: v for k, v in asked_for.items() if k != "spark.sql.ansi.enabled"}


@pytest.mark.skipif(MISSING is not None, reason=f"Spark cannot run here: {MISSING}")
def test_a_home_whose_path_reads_as_a_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillhouseError, match="as a pattern"):
        build_on_spark(Home.open(tmp_path / "2026*"))


@pytest.mark.skipif(MISSING is not None, reason=f"Spark cannot run here: {MISSING}")
def test_every_report_is_the_same_on_spark_to_the_last_digit(home: Home, tmp_path: Path) -> None:
    built = small(home, tmp_path)
    # In a process of its own, as anyone would, so that no Java outlives the test.
    words = ["--home", str(home.path), "--as-of", built.as_of.isoformat(), "--small", "--no-checks"]
    ran = subprocess.run([sys.executable, "-m", "pipeline.warehouse.spark", *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    comparisons = compare_reports(home, home.path / "spark" / "warehouse" / "billing.db")
    assert [found for found in comparisons if found.differences] == []
    # An empty table would prove nothing. The price book that ships has no tiers (those of `make parity` have), and this home
    # has no subscription in Stripe.
    assert {found.table for found in comparisons if found.rows == 0} <= {"rate_tiers", "stripe_subscriptions"}
