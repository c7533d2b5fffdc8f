"""Parquet collections in the home: column types, and the zero-row file that defines the columns of an empty collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import make_folders, replace_atomically
from pipeline.core.home import Home
from pipeline.core.sql import parquet_files

EMPTY_FILE = "_schema.parquet"
INSTANT = pa.timestamp("us", tz="UTC")
AMOUNT = pa.decimal128(18, 3)
"""Money, in whole minor units of its currency. Billing rules, section 2."""
QUANTITY = pa.decimal128(38, 12)
"""Quantities of usage, and unit prices."""


@dataclass(frozen=True)
class Collection:
    """Append-only Parquet files of one schema in one folder."""

    folder: str
    """Relative to the home, as in ledger/approvals."""
    schema: pa.Schema

    def path(self, home: Home) -> Path:
        """The folder in a home."""
        return home.path / self.folder

    def ensure(self, home: Home) -> None:
        """Write the zero-row file, so that a reader always finds a file with every column of this version."""
        ensure_empty_file(home, self.path(home) / EMPTY_FILE, self.schema)

    def read(self, home: Home) -> pa.Table:
        """Read all rows, and write nothing. Columns that an older file lacks are null in its rows."""
        return pq.read_table(self.path(home), schema=self.schema) if self.has_rows(home) else self.schema.empty_table()

    def has_rows(self, home: Home) -> bool:
        """Whether anything was ever written to it."""
        return any(path.name != EMPTY_FILE for path in self.path(home).rglob("*.parquet"))

    def rows_sql(self, home: Home) -> str:
        """SQL that reads all rows, and writes nothing: also where the zero-row file is missing, or is of an older version."""
        folder = self.path(home)
        files = parquet_files(folder, "*.parquet")
        if _is_ensured(folder / EMPTY_FILE, self.schema):
            return files
        columns = ", ".join(f'null::{_duckdb_type(field.type)} as "{field.name}"' for field in self.schema)
        no_rows = f"select {columns} where false"
        return f"(select * from {files} union all by name {no_rows})" if any(folder.glob("*.parquet")) else f"({no_rows})"


def ensure_empty_file(home: Home, empty: Path, schema: pa.Schema) -> None:
    """Write a zero-row file with a schema, or replace one with another schema."""
    if not _is_ensured(empty, schema):
        make_folders(empty.parent)
        with replace_atomically(empty, scratch=home.scratch) as path:
            pq.write_table(schema.empty_table(), path)


def _is_ensured(empty: Path, schema: pa.Schema) -> bool:
    try:
        return bool(pq.read_schema(empty).equals(schema))
    except FileNotFoundError:
        return False


def _duckdb_type(type: pa.DataType) -> str:
    """The type that DuckDB reads a column of a Parquet file of this type as."""
    if pa.types.is_decimal(type):
        return f"decimal({type.precision}, {type.scale})"
    names = {pa.string(): "varchar", pa.int64(): "bigint", pa.int32(): "integer", pa.bool_(): "boolean", INSTANT: "timestamptz"}
    return names[type]
