"""Runs of the project's jobs in this process."""

from __future__ import annotations

import dagster as dg

from pipeline.core.home import Home


def in_home(definitions: dg.Definitions, home: Home, job: str) -> dg.JobDefinition:
    """The job, for another home."""
    from orchestration.lib.resources import BillhouseHome

    for_home = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        resources={**(definitions.resources or {}), "home": BillhouseHome(path=str(home.path))},
        executor=dg.in_process_executor,
    )
    return for_home.resolve_job_def(job)


def build(
    definitions: dg.Definitions,
    home: Home,
    instance: dg.DagsterInstance,
    *,
    as_of: str | None = "2026-09-05T00:00:00Z",
    days: tuple[str, str] = ("2026-08-20", "2026-08-20"),
    selection: list[dg.AssetKey] | None = None,
    raise_on_error: bool = True,
) -> dg.ExecuteInProcessResult:
    """Run land_and_build for a range of days, as the UI does."""
    return in_home(definitions, home, "land_and_build").execute_in_process(
        run_config={"ops": {"build_warehouse": {"config": {"as_of": as_of}}}} if as_of else {},
        tags={"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]},
        asset_selection=selection,
        instance=instance,
        raise_on_error=raise_on_error,
    )
