"""The closing checklist as a check of the closed invoices: what stops the close of the next month, and what to look at."""

from datetime import UTC, datetime

import dagster as dg

from orchestration.lib.automation import schedule
from orchestration.lib.due import ENDS_BY_ITSELF, MONTH_CAN_BE_CLOSED, open_month_that_is_over
from orchestration.lib.metadata import markdown_table
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import closed_invoices
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.ledger.checklist_item import CheckState
from pipeline.ledger.closing_checklist import closing_checklist


@dg.asset_check(
    asset=closed_invoices,
    name=MONTH_CAN_BE_CLOSED,
    description="Nothing stops the close of the earliest open month that is over, except its grace period and a build after its"
    " end. The metadata have the closing checklist. While no such month is open, it reads one number.",
)
@convert_errors
def month_can_be_closed(home: dg.ResourceParam[BillhouseHome]) -> dg.AssetCheckResult:
    """As `billhouse close --check`, of the month that is the next to be closed."""
    return checked_month(home.home, datetime.now(UTC))


def checked_month(home: Home, now: datetime) -> dg.AssetCheckResult:
    """The check at an instant."""
    month = open_month_that_is_over(home, now)
    items = closing_checklist(home, month, now=now) if month is not None else []
    stops = [one for one in items if one.state is CheckState.BLOCKS and one.name not in ENDS_BY_ITSELF]
    rows = [[one.title, one.state.words, one.detail, one.next_step] for one in items]
    return dg.AssetCheckResult(
        asset_key=closed_invoices.key,
        check_name=MONTH_CAN_BE_CLOSED,
        passed=not stops,
        metadata={
            "month": str(month) if month is not None else "none: no open month is over",
            "stops_the_close": len(stops),
            "to_look_at_first": sum(one.state is CheckState.ATTENTION for one in items),
            "checklist": markdown_table(["item", "state", "detail", "next step"], rows),
        },
    )


check_close = dg.define_asset_job(
    "check_close",
    selection=dg.AssetSelection.checks(month_can_be_closed),
    description="The closing checklist of the month that is the next to be closed. Closes nothing.",
)


@schedule(check_close, "0 6 * * *")
def check_before_close(
    context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.RunRequest | dg.SkipReason:
    """Check every day what stops the close of a month that is over and not closed."""
    month = open_month_that_is_over(home.home, datetime.now(UTC))
    return dg.RunRequest() if month is not None else dg.SkipReason("No open month is over.")


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(asset_checks=[month_can_be_closed], jobs=[check_close], schedules=[check_before_close])
