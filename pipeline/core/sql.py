"""SQL text for DuckDB: quoted literals, reading Parquet files by exact path, and query results as dictionaries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb


def quoted(text: object) -> str:
    """A text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


def parquet_files(folder_or_file: Path, *below: str) -> str:
    """SQL that reads one Parquet file, or the files below a folder that match the pattern `below`.

    The path is escaped, because DuckDB reads a path as a glob pattern. Folders named key=value do not become columns. A column
    that some of the files lack is null in their rows.
    """
    literal = re.sub(r"[*?[]", r"[\g<0>]", str(folder_or_file.absolute()))
    return f"read_parquet({quoted(Path(literal, *below))}, hive_partitioning = false, union_by_name = true)"


def rows_as_dictionaries(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """All rows of an executed query, as dictionaries by column name."""
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
