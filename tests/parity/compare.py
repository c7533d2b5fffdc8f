"""Each report table of both engines, side by side: the same columns, types and rows, to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.home import Home


@dataclass(frozen=True)
class Comparison:
    """One report table on both engines."""

    table: str
    rows: int
    """That DuckDB's has."""
    differences: tuple[str, ...]
    """In words: columns, and the first rows that one engine has and the other has not."""


def compare_reports(home: Home, on_spark: Path) -> list[Comparison]:
    """DuckDB's marts of a home, and the reports that Spark built from it."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        return [_compare(connection, mart, on_spark / mart.stem) for mart in sorted(home.marts.glob("*.parquet"))]


def _compare(connection: duckdb.DuckDBPyConnection, mart: Path, other: Path) -> Comparison:
    ours, theirs = f"'{mart}'", f"'{other}/*.parquet'"
    counted = connection.execute(f"select count(*) from {ours}").fetchone()
    assert counted is not None
    columns = [connection.execute(f"describe from {table}").fetchall() for table in (ours, theirs)]
    typed = [[(column[0], column[1]) for column in described] for described in columns]
    if typed[0] != typed[1]:
        return Comparison(mart.stem, counted[0], (f"columns: {typed[0]} and {typed[1]}",))
    # As text, so that 1.0 and 1.00, or two instants that print alike, are what they are.
    as_text = ", ".join(f'cast("{name}" as varchar) as "{name}"' for name, _ in typed[0])
    differences = []
    for engine, one, another in (("DuckDB", ours, theirs), ("Spark", theirs, ours)):
        alone = connection.execute(f"select {as_text} from {one} except all select {as_text} from {another} order by all limit 3")
        differences += [f"{engine} alone has {row}" for row in alone.fetchall()]
    return Comparison(mart.stem, counted[0], tuple(differences))
