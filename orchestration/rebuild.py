"""The audit that a build cannot be: everything is rebuilt, and every report compared with what it was."""

import dagster as dg

from orchestration.lib.automation import schedule
from orchestration.lib.metadata import markdown_table
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.monitoring.health import updated_health
from pipeline.store.alert_log import OperationalAlert, raise_alert, raise_alert_on_error
from pipeline.warehouse.audit import rebuild_and_compare


@dg.op(
    pool="warehouse", description="Rebuild everything from scratch, and compare each report with what incremental builds made."
)
@convert_errors
def compare_with_scratch(context: dg.OpExecutionContext, home: dg.ResourceParam[BillhouseHome]) -> None:
    """Fails where a report differs. The reports are then already those of the build from scratch."""
    opened = home.home
    with raise_alert_on_error(opened, "check_failed", "The build from scratch"), updated_health(opened):
        differing = rebuild_and_compare(opened)
    context.add_output_metadata({"differing": markdown_table(["report", "rows"], differing.items())})
    if differing:
        found = ", ".join(f"{report} ({rows:,} rows)" for report, rows in differing.items())
        text = f"Incremental builds made other reports than a build from scratch, which has replaced them: {found}."
        raise_alert(opened, OperationalAlert("check_failed", "The build from scratch", text))
        raise dg.Failure(text, allow_retries=False)


@dg.job(
    description="Rebuild everything from scratch with every check over whole tables, and compare each report with what it was."
)
def rebuild() -> None:
    """One step."""
    compare_with_scratch()


@schedule(rebuild, "30 4 * * 0")
def weekly_rebuild() -> dg.RunRequest:
    """Rebuild everything from scratch once a week, and compare: incremental builds must have made the same."""
    return dg.RunRequest()


def domain_definitions() -> dg.Definitions:
    """What Dagster loads of this domain."""
    return dg.Definitions(jobs=[rebuild], schedules=[weekly_rebuild])
