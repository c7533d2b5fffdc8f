"""Landing, as assets: what waits in the inbox becomes raw Parquet."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from orchestration.resources import BillhouseHome
from pipeline.home import Home
from pipeline.kinds import Kind
from pipeline.landing import LandingSummary, land_files

_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")

_COLLECTIONS = {Kind.USAGE: "usage_events", Kind.METRICS: "sandbox_metrics"}
RAW_KEYS = {kind: dg.AssetKey(["raw", _COLLECTIONS.get(kind, str(kind))]) for kind in Kind}
"""The raw collection of each kind."""
QUARANTINE_KEY = dg.AssetKey(["raw", "quarantine"])
LANDED_FILES_KEY = dg.AssetKey(["raw", "landed_files"])

_DESCRIPTIONS = {
    Kind.USAGE: "Usage events as they landed: one row per distinct event, Parquet by event date.",
    Kind.SUBSCRIPTIONS: "Which plan or contract a customer is on, from when. Append-only; a later landing supersedes.",
    Kind.CUSTOMERS: "Name, email, currency and limits of each customer. Append-only; a later landing supersedes.",
    Kind.CREDIT_GRANTS: "Credits given to customers: amount, scope, expiry. Append-only.",
    Kind.METRICS: "Samples of what sandboxes used, Parquet by date. Append-only; a later landing supersedes.",
}


def waiting_files(home: Home, kind: Kind) -> list[Path]:
    """The files of a kind in the inbox, by name. Hidden files, and those of other endings, are still being written."""
    found = (path for path in (home.inbox / kind).rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if path.name.endswith(_ENDINGS))


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(key, description=description, group_name="landing", kinds={"parquet"})


@dg.multi_asset(
    specs=[
        *(_spec(RAW_KEYS[kind], _DESCRIPTIONS[kind]) for kind in Kind),
        _spec(QUARANTINE_KEY, "Rows that were not accepted, each with file, line and reason."),
        _spec(LANDED_FILES_KEY, "One row per file that landed: its hash, and what became of its rows."),
    ],
    name="land_inbox",
    pool="warehouse",
)
def land_inbox(context: dg.AssetExecutionContext, home: BillhouseHome) -> Iterator[dg.MaterializeResult[None]]:
    """Land every file in the inbox: checked, deduplicated, atomic. What has landed before is counted, and changes nothing."""
    opened = home.home
    landed = LandingSummary()
    for kind in (Kind.CUSTOMERS, Kind.SUBSCRIPTIONS, Kind.CREDIT_GRANTS, Kind.USAGE, Kind.METRICS):
        summary = land_files(opened, waiting_files(opened, kind), kind)
        landed.files.extend(summary.files)
        landed.problems.extend(summary.problems)
        yield dg.MaterializeResult(asset_key=RAW_KEYS[kind], metadata=_counts(summary))
    yield dg.MaterializeResult(asset_key=QUARANTINE_KEY, metadata={"rows": landed.quarantined, "reasons": _reasons(landed)})
    yield dg.MaterializeResult(asset_key=LANDED_FILES_KEY, metadata=_counts(landed))
    for problem in landed.problems:
        context.log.error(f"Not landed: {problem}")
    if landed.problems:
        raise dg.Failure(f"{len(landed.problems)} files could not be read; the others landed. First: {landed.problems[0]}")


def _counts(summary: LandingSummary) -> dict[str, int]:
    return {
        "files": len(summary.files),
        "files_new": sum(not file.is_already_landed for file in summary.files),
        "received_rows": summary.received,
        "accepted_rows": summary.accepted,
        "duplicate_rows": summary.duplicates,
        "quarantined_rows": summary.quarantined,
        "dagster/row_count": summary.accepted,
    }


def _reasons(summary: LandingSummary) -> dg.MarkdownMetadataValue:
    lines = [f"| {reason} | {rows:,} |" for reason, rows in summary.by_reason.items()]
    return dg.MetadataValue.md("\n".join(["| reason | rows |", "|---|--:|", *lines]))
