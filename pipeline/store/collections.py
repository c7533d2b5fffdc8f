"""Collections of Parquet files, and the zero-row file in each that tells its columns before anything has come."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import make_folders, replace_atomically
from pipeline.home import Home

EMPTY_FILE = "_schema.parquet"


def ensure_collection(home: Home, folder: Path, schema: pa.Schema) -> None:
    """A zero-row file of these columns in a folder, so that a reader's pattern always finds one, and every column of today."""
    ensure_empty_file(home, folder / EMPTY_FILE, schema)


def ensure_empty_file(home: Home, empty: Path, schema: pa.Schema) -> None:
    """A zero-row file of these columns. A home from before a column was added gets it here; its older files read as null."""
    if not empty.exists() or not pq.read_schema(empty).equals(schema):
        make_folders(empty.parent)
        with replace_atomically(empty, aside=home.scratch) as path:
            pq.write_table(schema.empty_table(), path)
