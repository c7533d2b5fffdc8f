"""Parquet collections in the home: column types, and the zero-row file that defines the columns of an empty collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import make_folders, replace_atomically
from pipeline.core.home import Home

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
        """Read all rows. Columns that an older file lacks are null in its rows."""
        self.ensure(home)
        return pq.read_table(self.path(home), schema=self.schema)

    def read_only(self, home: Home) -> pa.Table:
        """The same, and writes nothing in the home."""
        return pq.read_table(self.path(home), schema=self.schema) if self.path(home).is_dir() else self.schema.empty_table()


def ensure_empty_file(home: Home, empty: Path, schema: pa.Schema) -> None:
    """Write a zero-row file with a schema, or replace one with another schema."""
    if not empty.exists() or not pq.read_schema(empty).equals(schema):
        make_folders(empty.parent)
        with replace_atomically(empty, scratch=home.scratch) as path:
            pq.write_table(schema.empty_table(), path)
