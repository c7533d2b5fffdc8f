"""Landing: files in the inbox become raw Parquet."""

from collections.abc import Iterable, Iterator
from time import monotonic

import dagster as dg
import pyarrow as pa

from orchestration.lib.asset_events import in_run
from orchestration.lib.automation import has_waiting_run, sensor
from orchestration.lib.dbt_sources import source_descriptions
from orchestration.lib.landing_events import (
    KINDS,
    PARTITIONED_BY_DAY,
    QUARANTINE_ALARM,
    RAW_KEYS,
    KindLanding,
    few_accepted,
    landing_events,
)
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.partitions import selected_partitions, today, usage_days
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.landing import LandingSummary, land_files
from pipeline.landing.inbox import inbox_digest, move_landed, version_of_path, waiting_files
from pipeline.landing.merge_raw_files import merge_if_possible
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import Source, all_sources
from pipeline.landing.verify_events import event_problems
from pipeline.monitoring.health import write_health
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.integrity import integrity_problems, read_store_state
from pipeline.store.raw import SCHEMAS

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
        partitions_def=usage_days if collection in PARTITIONED_BY_DAY else None,
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
    landings: list[KindLanding] = []
    for kind in KINDS:
        started = monotonic()
        summary = _land(opened, kind, sources)
        landed.files.extend(summary.files)
        landed.problems.extend(summary.problems)
        landings.append(KindLanding(kind, summary, round(monotonic() - started, 2)))
    not_merged = merge_if_possible(opened)
    if not_merged is not None:
        context.log.warning(str(not_merged))
    write_health(opened)
    mostly_refused = few_accepted(landed)
    for problem in landed.problems:
        context.log.error(f"Not landed: {problem}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {problem.file}", f"A file could not be landed. {problem}"))
    for file in mostly_refused:
        context.log.error(f"Mostly refused: {file.refusal}")
        raise_alert(opened, OperationalAlert("check_failed", f"Landing {file.file_name}", file.refusal))
    others = LandingSummary([file for file in landed.files if file not in mostly_refused])
    if others.newly_quarantined:
        raise_alert(opened, OperationalAlert("check_failed", "Rows in quarantine", others.quarantine_text))
    refusals = [file.refusal for file in mostly_refused]
    yield from in_run(context, landing_events(opened, landings, landed, refusals, selected_partitions(context)))
    if mostly_refused:
        # A retry would find an empty inbox and succeed.
        raise dg.Failure(f"Mostly refused: {' '.join(file.refusal for file in mostly_refused[:5])}", allow_retries=False)


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
