"""SQL text for DuckDB: quoted literals, reading Parquet files by exact path, and query results as dictionaries."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    return _read_parquet(quoted(Path(_literal(folder_or_file), *below)))


def parquet_list(files: Sequence[Path], *, by_name: bool = True) -> str:
    """SQL that reads some Parquet files, at least one, as `parquet_files` does.

    With `by_name=False` all of them must have the columns that are read; they need not all be opened first.
    """
    assert files
    return _read_parquet(f"[{', '.join(quoted(_literal(file)) for file in files)}]", by_name=by_name)


def _literal(path: Path) -> str:
    return re.sub(r"[*?[]", r"[\g<0>]", str(path.absolute()))


def _read_parquet(files: str, *, by_name: bool = True) -> str:
    return f"read_parquet({files}, hive_partitioning = false, union_by_name = {str(by_name).lower()})"


def rows_as_dictionaries(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """All rows of an executed query, as dictionaries by column name."""
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
