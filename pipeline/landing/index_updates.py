"""Reads from raw files what the landing index holds of them: the hashes of keys, sandboxes and file ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.home import Home
from pipeline.core.sql import parquet_list
from pipeline.store.key_index_part import Entries

KEYS = {
    "landed_files": ("file_id",),
    "usage_events": ("event_id",),
    "sandbox_metrics": ("sandbox_id", "sampled_at"),
    "subscriptions": ("customer_id", "effective_at"),
    "customers": ("customer_id",),
    "credit_grants": ("grant_id",),
    "voids": ("voided_id",),
    "running_listings": ("listing_part",),
}
"""By collection, the columns that are looked up; for records the key of their specification."""
SANDBOXES = "sandboxes"
"""The index of sandboxes in raw/usage_events, with the user of each."""
_FILES_AT_A_TIME = 200
_ROWS_OF_A_PART = 1 << 22


@dataclass(frozen=True)
class NewEntries:
    """Entries for one index."""

    index: str
    entries: Entries
    least: str
    greatest: str
    """The range of the first column of the key."""


def hash_sql(collection: str) -> str:
    """SQL: the hash of a row's key. It is DuckDB's, and may differ between its versions."""
    return f"hash({', '.join(KEYS[collection])})"


def entries_of(connection: duckdb.DuckDBPyConnection, home: Home, collection: str, files: Sequence[str]) -> Iterator[NewEntries]:
    """The entries of some raw files of a collection (relative to raw/), in pieces of limited size."""
    for start in range(0, len(files), _FILES_AT_A_TIME):
        names = files[start : start + _FILES_AT_A_TIME]
        rows = parquet_list([home.raw / name for name in names], by_name=False)
        yield from _keys(connection, collection, names, rows)
        if collection == "usage_events":
            yield from _sandboxes(connection, names, rows)


def _keys(connection: duckdb.DuckDBPyConnection, collection: str, names: Sequence[str], rows: str) -> Iterator[NewEntries]:
    first = KEYS[collection][0]
    ((least, greatest),) = connection.execute(f"select min({first}), max({first}) from {rows}").fetchall()
    if least is None:
        return
    query = f"select {hash_sql(collection)} as hash, file_index::uinteger as place from {rows}"
    for hashes, places in _batches(connection, query):
        yield NewEntries(collection, Entries(hashes, places, [name.encode() for name in names]), least, greatest)


def _sandboxes(connection: duckdb.DuckDBPyConnection, names: Sequence[str], rows: str) -> Iterator[NewEntries]:
    # Equal hashes of two users would hide that a sandbox has two: unlike hash(), MD5 is not easily made to collide.
    query = f"""
        select hash(sandbox_id) as hash, file_index::uinteger as place, md5_number_lower(user_id)::ubigint as owner
        from (select distinct sandbox_id, user_id, file_index from {rows})"""
    for hashes, places, owners in _batches(connection, query):
        yield NewEntries(SANDBOXES, Entries(hashes, places, [name.encode() for name in names], owners), "", "")


def _batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """The columns of a result, in pieces of limited size; DuckDB's own batches are at most as large as a row group."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    with connection.sql(query).to_arrow_reader(_ROWS_OF_A_PART) as reader:
        for batch in reader:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= _ROWS_OF_A_PART:
                yield _columns(waiting)
                waiting, rows = [], 0
    if rows:
        yield _columns(waiting)


def _columns(batches: list[pa.RecordBatch]) -> tuple[npt.NDArray[Any], ...]:
    return tuple(column.to_numpy() for column in pa.Table.from_batches(batches).columns)
