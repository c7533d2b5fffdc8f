"""`make parity`: build the demo, a computing grid's usage and 200 random histories on both engines; compare every report.

Prints the number of rows of each report in each home. Exits with 1 if anything differs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from pipeline.warehouse.spark import build_on_spark
from tests.parity.arguments import selected_names
from tests.parity.compare import Comparison, compare_reports
from tests.parity.homes import Built, demo, grid, random_histories

DATA_SETS: dict[str, Callable[[Path], Built]] = {
    "demo": demo,
    "grid": grid,
    "random-1": lambda folder: random_histories(folder, 1, 100),
    "random-2": lambda folder: random_histories(folder, 2, 100),
}


def main() -> int:
    # The grid's usage and the random histories are older than the default first billing month.
    os.environ["BILLHOUSE_FIRST_BILLING_MONTH"] = "1970-01"
    names = selected_names("tests.parity", __doc__, DATA_SETS)
    found: dict[str, list[Comparison]] = {}
    with tempfile.TemporaryDirectory(prefix="billhouse-parity-") as scratch:
        for name in names:
            started = monotonic()
            built = DATA_SETS[name](Path(scratch) / name)
            on_duckdb = monotonic() - started
            spark = build_on_spark(built.home, built.as_of, project=built.project, unit_tests=name == names[0], is_small=True)
            assert spark.reports is not None
            found[name] = compare_reports(built.home, spark.reports)
            print(
                f"{name}: as of {built.as_of:%Y-%m-%d}; built on DuckDB in {on_duckdb:.0f} s;"
                f" {spark.steps} steps on Spark, including checks, in {spark.seconds:.0f} s",
                *(f"  {one.table}: {difference}" for one in found[name] for difference in one.differences),
                sep="\n",
                flush=True,
            )
    print(f"\nRows of each report, at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC:\n")
    print(f"{'':24}" + "".join(f"{name:>12}" for name in found))
    for row in zip(*found.values(), strict=True):
        print(f"{row[0].table:24}" + "".join(f"{comparison.rows:>12,}" for comparison in row))
    differs = any(one.differences for comparisons in found.values() for one in comparisons)
    print("\nThe engines differ." if differs else "\nNo difference.")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
