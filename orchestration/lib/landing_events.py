"""What a landing means for the raw assets: their rows, days, quarantine and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb

from orchestration.lib.asset_events import AssetEvent, materialized
from orchestration.lib.dbt_sources import source_keys
from orchestration.lib.metadata import markdown_table
from orchestration.lib.partitions import with_partition
from pipeline.core.home import SEEDS, Home
from pipeline.core.settings import Settings
from pipeline.core.sql import parquet_files
from pipeline.landing import LandedFile, LandingSummary
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import specification
from pipeline.store.raw import rows_by_file

QUARANTINE_ALARM = 0.01
"""The share of quarantined rows above which the check quarantine_is_small warns."""
RAW_KEYS = source_keys("raw")
"""The raw collections: one per kind of record, the quarantine, and the landed files."""

_FILES_SHOWN = 50
_SPECIFICATIONS = {kind: specification(kind, SEEDS) for kind in Kind}
PARTITIONED_BY_DAY = {spec.collection for spec in _SPECIFICATIONS.values() if spec.partition is not None}
KINDS = sorted(Kind, key=lambda kind: _SPECIFICATIONS[kind].collection in PARTITIONED_BY_DAY)
"""Records of customers and plans before usage."""


@dataclass(frozen=True)
class KindLanding:
    """What landed of a kind, and the seconds that it took."""

    kind: Kind
    summary: LandingSummary
    seconds: float


def landing_events(
    home: Home, landings: Sequence[KindLanding], whole: LandingSummary, mostly_refused: Sequence[LandedFile], days: Iterable[str]
) -> Iterator[AssetEvent]:
    """The events of a landing. `whole`: all kinds together; `days`: those to report also where no row landed for them."""
    for landing in landings:
        collection = _SPECIFICATIONS[landing.kind].collection
        metadata = _counts(landing.summary) | {"seconds": landing.seconds}
        if collection not in PARTITIONED_BY_DAY:
            yield materialized(RAW_KEYS[collection], metadata)
            continue
        landed = _days_of(home, collection, {file.landed_as for file in landing.summary.files if file.landed_as is not None})
        for day in with_partition({*landed, *days}):
            yield materialized(RAW_KEYS[collection], {**metadata, **landed.get(day, {})}, day)
    yield from _quarantine(whole)
    yield from _files(whole, mostly_refused)


def _days_of(home: Home, collection: str, file_ids: set[str]) -> dict[str, dict[str, Any]]:
    """By day: the rows of these files, and the bytes of the raw files that they are in."""
    if not file_ids:
        return {}
    rows, sizes = Counter[str](), Counter[str]()
    for path in (home.raw / collection).glob("*=*/*.parquet"):
        new_rows = sum(count for file_id, count in rows_by_file(path).items() if file_id in file_ids)
        if new_rows:
            day = path.parent.name.partition("=")[2]
            rows[day] += new_rows
            sizes[day] += path.stat().st_size
    return {day: {"new_rows": rows[day], "new_bytes": sizes[day]} for day in rows}


def _quarantine(landed: LandingSummary) -> Iterator[AssetEvent]:
    share = landed.quarantined / landed.received if landed.received else 0.0
    metadata: dict[str, Any] = {
        "share_of_received": share,
        "reasons": markdown_table(["reason", "rows"], landed.by_reason.items()),
    }
    retried_files = sum(file.landed_as is not None for file in landed.files if file.is_already_landed)
    yield materialized(RAW_KEYS["quarantine"], {"rows": landed.quarantined, **metadata})
    yield materialized(RAW_KEYS["retried_rows"], {"files": retried_files})
    yield dg.AssetCheckResult(
        passed=share <= QUARANTINE_ALARM,
        asset_key=RAW_KEYS["quarantine"],
        check_name="quarantine_is_small",
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def _files(landed: LandingSummary, mostly_refused: Sequence[LandedFile]) -> Iterator[AssetEvent]:
    rows = [
        [file.file_name, file.received, file.accepted, file.duplicates, file.quarantined, file.unread_text or ""]
        for file in landed.files
        if not file.is_already_landed
    ]
    columns = ["file", "received", "accepted", "duplicates", "quarantined", "columns not read"]
    files = markdown_table(columns, rows[:_FILES_SHOWN])
    yield materialized(RAW_KEYS["landed_files"], {**_counts(landed), "new_files": files})
    yield dg.AssetCheckResult(
        passed=not landed.problems,
        asset_key=RAW_KEYS["landed_files"],
        check_name="every_file_landed",
        metadata={"files": markdown_table(["unreadable files"], [[problem] for problem in landed.problems])},
    )
    yield dg.AssetCheckResult(
        passed=not mostly_refused,
        asset_key=RAW_KEYS["landed_files"],
        check_name="most_rows_are_accepted",
        metadata={"files": markdown_table(["mostly refused"], [[file.refusal] for file in mostly_refused[:_FILES_SHOWN]])},
    )


def few_accepted(landed: LandingSummary) -> list[LandedFile]:
    """Files with a smaller share of accepted rows than BILLHOUSE_LAND_MIN_ACCEPTED_SHARE."""
    return landed.mostly_refused(Settings.load().land_min_accepted_share)


def _counts(summary: LandingSummary) -> dict[str, Any]:
    return {
        "files": len(summary.files),
        "files_new": sum(not file.is_already_landed for file in summary.files),
        "received_rows": summary.received,
        "accepted_rows": summary.accepted,
        "duplicate_rows": summary.duplicates,
        "quarantined_rows": summary.quarantined,
        "omitted_rows": summary.omitted,
    }


def kinds_of_files(home: Home) -> dict[str, Kind]:
    """The kind of each landed file, by file id."""
    with duckdb.connect() as connection:
        files = parquet_files(home.raw / "landed_files", "*.parquet")
        return {file_id: Kind(kind) for file_id, kind in connection.execute(f"select file_id, kind from {files}").fetchall()}
