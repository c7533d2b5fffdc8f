"""Builds the same models on Spark, from the same landed files, ledger and price book: `python -m pipeline.warehouse.spark`.

The result is written to the home's folder `spark/`, apart from DuckDB's builds:

    spark/warehouse/billing.db/<report>/   the report tables as Parquet, replaced when every step succeeded
    spark/build/                           the build's parameters
    spark/columns/                         the columns of each collection, for Spark
    spark/dbt/                             dbt's own files

By default a local Spark session runs the queries. With BILLHOUSE_SPARK_METHOD=thrift, or SPARK_REMOTE, a cluster runs them and
the tables stay in its catalog; see docs/operate/spark.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import is_traceback_requested, to_billhouse_error
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.core.progress import OnProgress
from pipeline.pricebook.validation import require_valid_price_book
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.scratch_folders import scratch_folder
from pipeline.warehouse.build import prepare_build
from pipeline.warehouse.build_steps import COLUMN_RULES
from pipeline.warehouse.dbt_run import run_dbt
from pipeline.warehouse.parsed_project import parsed_project
from pipeline.warehouse.project import project_of
from pipeline.warehouse.replaced_members import replaced_members

FOLDER = "spark"
_COLUMNS_FILE = "_common_metadata"  # Spark skips names that begin with `_`, but reads this one for a folder's columns
_GLOB_CHARACTERS = frozenset("*?[]{},\\`")
_LOCAL_SETTINGS = {
    "spark.app.name": "billhouse",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.shuffle.partitions": "8",
    "spark.driver.memory": "4g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
_SMALL_SETTINGS = {
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"
    " -XX:MetaspaceSize=512m -Xms2g -Xmn1g",
}
"""For data of a few megabytes: interpreting queries takes a third of the time of compiling them."""


@dataclass(frozen=True)
class SparkBuild:
    """What a build on Spark did."""

    as_of: datetime
    steps: int
    """Seeds, models and checks that ran."""
    seconds: float
    reports: Path | None
    """The folder that has a folder of Parquet files for each report table; None where a cluster has the tables."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of.isoformat(),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "reports": self.reports and str(self.reports),
        }


def missing_for_spark() -> str | None:
    """The missing requirement for running Spark on this machine, as text; None where nothing is missing."""
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("dbt.adapters.spark") is None:
        return "pyspark and dbt-spark are not installed: make setup-spark"
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Java is not installed: install a JRE, version 17 or later, or set JAVA_HOME"
    return None


def build_on_spark(
    home: Home,
    as_of: datetime | None = None,
    *,
    project: Path | None = None,
    checks: bool = True,
    unit_tests: bool = False,
    is_small: bool = False,
    on_progress: OnProgress | None = None,
) -> SparkBuild:
    """Build every model and, with `checks`, run every check, from scratch.

    `as_of`: ignore events after this instant; default: now. `unit_tests`: also run the models' unit tests; not without `checks`.
    `is_small`: the data is a few megabytes. Raises PriceBookError, or BillhouseError that names the missing requirement or each
    step that failed.
    """
    missing = missing_for_spark()
    if missing is not None:
        raise BillhouseError(f"Spark cannot run here: {missing}.")
    if _GLOB_CHARACTERS & set(str(home.path)):
        raise BillhouseError(
            f"Spark would read {home.path} as a pattern.", "Use a home whose path has none of * ? [ ] { } , \\ `"
        )
    started_at = datetime.now(UTC)
    as_of = as_of or started_at
    with home.writing():
        project = project or project_of(home)
        require_valid_price_book(project / "seeds")
        prepare_build(home, as_of, project, folder=f"{FOLDER}/build")
        _write_columns(home)
        only = [] if checks else ["--resource-type", "model", "--resource-type", "seed"]
        with _exact_decimals(), _without_irrelevant_warnings(), _session(home, _SMALL_SETTINGS if is_small else {}) as reports:
            folder = f"{FOLDER}/dbt"
            manifest = parsed_project(home, project, target="spark", folder=folder)
            # Here each generic test is a step: its message names it.
            arguments = ["--target", "spark", "--exclude", COLUMN_RULES, *only]
            steps = run_dbt(home, project, on_progress, *arguments, manifest=manifest, folder=folder, unit_tests=unit_tests)
    return SparkBuild(as_of, len(steps), (datetime.now(UTC) - started_at).total_seconds(), reports)


