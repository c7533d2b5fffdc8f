"""The hash of a close is of its rows, however they are stored."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.closes import content_hash


def _hash(rows: pa.Table) -> str:
    return content_hash({"period": "2026-09"}, {"usage_days": rows})


def test_a_table_of_many_rows_has_the_same_hash_when_it_is_read_from_its_file(tmp_path: Path) -> None:
    """Parquet files are read in pieces of 131,072 rows; a month of 1,700 customers has more usage days than that."""
    rows = pa.table({"customer_id": [f"customer {number}" for number in range(300_000)], "amount": [None, 2, 3] * 100_000})
    pq.write_table(rows, tmp_path / "usage_days.parquet", compression="zstd")
    read = pq.read_table(tmp_path / "usage_days.parquet")
    assert read["amount"].num_chunks > 1
    assert _hash(read) == _hash(rows) == _hash(pa.concat_tables([rows.slice(0, 5), rows.slice(5)]))
    assert _hash(read) != _hash(rows.slice(1))


def test_the_hash_of_a_small_table_is_that_of_earlier_versions() -> None:
    rows = pa.table({"customer_id": ["a", None], "amount": [1, 2]})
    assert _hash(rows) == "62f8a8cbf01162273c3c97c111483c1b1d78254ecdbe74bf1807561c2c4ea656"
    assert _hash(rows.slice(0, 0)) == "a1bbd8d181efd920bec55ec49d7f44f382b8f2be15c6f48ed89f010f64b58a32"
