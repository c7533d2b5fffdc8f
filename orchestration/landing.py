"""Landing, as assets: what waits in the inbox becomes raw Parquet."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.partitions import report_days, usage_days
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.core.home import SEEDS, Home
from pipeline.core.settings import Settings
from pipeline.landing import LandedFile, LandingSummary, land_files
from pipeline.landing.inbox import move_landed, version_of_path, waiting_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import specification
from pipeline.landing.verify_events import event_problems
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.integrity import integrity_problems, read_store_state
from pipeline.store.raw import SCHEMAS

QUARANTINE_ALARM = 0.01
"""Above this share of a landing's rows in quarantine, somebody should look at what the collectors send."""

_FILES_SHOWN = 50

_SPECIFICATIONS = {kind: specification(kind, SEEDS) for kind in Kind}
_CUT_BY_DAY = {spec.collection for spec in _SPECIFICATIONS.values() if spec.partition is not None}
RAW_KEYS = {collection: dg.AssetKey(["raw", collection]) for collection in SCHEMAS}
"""The raw collections: of each kind of record, of what was not accepted, and of the files that landed."""

_DESCRIPTIONS = {
    "usage_events": "Usage events as they landed: one row per distinct event, Parquet by event date."
    " What lands late adds to the days of its events, and only what hangs on those is worked out anew.",
    "subscriptions": "Which plan or contract a customer is on, from when. Append-only; a later landing supersedes.",
    "customers": "Name, email, currency and limits of each customer. Append-only; a later landing supersedes.",
    "credit_grants": "Credits given to customers: amount, scope, expiry. Append-only.",
    "voids": "Usage events and credit grants that are taken back, each by its id. Append-only.",
    "sandbox_metrics": "Samples of what sandboxes used, Parquet by date. Append-only; a later landing supersedes.",
    "quarantine": "Rows that were not accepted, each with file, line and reason.",
    "retried_rows": "Rows of the quarantine that a later judgement superseded. Append-only.",
    "landed_files": "One row per file that landed: its hash, and what became of its rows.",
}


def _spec(collection: str) -> dg.AssetSpec:
    columns = [dg.TableColumn(field.name, _type_name(field.type)) for field in SCHEMAS[collection]]
    return dg.AssetSpec(
        RAW_KEYS[collection],
        description=_DESCRIPTIONS.get(collection, f"Landed {collection.replace('_', ' ')}, append-only."),
        group_name="landing",
        kinds={"parquet"},
        owners=[PLATFORM],
        metadata={"dagster/column_schema": dg.TableSchema(columns)},
        partitions_def=usage_days if collection in _CUT_BY_DAY else None,
    )


def _type_name(type_: pa.DataType) -> str:
    return str(type_).replace("decimal128", "decimal")


