"""Landing: files in the inbox become raw Parquet."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any

import dagster as dg
import pyarrow as pa

from orchestration.lib.automation import has_waiting_run, sensor
from orchestration.lib.dbt_sources import source_descriptions, source_keys
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.partitions import report_days, today, usage_days
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.core.home import SEEDS, Home
from pipeline.core.settings import Settings
from pipeline.landing import LandedFile, LandingSummary, land_files
from pipeline.landing.inbox import inbox_digest, move_landed, version_of_path, waiting_files
from pipeline.landing.merge_days import merge_if_possible
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import Source, all_sources
from pipeline.landing.specification import specification
from pipeline.landing.verify_events import event_problems
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.integrity import integrity_problems, read_store_state
from pipeline.store.raw import SCHEMAS, rows_by_file

QUARANTINE_ALARM = 0.01
"""The share of quarantined rows above which the check quarantine_is_small warns."""

_FILES_SHOWN = 50

_SPECIFICATIONS = {kind: specification(kind, SEEDS) for kind in Kind}
_PARTITIONED_BY_DAY = {spec.collection for spec in _SPECIFICATIONS.values() if spec.partition is not None}

RAW_KEYS = source_keys("raw")
"""The raw collections: one per kind of record, the quarantine, and the landed files."""
_DESCRIPTIONS = source_descriptions("raw")


def _spec(collection: str) -> dg.AssetSpec:
    columns = [dg.TableColumn(field.name, _type_name(field.type)) for field in SCHEMAS[collection]]
    return dg.AssetSpec(
        RAW_KEYS[collection],
        description=_DESCRIPTIONS[collection],
        group_name="landing",
        kinds={"parquet"},
        owners=[PLATFORM],
        metadata={"dagster/column_schema": dg.TableSchema(columns)},
        partitions_def=usage_days if collection in _PARTITIONED_BY_DAY else None,
    )


def _type_name(type_: pa.DataType) -> str:
    return str(type_).replace("decimal128", "decimal")


@dg.multi_asset(
    specs=[_spec(collection) for collection in SCHEMAS],
    check_specs=[
        dg.AssetCheckSpec(
            "every_file_landed",
            asset=RAW_KEYS["landed_files"],
            description="Every file in the inbox could be read. An unreadable file stays in the inbox; the others land.",
        ),
        dg.AssetCheckSpec(
            "most_rows_are_accepted",
            asset=RAW_KEYS["landed_files"],
            description="In each file, at least the share BILLHOUSE_LAND_MIN_ACCEPTED_SHARE of the rows was accepted. Otherwise"
            " the run fails, after all files have landed.",
        ),
        dg.AssetCheckSpec(
            "quarantine_is_small",
            asset=RAW_KEYS["quarantine"],
            description=f"At most {QUARANTINE_ALARM:.0%} of the received rows were quarantined.",
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
    """Land every file in the inbox, whichever assets the run selects: validate, deduplicate, write atomically, archive the file.

    Then merge the small raw files of days that have many of them.

    The run fails at the end if a file has too few accepted rows. That file is archived like the others: its rows are in
    quarantine, and `billhouse land --again` validates them again. The next hourly build includes the accepted rows.
    """
    opened = home.home
    sources, bad_sources = all_sources(opened)
    landed = LandingSummary(problems=bad_sources)
    results: list[dg.MaterializeResult[None] | dg.AssetCheckResult] = []
    # Records of customers and plans before usage.
    for kind, spec in sorted(_SPECIFICATIONS.items(), key=lambda item: item[1].collection in _PARTITIONED_BY_DAY):
        started = monotonic()
        summary = _land(opened, kind, sources)
        landed.files.extend(summary.files)
        landed.problems.extend(summary.problems)
        metadata = _counts(summary) | {"seconds": round(monotonic() - started, 2)}
        if spec.collection in _PARTITIONED_BY_DAY:
            results += _by_day(context, opened, spec.collection, summary, metadata)
        else:
            results.append(dg.MaterializeResult(asset_key=RAW_KEYS[spec.collection], metadata=metadata))
    not_merged = merge_if_possible(opened)
    if not_merged is not None:
        context.log.warning(str(not_merged))
    write_health(opened)
    mostly_refused = landed.mostly_refused(Settings.load().land_min_accepted_share)
    results += [*_quarantine(landed), *_files(landed), _most_rows(mostly_refused)]
    for problem in landed.problems:
        context.log.error(f"Not landed: {problem}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {problem.file}", f"A file could not be landed. {problem}"))
    for file in mostly_refused:
        context.log.error(f"Mostly refused: {file.refusal}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {file.file_name}", file.refusal))
    others = LandingSummary([file for file in landed.files if file not in mostly_refused])
    if others.newly_quarantined:
        raise_alert(opened, OperationalAlert("check_failed", "Rows in quarantine", others.quarantine_text))
    yield from _selected(context, results)
    if mostly_refused:
        # A retry would find an empty inbox and succeed.
        raise dg.Failure(f"Mostly refused: {' '.join(file.refusal for file in mostly_refused[:5])}", allow_retries=False)


def _most_rows(mostly_refused: list[LandedFile]) -> dg.AssetCheckResult:
    table = markdown_table(["mostly refused"], [[file.refusal] for file in mostly_refused[:_FILES_SHOWN]])
    return dg.AssetCheckResult(
        passed=not mostly_refused,
        asset_key=RAW_KEYS["landed_files"],
        check_name="most_rows_are_accepted",
        metadata={"files": table},
    )


def _land(home: Home, kind: Kind, sources: Iterable[Source] = ()) -> LandingSummary:
    """Land the waiting files of a kind and of its sources, and archive them; unreadable files stay."""
    landed = LandingSummary()
    for source in (None, *(source for source in sources if source.kind is kind)):
        waiting = {path: version_of_path(path) for path in waiting_files(home, source.name if source is not None else kind)}
        summary = land_files(home, list(waiting), kind, source=source)
        move_landed(home, {path: waiting[path] for path in summary.landed_paths})
        landed.files.extend(summary.files)
        landed.problems.extend(summary.problems)
    return landed


def _by_day(
    context: dg.AssetExecutionContext, home: Home, collection: str, summary: LandingSummary, metadata: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[None]]:
    """Report the days for which the new files have rows, with the numbers of each day."""
    days = _days_of(home, collection, {file.landed_as for file in summary.files if file.landed_as is not None})
    yield from report_days(context, RAW_KEYS[collection], days, lambda day: {**metadata, **days.get(day, {})})


def _days_of(home: Home, collection: str, file_ids: set[str]) -> dict[str, dict[str, Any]]:
    """By day: the rows of these files, and the bytes of the raw files that they are in."""
    rows, sizes = Counter[str](), Counter[str]()
    for path in (home.raw / collection).glob("*=*/*.parquet"):
        new_rows = sum(count for file_id, count in rows_by_file(path).items() if file_id in file_ids)
        if new_rows:
            day = path.parent.name.partition("=")[2]
            rows[day] += new_rows
            sizes[day] += path.stat().st_size
    return {day: {"new_rows": rows[day], "new_bytes": sizes[day]} for day in rows}


def _quarantine(landed: LandingSummary) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    share = landed.quarantined / landed.received if landed.received else 0.0
    metadata: dict[str, Any] = {
        "share_of_received": share,
        "reasons": markdown_table(["reason", "rows"], landed.by_reason.items()),
    }
    retried_files = sum(file.landed_as is not None for file in landed.files if file.is_already_landed)
    yield dg.MaterializeResult(asset_key=RAW_KEYS["quarantine"], metadata={"rows": landed.quarantined, **metadata})
    yield dg.MaterializeResult(asset_key=RAW_KEYS["retried_rows"], metadata={"files": retried_files})
    yield dg.AssetCheckResult(
        passed=share <= QUARANTINE_ALARM,
        asset_key=RAW_KEYS["quarantine"],
        check_name="quarantine_is_small",
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
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
        metadata={"files": markdown_table(["unreadable files"], [[problem] for problem in landed.problems])},
    )


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


def _selected(
    context: dg.AssetExecutionContext, results: Iterable[dg.MaterializeResult[None] | dg.AssetCheckResult]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The results for the assets and checks that the run selects."""
    for result in results:
        if isinstance(result, dg.AssetCheckResult):
            assert result.asset_key is not None
            assert result.check_name is not None
            if dg.AssetCheckKey(result.asset_key, result.check_name) in context.selected_asset_check_keys:
                yield result
        elif result.asset_key in context.selected_asset_keys:
            yield result


