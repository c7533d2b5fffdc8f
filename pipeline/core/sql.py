"""SQL text for DuckDB: quoted literals, and the reading of Parquet files by their exact paths."""

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
    """SQL that reads one Parquet file, or the files that match the pattern `below` a folder.

    The path is escaped, because DuckDB reads a whole path as a pattern; folders named key=value give no columns. A column that is
    missing in an older file is null.
    """
    literal = re.sub(r"[*?[]", r"[\g<0>]", str(folder_or_file.absolute()))
    return f"read_parquet({quoted(Path(literal, *below))}, hive_partitioning = false, union_by_name = true)"


def rows_as_dictionaries(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """All rows of an executed query, each by its columns' names."""
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