@dg.multi_asset(
    specs=[_spec(collection) for collection in SCHEMAS],
    check_specs=[
        dg.AssetCheckSpec(
            "every_file_landed",
            asset=RAW_KEYS["landed_files"],
            description="Every file in the inbox could be read. One that cannot stays there; the others land.",
        ),
        dg.AssetCheckSpec(
            "most_rows_are_accepted",
            asset=RAW_KEYS["landed_files"],
            description="Of each file at least a set share of the rows was accepted (BILLHOUSE_LAND_MIN_ACCEPTED_SHARE). The run"
            " fails where not, once all files have landed.",
        ),
        dg.AssetCheckSpec(
            "quarantine_is_small",
            asset=RAW_KEYS["quarantine"],
            description=f"At most {QUARANTINE_ALARM:.0%} of the rows that came in were not accepted.",
        ),
    ],
    name="land_inbox",
    can_subset=True,
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def land_inbox(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Land every file in the inbox: checked, deduplicated, atomic; then set it aside. Whatever was chosen, all of it lands.

    Fails at the end if a file's rows were mostly refused. That file is set aside like the others: its rows are in quarantine, and
    `billhouse land --again` judges them again. The next build, each hour, takes what did land.
    """
    opened = home.home
    landed = LandingSummary()
    results: list[dg.MaterializeResult[None] | dg.AssetCheckResult] = []
    # Customers are known before what grows with use.
    for kind, spec in sorted(_SPECIFICATIONS.items(), key=lambda item: item[1].collection in _CUT_BY_DAY):
        started = monotonic()
        summary = _land(opened, kind)
        landed.files.extend(summary.files)
        landed.problems.extend(summary.problems)
        facts = _counts(summary) | {"seconds": round(monotonic() - started, 2)}
        if spec.collection in _CUT_BY_DAY:
            results += _by_day(context, opened, spec.collection, summary, facts)
        else:
            results.append(dg.MaterializeResult(asset_key=RAW_KEYS[spec.collection], metadata=facts))
    write_health(opened)
    mostly_refused = landed.mostly_refused(Settings.load().land_min_accepted_share)
    results += [*_quarantine(landed), *_files(landed), _most_rows(mostly_refused)]
    for problem in landed.problems:
        context.log.error(f"Not landed: {problem}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {problem.file}", f"A file could not be landed. {problem}"))
    for file in mostly_refused:
        context.log.error(f"Mostly refused: {file.refusal}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {file.file_name}", file.refusal))
    yield from _chosen(context, results)
    if mostly_refused:
        # Another attempt would find an empty inbox, and succeed.
        raise dg.Failure(f"Mostly refused: {' '.join(file.refusal for file in mostly_refused[:5])}", allow_retries=False)


def _most_rows(mostly_refused: list[LandedFile]) -> dg.AssetCheckResult:
    table = markdown_table(["mostly refused"], [[file.refusal] for file in mostly_refused[:_FILES_SHOWN]])
    return dg.AssetCheckResult(
        passed=not mostly_refused,
        asset_key=RAW_KEYS["landed_files"],
        check_name="most_rows_are_accepted",
        metadata={"files": table},
    )


def _land(home: Home, kind: Kind) -> LandingSummary:
    """Land what waits of a kind, and set it aside; what cannot be read stays."""
    waiting = {path: version_of_path(path) for path in waiting_files(home, kind)}
    summary = land_files(home, list(waiting), kind)
    move_landed(home, {path: waiting[path] for path in summary.landed_paths})
    return summary


def _by_day(
    context: dg.AssetExecutionContext, home: Home, collection: str, summary: LandingSummary, facts: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[None]]:
    """The days that new files have rows of, each with its own."""
    days = _days_of(home, collection, {file.landed_as for file in summary.files if file.landed_as is not None})
    yield from report_days(context, RAW_KEYS[collection], days, lambda day: {**facts, **days.get(day, {})})


def _days_of(home: Home, collection: str, file_ids: set[str]) -> dict[str, dict[str, Any]]:
    """By day: the rows of these files, as they lie in raw/usage_events/event_date=.../<file>.parquet."""
    rows, sizes = Counter[str](), Counter[str]()
    for path in (home.raw / collection).glob("*=*/*.parquet"):
        if path.stem in file_ids:
            day = path.parent.name.partition("=")[2]
            rows[day] += pq.read_metadata(path).num_rows
            sizes[day] += path.stat().st_size
    return {day: {"new_rows": rows[day], "new_bytes": sizes[day]} for day in rows}


def _quarantine(landed: LandingSummary) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    share = landed.quarantined / landed.received if landed.received else 0.0
    facts: dict[str, Any] = {"share_of_received": share, "reasons": markdown_table(["reason", "rows"], landed.by_reason.items())}
    judged_again = sum(file.landed_as is not None for file in landed.files if file.is_already_landed)
    yield dg.MaterializeResult(asset_key=RAW_KEYS["quarantine"], metadata={"rows": landed.quarantined, **facts})
    yield dg.MaterializeResult(asset_key=RAW_KEYS["retried_rows"], metadata={"files": judged_again})
    yield dg.AssetCheckResult(
        passed=share <= QUARANTINE_ALARM,
        asset_key=RAW_KEYS["quarantine"],
        check_name="quarantine_is_small",
        severity=dg.AssetCheckSeverity.WARN,
        metadata=facts,
    )


def _files(landed: LandingSummary) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    rows = [
        [file.file_name, file.received, file.accepted, file.duplicates, file.quarantined, file.unread_text or ""]
        for file in landed.files
        if not file.is_already_landed
    ]
    columns = ["file", "received", "accepted", "duplicates", "quarantined", "columns not read"]
    files = markdown_table(columns, rows[:_FILES_SHOWN])
    yield dg.MaterializeResult(asset_key=RAW_KEYS["landed_files"], metadata={**_counts(landed), "new_files": files})
    yield dg.AssetCheckResult(
        passed=not landed.problems,
        asset_key=RAW_KEYS["landed_files"],
        check_name="every_file_landed",
        metadata={"files": markdown_table(["what could not be read"], [[problem] for problem in landed.problems])},
    )


def _counts(summary: LandingSummary) -> dict[str, Any]:
    return {
        "files": len(summary.files),
        "files_new": sum(not file.is_already_landed for file in summary.files),
        "received_rows": summary.received,
        "accepted_rows": summary.accepted,
        "duplicate_rows": summary.duplicates,
        "quarantined_rows": summary.quarantined,
    }


def _chosen(
    context: dg.AssetExecutionContext, results: Iterable[dg.MaterializeResult[None] | dg.AssetCheckResult]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """What the run was asked to tell of."""
    for result in results:
        if isinstance(result, dg.AssetCheckResult):
            assert result.asset_key is not None
            assert result.check_name is not None
            if dg.AssetCheckKey(result.asset_key, result.check_name) in context.selected_asset_check_keys:
                yield result
        elif result.asset_key in context.selected_asset_keys:
            yield result


@dg.asset_check(asset=RAW_KEYS["usage_events"], description="Every raw file is what was written; each event is there once.")
@convert_errors
def raw_events_are_what_landed(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Reads all raw files, which a build does not."""
    problems = [*integrity_problems(home.home, read_store_state(home.home)), *event_problems(home.home)]
    if problems:
        raise_alert(home.home, OperationalAlert("check_failed", "The raw events", f"They are not what landed. {problems[0]}"))
    return dg.AssetCheckResult(
        passed=not problems, metadata={"problems": markdown_table(["problem"], [[problem] for problem in problems])}
    )
