"""The landed rows that the rows of a file must be compared with, read from the raw files that the landing index names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.sql import parquet_files, parquet_list, quoted
from pipeline.landing.index_updates import SANDBOXES, hash_sql
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import Specification
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.key_index_part import Hashes
from pipeline.store.raw import SCHEMAS

VOIDED_BY = {Kind.USAGE: "event", Kind.CREDIT_GRANTS: "grant"}
"""The kinds of record that a void can cancel; a void's `voided_id` is this word and the record's id."""
_MAX_HASHES = 1_000_000
"""For more rows, DuckDB compares the keys with those of all files in their range: it can do so in limited memory."""


class LandedRows:
    """Finds landed rows for a table of the scratch database."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, home: Home, index: LandingIndex, specification: Specification
    ) -> None:
        self._connection = connection
        self._home = home
        self._index = index
        self._specification = specification
        self._key = specification.key[0]

    def with_keys_of(self, table: str) -> str | None:
        """SQL for the landed rows of the kind that may have a key of the table's rows; None if there are none.

        The rows must be compared with the keys: further rows of the same files are among them.
        """
        first = self._key
        ((rows, least, greatest),) = self._connection.execute(
            f"select count(*), min({first}), max({first}) from {table}"
        ).fetchall()
        collection = self._specification.collection
        if least is None:
            files = []
        elif rows > _MAX_HASHES:
            files = self._index.files_in_range(collection, least, greatest)
        else:
            hashes = self._hashes(f"select {hash_sql(collection)} from {table}")
            files = self._index.files_with(collection, hashes, (least, greatest))
        if not files:
            return None
        # DuckDB skips files and row groups outside the range by their statistics.
        return f"(select * from {self._rows_of(files, collection)} where {first} between {quoted(least)} and {quoted(greatest)})"

    def voids_of(self, table: str) -> str | None:
        """SQL for the landed voids that may cancel a row of the table; None if there are none."""
        noun = VOIDED_BY.get(self._specification.kind)
        if noun is None or not self._index.has("voids"):
            return None
        ((rows,),) = self._connection.execute(f"select count(*) from {table}").fetchall()
        if rows > _MAX_HASHES:
            return self.all_voids()
        hashes = self._hashes(f"select hash('{noun} ' || {self._key}) from {table} where {self._key} is not null")
        files = self._index.files_with("voids", hashes)
        return self._rows_of(files, "voids") if files else None

    def all_voids(self) -> str:
        """SQL for all landed voids."""
        return parquet_files(self._home.raw / "voids", "**", "*.parquet")

    def events_of_contested(self, owners: str) -> str | None:
        """SQL for the landed events of the sandboxes in a table (sandbox_id, least, greatest user) that may have several users.

        None if there are none. Events of other sandboxes are among them, and not all of those.
        """
        found = self._connection.execute(
            "select hash(sandbox_id) as sandbox, md5_number_lower(least)::ubigint as owner, least <> greatest as is_contested"
            f" from {owners}"
        ).fetchnumpy()
        sandboxes, places, times = np.unique(found["sandbox"], return_index=True, return_counts=True)
        contested = self._index.with_other_users(sandboxes, found["owner"][places])
        # Two sandboxes with the same hash are both read.
        suspects = np.unique(np.concatenate([contested, found["sandbox"][found["is_contested"]], sandboxes[times > 1]]))
        files = self._index.files_with(SANDBOXES, suspects)
        return self._rows_of(files, self._specification.collection) if files else None

    def files_of(self, rows: str) -> str:
        """SQL for the rows of landed_files of the file ids in a table; those of other files are among them."""
        hashes = self._hashes(f"select distinct {hash_sql('landed_files')} from {rows}")
        return self._rows_of(self._index.files_with("landed_files", hashes), "landed_files")

    def _rows_of(self, files: Sequence[Path], collection: str) -> str:
        # The zero-row file has the columns that files of earlier versions lack.
        return parquet_list([*files, self._home.raw / collection / EMPTY_FILE])

    def _hashes(self, query: str) -> Hashes:
        (hashes,) = self._connection.execute(query).fetchnumpy().values()
        return np.unique(np.asarray(hashes, np.uint64))


@dataclass(frozen=True)
class LandedBefore:
    """The rows of a file when it landed."""

    received: int
    quarantined: int
    omitted: int


def landed_before(index: LandingIndex, file_id: str) -> LandedBefore | None:
    """The earlier landing of a file; None if it has not landed."""
    for path in index.rows_of_landed_file(file_id):
        rows = pq.read_table(path, schema=SCHEMAS["landed_files"], filters=[("file_id", "=", file_id)]).to_pylist()
        for row in rows:
            return LandedBefore(row["received_rows"], row["quarantined_rows"], row["omitted_rows"] or 0)
    return None