@dg.asset_check(
    asset=RAW_KEYS["usage_events"], description="Every raw file is unchanged since it was written, and each event exists once."
)
@convert_errors
def raw_events_are_what_landed(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """Read all raw files; builds do not."""
    problems = [*integrity_problems(home.home, read_store_state(home.home)), *event_problems(home.home)]
    if problems:
        raise_alert(
            home.home, OperationalAlert("check_failed", "The raw events", f"They have changed since they landed. {problems[0]}")
        )
    return dg.AssetCheckResult(
        passed=not problems, metadata={"problems": markdown_table(["problem"], [[problem] for problem in problems])}
    )


@sensor("land_and_build", every_seconds=10)
def land_from_inbox(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.SensorResult | dg.SkipReason:
    """Land new files in the inbox and build, within a minute of their arrival."""
    found = inbox_digest(home.home, [source.name for source in all_sources(home.home)[0]])
    if found in ("", context.cursor):
        return dg.SkipReason("No new files in the inbox.")
    if has_waiting_run(context, "land_and_build"):
        return dg.SkipReason("A run that will land the files is in the queue.")
    return dg.SensorResult([dg.RunRequest(partition_key=today())], cursor=found)


def domain_definitions() -> dg.Definitions:
    """What this domain defines. The job land_and_build is in orchestration.warehouse."""
    return dg.Definitions(assets=[land_inbox], asset_checks=[raw_events_are_what_landed], sensors=[land_from_inbox])
