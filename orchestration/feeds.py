"""Feeds: the home's feeds.toml names commands that fetch rows into the inbox, from where landing takes them."""

from collections.abc import Iterator, Sequence

import dagster as dg

from orchestration.lib.asset_events import AssetEvent, in_run, materialized
from orchestration.lib.automation import has_waiting_run, sensor
from orchestration.lib.metadata import markdown_table
from orchestration.lib.owners import PLATFORM
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.feeds.configured import FeedRun, read_feeds, run_feeds
from pipeline.monitoring.health import write_health

_KEY = dg.AssetKey("collected_rows")


@dg.asset(
    key=_KEY,
    check_specs=[
        dg.AssetCheckSpec(
            "every_feed_was_collected",
            asset=_KEY,
            description="Each configured feed ran to its end, and its source had removed nothing unread.",
        )
    ],
    group_name="landing",
    kinds={"json"},
    owners=[PLATFORM],
    pool="feeds",
)
@convert_errors
def collected_rows(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[BillhouseHome]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Rows that the feeds in feeds.toml fetch into the inbox, without those that a service follows. See docs/operate/queues.md.

    A feed that fails raises an alert and fails the check; the others run. The next run tries it again.
    """
    runs = run_feeds(home.home, [feed for feed in read_feeds(home.home) if not feed.is_service])
    for run in runs:
        if run.problem:
            context.log.error(f"{run.feed}: {run.problem}")
        for warning in run.warnings:
            context.log.warning(f"{run.feed}: {warning}")
    write_health(home.home)
    yield from in_run(context, feed_events(runs))


def feed_events(runs: Sequence[FeedRun]) -> Iterator[AssetEvent]:
    """The events of a run of feeds."""
    table = markdown_table(
        ["feed", "rows", "files", "seconds", "problem"],
        [[run.feed, run.rows, run.files, round(run.seconds, 1), run.problem] for run in runs],
    )
    yield materialized(_KEY, {"rows": sum(run.rows for run in runs), "feeds": table})
    failed = [run.feed for run in runs if run.problem]
    yield dg.AssetCheckResult(
        asset_key=_KEY,
        check_name="every_feed_was_collected",
        passed=not failed,
        metadata={"failed": ", ".join(failed), "feeds": table},
    )


collect_feeds = dg.define_asset_job(
    "collect_feeds",
    selection=dg.AssetSelection.assets(_KEY),
    description="Run each feed in feeds.toml: fetch its new rows into the inbox.",
)


@sensor("collect_feeds", every_seconds=60)
def run_configured_feeds(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]
) -> dg.RunRequest | dg.SkipReason:
    """Fetch new rows of each feed in feeds.toml every minute, if any is configured."""
    if not any(not feed.is_service for feed in read_feeds(home.home)):
        return dg.SkipReason(f"No feed is configured in {home.home.feeds}.")
    if has_waiting_run(context, "collect_feeds"):
        return dg.SkipReason("A run that will fetch the rows is in the queue.")
    return dg.RunRequest()


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(assets=[collected_rows], jobs=[collect_feeds], sensors=[run_configured_feeds])
