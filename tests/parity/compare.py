"""Compares the report tables of both engines: columns, types and rows, to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.core.home import Home


@dataclass(frozen=True)
class Comparison:
    """One report table on both engines."""

    table: str
    rows: int
    """Number of rows on DuckDB."""
    differences: tuple[str, ...]
    """Descriptions of differing columns, and of the first rows that only one engine has."""


def compare_reports(home: Home, on_spark: Path) -> list[Comparison]:
    """Compare every report of a home with the one that Spark built."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{home.analysts_file}' as ours (read_only)")
        tables = connection.execute(
            "select table_name from duckdb_tables() where database_name = 'ours' and schema_name = 'billing' order by table_name"
        ).fetchall()
        return [_compare(connection, table, on_spark / table) for (table,) in tables]


def _compare(connection: duckdb.DuckDBPyConnection, table: str, other: Path) -> Comparison:
    ours, theirs = f"ours.billing.{table}", f"'{other}/*.parquet'"
    counted = connection.execute(f"select count(*) from {ours}").fetchone()
    assert counted is not None
    columns = [connection.execute(f"describe from {one}").fetchall() for one in (ours, theirs)]
    typed = [[(column[0], column[1]) for column in described] for described in columns]
    if typed[0] != typed[1]:
        return Comparison(table, counted[0], (f"columns: {typed[0]} and {typed[1]}",))
    # Compared as text, so that 1.0 and 1.00 differ.
    as_text = ", ".join(f'cast("{name}" as varchar) as "{name}"' for name, _ in typed[0])
    differences = []
    for engine, one, another in (("DuckDB", ours, theirs), ("Spark", theirs, ours)):
        alone = connection.execute(f"select {as_text} from {one} except all select {as_text} from {another} order by all limit 3")
        differences += [f"{engine} alone has {row}" for row in alone.fetchall()]
    return Comparison(table, counted[0], tuple(differences))
