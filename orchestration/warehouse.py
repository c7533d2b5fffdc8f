"""The warehouse: each dbt model is an asset, each dbt test a check on one, and one dbt call builds all of them.

A run always brings the whole warehouse up to date, because tables of different age would contradict each other; it reports only
the assets that it selects.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from orchestration.landing import land_inbox, raw_events_are_what_landed
from orchestration.lib.asset_events import AssetEvent, in_run
from orchestration.lib.automation import has_waiting_run, schedule
from orchestration.lib.dbt_manifest import ready_manifest
from orchestration.lib.dbt_sources import files_read_by_builds, written_files
from orchestration.lib.dbt_translator import Translator
from orchestration.lib.partitions import selected_partitions, today
from orchestration.lib.resources import BillhouseHome
from orchestration.lib.table_metadata import TableMetadata, unique_id_of
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.core.periods import parse_instant
from pipeline.monitoring.command_reports import BuildReport, reports_replaced_at
from pipeline.monitoring.health import write_health
from pipeline.warehouse.build import build
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.build_steps import BuildFailedError, BuildStep
from pipeline.warehouse.connection import open_warehouse

_SECONDS_BETWEEN_PROGRESS_LOGS = 5.0


class BuildConfig(dg.Config):
    """Configuration of a build."""

    as_of: str | None = None
    """Ignore events after this instant (ISO 8601). Default: now."""


@dbt_assets(
    manifest=ready_manifest(),
    dagster_dbt_translator=Translator(),
    exclude="resource_type:unit_test",
    name="build_warehouse",
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def build_warehouse(
    context: dg.AssetExecutionContext, config: BuildConfig, home: dg.ResourceParam[BillhouseHome]
) -> Iterator[Any]:
    """Build every model and run every check; if all pass, replace the analysts' reports.

    If another run has built everything since this run was launched, its build is used.
    """
    opened = home.home
    with opened.writing():
        changed_days = _days_landed_since(opened, reports_replaced_at(opened))
        started = monotonic()
        try:
            steps = _build(context, config, opened)
        except BuildFailedError as error:
            steps_so_far = {step.unique_id: step for step in error.steps}
            yield from in_run(context, _check_results(context.assets_def, steps_so_far, has_passed=False))
            raise
        with open_warehouse(opened) as warehouse:
            tables = TableMetadata(opened, warehouse, {step.unique_id: step for step in steps})
            selected = [spec for spec in context.assets_def.specs if spec.key in context.selected_asset_keys]
            yield from in_run(context, tables.materializations(selected, {*changed_days, *selected_partitions(context)}))
        if not context.is_subset:
            for written in written_files(opened, "build"):
                context.log_event(written)
        yield from in_run(context, _check_results(context.assets_def, tables.steps, has_passed=True))
        context.log.info(f"{len(steps)} steps in {monotonic() - started:.1f} s")


def _build(context: dg.AssetExecutionContext, config: BuildConfig, home: Home) -> Sequence[BuildStep]:
    """The steps that ran: none if the last build already contains everything that this run was launched for."""
    now = datetime.now(UTC)
    record = last_build(home)
    is_newer = config.as_of is None and record is not None and _launched_at(context) <= record.as_of <= now
    if is_newer and record is not None and is_current(home, record.as_of):
        context.log.info(f"Already built, as of {record.as_of:%Y-%m-%d %H:%M:%S} UTC, after this run was launched.")
        return []
    as_of = parse_instant(config.as_of) if config.as_of is not None else now
    logged_at = monotonic()

    def log_progress(step: str, done: int, total: int) -> None:
        nonlocal logged_at
        if monotonic() - logged_at > _SECONDS_BETWEEN_PROGRESS_LOGS:
            logged_at = monotonic()
            context.log.info(f"{done} of {total}: {step}")

    result = build(home, as_of, on_progress=log_progress)
    write_health(home)
    context.log.info(
        f"{home.analysts_file.name} has {sum(result.tables.values()):,} rows in {len(result.tables)} tables, as of {as_of}."
    )
    return result.steps


def _launched_at(context: dg.AssetExecutionContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp.astimezone(UTC) if record is not None else datetime.now(UTC)


def build_events(home: Home, report: BuildReport) -> Iterator[AssetEvent]:
    """The events of a build that ran without Dagster. Needs the home's write lock: the warehouse is read."""
    steps = {step.unique_id: step for step in report.steps}
    if not report.has_failed:
        days = {*_days_landed_since(home, report.replaced_at), f"{report.as_of:%Y-%m-%d}"}
        with open_warehouse(home) as warehouse:
            yield from TableMetadata(home, warehouse, steps).materializations(build_warehouse.specs, days)
        yield from written_files(home, "build")
    yield from _check_results(build_warehouse, steps, has_passed=not report.has_failed)


def _days_landed_since(home: Home, since: float) -> set[str]:
    """Days with rows that landed since the reports were replaced. Landing and building never run at the same time."""
    return {path.parent.name.partition("=")[2] for path in home.raw.glob("*/*=*/*.parquet") if path.stat().st_mtime > since}


def _check_results(
    assets: dg.AssetsDefinition, steps: Mapping[str, BuildStep], *, has_passed: bool
) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks. In a build that has passed, a check that did not have to run again has passed."""
    for spec in assets.check_specs:
        step = steps.get(unique_id_of(spec))
        if (step is None and not has_passed) or (step is not None and step.status == "skipped"):
            continue
        metadata = {} if step is None else {"seconds": round(step.seconds, 3), "failing_rows": step.failures or 0}
        yield dg.AssetCheckResult(
            asset_key=spec.key.asset_key,
            check_name=spec.key.name,
            passed=step is None or step.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if step is not None and step.status == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata=metadata | ({"message": step.message} if step is not None and step.message else {}),
        )


land_and_build = dg.define_asset_job(
    "land_and_build",
    selection=dg.AssetSelection.assets(land_inbox, build_warehouse) - dg.AssetSelection.checks(raw_events_are_what_landed),
    description="Land the files in the inbox, build every model, run every check, and replace the analysts' reports.",
)


@schedule(land_and_build, "0 * * * *")
def hourly_build(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Build every hour: running sandboxes accrue charges even if nothing lands."""
    if has_waiting_run(context, "land_and_build"):
        return dg.SkipReason("A build is in the queue.")
    return dg.RunRequest(partition_key=today())


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(assets=[build_warehouse, *files_read_by_builds()], jobs=[land_and_build], schedules=[hourly_build])
