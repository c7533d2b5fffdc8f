"""`make parity`: builds the demo, a computing grid's usage and 200 random histories on both engines, and compares every report.

Prints how many rows each report had in each home, and ends with 1 where anything differs.
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
from tests.parity.command import chosen
from tests.parity.compare import Comparison, compare_reports
from tests.parity.homes import Built, demo, grid, random_histories

LEGS: dict[str, Callable[[Path], Built | None]] = {
    "demo": demo,
    "grid": grid,
    "random-1": lambda folder: random_histories(folder, 1, 100),
    "random-2": lambda folder: random_histories(folder, 2, 100),
}


def main() -> int:
    # The grid's usage is of 2005, and random histories of other years before the default's.
    os.environ["BILLHOUSE_FIRST_BILLING_MONTH"] = "1970-01"
    legs = chosen("tests.parity", __doc__, LEGS)
    found: dict[str, list[Comparison]] = {}
    with tempfile.TemporaryDirectory(prefix="billhouse-parity-") as scratch:
        for leg in legs:
            started = monotonic()
            built = LEGS[leg](Path(scratch) / leg)
            if built is None:
                print(f"{leg}: its data is not at hand, so it was left out", flush=True)
                continue
            on_duckdb = monotonic() - started
            spark = build_on_spark(built.home, built.as_of, project=built.project, unit_tests=leg == legs[0], is_small=True)
            assert spark.reports is not None
            found[leg] = compare_reports(built.home, spark.reports)
            print(
                f"{leg}: as of {built.as_of:%Y-%m-%d}; made with DuckDB in {on_duckdb:.0f} s;"
                f" {spark.steps} steps on Spark, checks included, in {spark.seconds:.0f} s",
                *(f"  {one.table}: {difference}" for one in found[leg] for difference in one.differences),
                sep="\n",
                flush=True,
            )
    print(f"\nRows of each report, at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC:\n")
    print(f"{'':24}" + "".join(f"{leg:>12}" for leg in found))
    for row in zip(*found.values(), strict=True):
        print(f"{row[0].table:24}" + "".join(f"{comparison.rows:>12,}" for comparison in row))
    differs = any(one.differences for comparisons in found.values() for one in comparisons)
    print("\nThe engines differ." if differs else "\nNo difference.")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
