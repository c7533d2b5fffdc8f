"""The collections in raw/ that landing writes, and their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.sql import parquet_list
from pipeline.store.collections import EMPTY_FILE, INSTANT, Collection
from pipeline.store.manifest import lock_manifest

_RESOURCE = pa.decimal128(18, 6)
_ORIGIN = {"file_id": pa.string(), "file_row": pa.int64()}
_ATTEMPTS = 5
_Read = TypeVar("_Read")

SCHEMAS: dict[str, pa.Schema] = {
    "usage_events": pa.schema(
        {
            "event_id": pa.string(),
            "sandbox_id": pa.string(),
            "user_id": pa.string(),
            "event_at": INSTANT,
            "event_type": pa.string(),
            "vcpu_count": _RESOURCE,
            "memory_gb": _RESOURCE,
            "storage_gb": _RESOURCE,
            "execution_id": pa.string(),
            "metadata": pa.string(),
            "gpu_count": _RESOURCE,
            "tokens": _RESOURCE,
            "started_at": INSTANT,
            "duration_seconds": _RESOURCE,
            **_ORIGIN,
        }
    ),
    "subscriptions": pa.schema(
        {"customer_id": pa.string(), "plan_id": pa.string(), "effective_at": INSTANT, "is_trial": pa.bool_(), **_ORIGIN}
    ),
    "customers": pa.schema(
        {
            "customer_id": pa.string(),
            "name": pa.string(),
            "email": pa.string(),
            "currency": pa.string(),
            "stripe_customer_id": pa.string(),
            "monthly_spend_limit": _RESOURCE,
            "created_at": INSTANT,
            "effective_at": INSTANT,
            "language": pa.string(),
            "cleared_fields": pa.string(),
            **_ORIGIN,
        }
    ),
    "credit_grants": pa.schema(
        {
            "grant_id": pa.string(),
            "customer_id": pa.string(),
            "amount": _RESOURCE,
            "currency": pa.string(),
            "priority": pa.int32(),
            "granted_at": INSTANT,
            "expires_at": INSTANT,
            "scope": pa.string(),
            "source": pa.string(),
            **_ORIGIN,
        }
    ),
    "voids": pa.schema(
        {
            "event_id": pa.string(),
            "grant_id": pa.string(),
            "voided_at": INSTANT,
            "void_reason": pa.string(),
            "voided_id": pa.string(),
            **_ORIGIN,
        }
    ),
    "sandbox_metrics": pa.schema(
        {"sandbox_id": pa.string(), "sampled_at": INSTANT, "cpu_used_pct": _RESOURCE, "mem_bytes": pa.int64(), **_ORIGIN}
    ),
    "running_listings": pa.schema(
        {
            "listed_at": INSTANT,
            "sandbox_ids": pa.string(),
            "scope": pa.string(),
            "part": pa.int32(),
            "parts": pa.int32(),
            "listing_part": pa.string(),
            **_ORIGIN,
        }
    ),
    "quarantine": pa.schema(
        {
            "file_id": pa.string(),
            "file_name": pa.string(),
            "file_row": pa.int64(),
            "kind": pa.string(),
            "reason": pa.string(),
            "detail": pa.string(),
            "raw_row": pa.string(),
            "event_id": pa.string(),
            "header": pa.string(),
        }
    ),
    "retried_rows": pa.schema({**_ORIGIN, "superseded_file_id": pa.string()}),
    "landed_files": pa.schema(
        {
            "landed_sequence": pa.int64(),
            "file_id": pa.string(),
            "file_name": pa.string(),
            "file_bytes": pa.int64(),
            "kind": pa.string(),
            "format": pa.string(),
            "landed_at": INSTANT,
            "received_rows": pa.int64(),
            "accepted_rows": pa.int64(),
            "duplicate_rows": pa.int64(),
            "quarantined_rows": pa.int64(),
            "first_at": INSTANT,
            "last_at": INSTANT,
            "unread_columns": pa.string(),
            "retried_file_id": pa.string(),
            "source_name": pa.string(),
            "omitted_rows": pa.int64(),
            "superseded_rows": pa.int64(),
        }
    ),
}


RAW = {name: Collection(f"raw/{name}", schema) for name, schema in SCHEMAS.items()}
"""By name."""
MERGED = "merged-"
"""Name prefix of raw files that have the rows of several others (pipeline.landing.merge_raw_files)."""
MERGED_COLLECTIONS = frozenset({"usage_events"})


def merged_file_name(names: Iterable[str]) -> str:
    """The name of a raw file with the rows of those with these names."""
    return f"{MERGED}{hashlib.sha256(chr(10).join(names).encode()).hexdigest()}.parquet"


def rows_by_file(raw_file: Path) -> dict[str, int]:
    """The number of rows of each landed file in a raw file; a merged one lists them in its footer."""
    footer = pq.read_metadata(raw_file)
    if not raw_file.name.startswith(MERGED):
        return {raw_file.stem: footer.num_rows}
    return {file_id.decode(): int(count) for file_id, count in (footer.metadata or {}).items() if file_id != b"ARROW:schema"}


def ensure_raw_collections(home: Home) -> None:
    """Write the zero-row file of each raw collection."""
    for collection in RAW.values():
        collection.ensure(home)


def landed_file_ids(home: Home) -> list[str]:
    """The ids of the landed files, in order of landing: an input file has landed when its row is in raw/landed_files.

    A row is in a file of its own, 00000012-<file id>.parquet, until it is merged with others.
    """

    def read() -> dict[str, int]:
        sequences: dict[str, int] = {}
        for path in _files_of_landed_files(home):
            if path.name.startswith(MERGED):
                rows = pq.read_table(path, columns=["file_id", "landed_sequence"])
                sequences.update(zip(rows["file_id"].to_pylist(), rows["landed_sequence"].to_pylist(), strict=True))
            else:
                sequence, _, file_id = path.stem.partition("-")
                sequences[file_id] = int(sequence)
        return sequences

    found = read_beside_merges(read)
    return sorted(found, key=lambda file_id: found[file_id])


def landed_file_rows(home: Home) -> pa.Table:
    """The rows of raw/landed_files, in order of landing. Needs no lock: a row in a merged file and its own is read once."""
    rows = read_beside_merges(lambda: _landed_files_dataset(home).to_table()).sort_by("landed_sequence")
    sequences = [None, *rows["landed_sequence"].to_pylist()]
    return rows.filter(pa.array([sequence != before for before, sequence in pairwise(sequences)], pa.bool_()))


def landed_file_rows_of_sizes(home: Home, sizes: Iterable[int]) -> pa.Table:
    """file_id, file_name, file_bytes, kind and source_name of the landed files of some sizes in bytes, in any order.

    Needs no lock: a row that is in a merged file and its own may come twice.
    """
    columns = ["file_id", "file_name", "file_bytes", "kind", "source_name"]
    is_chosen = pc.field("file_bytes").isin(sorted(sizes))
    return read_beside_merges(lambda: _landed_files_dataset(home).to_table(columns=columns, filter=is_chosen))


def _landed_files_dataset(home: Home) -> Any:
    import pyarrow.dataset as ds  # it imports pandas, which takes a fifth of a second; a build does not need either

    schema, paths = SCHEMAS["landed_files"], _files_of_landed_files(home)
    return ds.dataset(paths, format="parquet", schema=schema) if paths else ds.dataset(schema.empty_table())


def landed_files_sql(home: Home) -> str:
    """SQL for the rows of raw/landed_files, for readers without a lock: meanwhile a row may be in a merged file and its own.

    Run it in `read_beside_merges`.
    """
    empty = home.raw / "landed_files" / EMPTY_FILE
    rows = parquet_list([*_files_of_landed_files(home), empty]) if empty.exists() else RAW["landed_files"].rows_sql(home)
    return f"(select distinct * from {rows})"


def read_beside_merges(read: Callable[[], _Read]) -> _Read:
    """The result of `read`, which lists raw files and opens them: called again where one was merged with others in between."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError, duckdb.IOException):
            return read()
    return read()


def _files_of_landed_files(home: Home) -> list[Path]:
    """The files with rows, listed without a lock, so that a reader does not wait for a writer.

    A list of a folder that changes can lack files, and after a merge rows. Two lists that are the same have all rows: what the
    first lacks was written while it was made, so that the second has it. Where the folder changes all the time, the manifest is
    locked at last.
    """
    folder = home.raw / "landed_files"

    def listed() -> list[Path]:
        return sorted(path for path in folder.glob("*.parquet") if path.name != EMPTY_FILE)

    before = listed()
    for _ in range(_ATTEMPTS):
        found = listed()
        if found == before:
            return found
        before = found
    try:
        with lock_manifest(home):
            return listed()
    except OSError:  # a read-only home has no writers
        return listed()