def _write_columns(home: Home) -> None:
    """Give Spark each collection's columns: DuckDB takes them from a zero-row file, which Spark skips."""
    for folder in (home.raw, home.ledger):
        for empty in folder.rglob(EMPTY_FILE):
            target = home.path / FOLDER / "columns" / empty.parent.relative_to(home.path) / _COLUMNS_FILE
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replace_atomically(target, scratch=home.scratch) as path:
                shutil.copyfile(empty, path)


@contextmanager
def _exact_decimals() -> Iterator[None]:
    """Keep Spark's ANSI mode on, which dbt-spark switches off: with it an overflow is an error, without it a null amount."""
    from dbt.adapters.spark.connections import SparkCredentials

    original = SparkCredentials.__post_init__

    def with_ansi(self: Any) -> None:
        original(self)
        self.server_side_parameters["spark.sql.ansi.enabled"] = "true"

    with replaced_members([(SparkCredentials, "__post_init__", with_ansi)]):
        yield


@contextmanager
def _without_irrelevant_warnings() -> Iterator[None]:
    """Silence a warning about the version of pandas, which no query uses, and one for each query about a server's own catalog."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
        warnings.filterwarnings("ignore", message="Failed to set spark.sql.catalogImplementation")
        yield


@contextmanager
def _session(home: Home, settings: Mapping[str, str]) -> Iterator[Path | None]:
    """Start the local session that dbt's queries use; yields the folder of its report tables, or None where a cluster is used."""
    if os.environ.get("BILLHOUSE_SPARK_METHOD", "session") != "session" or os.environ.get("SPARK_REMOTE"):
        yield None
        return
    from pyspark.sql import SparkSession

    warehouse = home.path / FOLDER / "warehouse"
    with scratch_folder(home, "spark") as scratch:
        builder: Any = SparkSession.builder
        builder = builder.master(os.environ.get("BILLHOUSE_SPARK_MASTER", "local[*]"))
        own = {"spark.sql.warehouse.dir": str(scratch / "warehouse"), "spark.local.dir": str(scratch / "spill")}
        for name, value in {**_LOCAL_SETTINGS, **settings, **own}.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        try:
            session.sparkContext.setLogLevel("OFF")  # dbt reports each failure, and logs it
            yield warehouse / "billing.db"
            shutil.rmtree(warehouse, ignore_errors=True)
            (scratch / "warehouse").rename(warehouse)
        finally:
            session.stop()


def main() -> None:
    """Build a home's models on Spark, and print the result as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.warehouse.spark", description="Build the warehouse on Spark.")
    parser.add_argument("--home", help="the home directory; default: BILLHOUSE_HOME, else ./var")
    parser.add_argument("--as-of", type=datetime.fromisoformat, help="ignore events after this instant (UTC); default: now")
    parser.add_argument("--no-checks", action="store_true", help="build the models, and run no check")
    parser.add_argument("--unit-tests", action="store_true", help="also run the models' unit tests")
    parser.add_argument(
        "--small", action="store_true", help="for a few megabytes of data: interpret queries instead of compiling them"
    )
    arguments = parser.parse_args()
    if arguments.unit_tests and arguments.no_checks:
        parser.error("--unit-tests and --no-checks exclude each other")
    as_of = arguments.as_of and (arguments.as_of if arguments.as_of.tzinfo else arguments.as_of.replace(tzinfo=UTC))
    try:
        result = build_on_spark(
            Home.open(arguments.home),
            as_of,
            checks=not arguments.no_checks,
            unit_tests=arguments.unit_tests,
            is_small=arguments.small,
        )
    except Exception as error:
        if is_traceback_requested():
            raise
        parser.exit(1, f"{to_billhouse_error(error)}\n")
    print(json.dumps(result.as_dict()))


if __name__ == "__main__":
    main()
