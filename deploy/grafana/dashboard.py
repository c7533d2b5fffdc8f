"""The dashboard of Billhouse, built with Grafana's foundation SDK. `python -m docs.generate` writes billhouse.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, DatasourceVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import BigValueGraphMode, DataSourceRef, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, Threshold, ThresholdsMode

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_STAT_WIDTH = 3
"""Of the 24 columns of Grafana's grid."""


@dataclass(frozen=True)
class Query:
    """A query, and the legend of each of its series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Figure:
    """A number of now, with the colour of its state."""

    title: str
    description: str
    expression: str
    unit: str
    warning: float | None = None
    """From this value on it is yellow; None: it has no state."""
    critical: float | None = None
    is_good_above: bool = False
    """Whether smaller values are worse."""


@dataclass(frozen=True)
class Chart:
    """Series over time."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    width: int = 8


NOW = [
    Figure(
        "Age of the reports",
        "Since the last build that replaced them. Builds run hourly.",
        "time() - billhouse_last_build_timestamp_seconds",
        units.Seconds,
        5400,
        7200,
    ),
    Figure("Last build", "What it took, of wall clock.", "billhouse_build_seconds", units.Seconds, 900, 1800),
    Figure(
        "In quarantine",
        "Share of all received rows of usage. Rows in quarantine are not billed.",
        "billhouse_quarantined_ratio",
        units.PercentUnit,
        0.001,
        0.01,
    ),
    Figure(
        "Months to close",
        "Months that are over and have drafts.",
        "count(time() > billhouse_draft_month_end_timestamp_seconds) or vector(0)",
        units.Short,
        1,
        2,
    ),
    Figure(
        "Waiting for approval",
        "Closed invoices that a person has to approve before they are published.",
        "billhouse_invoices_awaiting_approval",
        units.Short,
        1,
    ),
    Figure(
        "Differences with Stripe",
        "Invoices that differ between Stripe and the ledger.",
        "billhouse_stripe_differences",
        units.Short,
        None,
        1,
    ),
    Figure("Alerts pending", "Alerts that have not reached a channel yet.", "billhouse_unsent_alerts", units.Short, 1, 10),
    Figure(
        "Disk free",
        "Of the disk of the home.",
        "billhouse_disk_free_bytes / billhouse_disk_size_bytes",
        units.PercentUnit,
        0.1,
        0.03,
        is_good_above=True,
    ),
]
ROWS: dict[str, list[Chart]] = {
    "Landing": [
        Chart(
            "Rows landed in an hour",
            "Rows of usage by outcome. Rows that were settled since then count as quarantined.",
            [
                Query('clamp_min(delta(billhouse_landed_rows{outcome!~"quarantined|settled"}[1h]), 0)', "{{outcome}}"),
                Query(
                    'clamp_min(sum by (instance) (delta(billhouse_landed_rows{outcome=~"quarantined|settled"}[1h])), 0)',
                    "quarantined",
                ),
            ],
            units.Short,
        ),
        Chart(
            "Rows by outcome, and ignored events",
            "All rows of usage since the beginning, and accepted events without effect on a session.",
            [Query("billhouse_landed_rows", "{{outcome}}"), Query("billhouse_ignored_events", "ignored: {{reason}}")],
            units.Short,
        ),
        Chart(
            "Inbox",
            "Files that wait to land.",
            [Query("billhouse_inbox_files", "files")],
            units.Short,
        ),
        Chart(
            "Age of each feed's position",
            "Since a feed last stored its position. A feed that does not run has a line that rises.",
            [Query("time() - billhouse_feed_position_timestamp_seconds", "{{feed}}")],
            units.Seconds,
        ),
        Chart(
            "Files of each feed in an hour",
            "Written to the inbox.",
            [Query("clamp_min(delta(billhouse_feed_files[1h]), 0)", "{{feed}}")],
            units.Short,
        ),
        Chart(
            "Age of the last landing and of the oldest waiting file",
            "Lag between a file's arrival and its landing.",
            [
                Query("time() - billhouse_last_landing_timestamp_seconds", "last landing"),
                Query("time() - billhouse_inbox_oldest_timestamp_seconds", "oldest waiting file"),
            ],
            units.Seconds,
        ),
    ],
    "Invoices": [
        Chart(
            "Unbilled",
            "Subtotal of the drafts before credits, by currency.",
            [Query("billhouse_unbilled_amount", "{{currency}}")],
            units.Short,
        ),
        Chart("Invoices by status", "Of all months.", [Query("billhouse_invoices", "{{status}}")], units.Short),
        Chart(
            "Owed past the due date, and apart from Stripe",
            "By currency.",
            [
                Query("billhouse_overdue_amount", "overdue {{currency}}"),
                Query("billhouse_stripe_drift_amount", "apart from Stripe {{currency}}"),
            ],
            units.Short,
        ),
        Chart(
            "Age and seconds of builds",
            "The age falls to 0 with each build.",
            [
                Query("time() - billhouse_last_build_timestamp_seconds", "age"),
                Query("billhouse_build_seconds", "seconds of the last build"),
            ],
            units.Seconds,
            12,
        ),
        Chart(
            "Limits reached",
            "Breaches in the latest month with any.",
            [Query("billhouse_limit_breaches", "{{limit}}")],
            units.Short,
            12,
        ),
    ],
    "Receiver": [
        Chart(
            "Requests a second",
            "By status of the answer; 202: the rows are on disk.",
            [Query("sum by (status) (rate(billhouse_receive_requests_total[$__rate_interval]))", "{{status}}")],
            units.RequestsPerSecond,
        ),
        Chart(
            "Rows a second",
            "By kind or source.",
            [Query("sum by (name) (rate(billhouse_receive_rows_total[$__rate_interval]))", "{{name}}")],
            units.RowsPerSecond,
        ),
        Chart(
            "Time to an answer",
            "Of requests that were answered 202.",
            [
                Query(
                    f"histogram_quantile({quantile}, sum by (le)"
                    ' (rate(billhouse_receive_request_seconds_bucket{status="202"}[$__rate_interval])))',
                    legend,
                )
                for quantile, legend in ((0.5, "half of them"), (0.99, "99 %"))
            ],
            units.Seconds,
        ),
        Chart(
            "Refused for now (429)",
            "Share of the requests: a sender is too fast, or memory or disk are nearly full.",
            [
                Query(
                    'sum(rate(billhouse_receive_requests_total{status="429"}[$__rate_interval]))'
                    " / sum(rate(billhouse_receive_requests_total[$__rate_interval])) or vector(0)",
                    "429",
                )
            ],
            units.PercentUnit,
        ),
        Chart(
            "Waiting to be written",
            "Bytes in memory that are not in the inbox yet.",
            [Query("billhouse_receive_waiting_bytes", "{{instance}}")],
            units.BytesIEC,
        ),
        Chart(
            "Free space",
            "Of the disk of the home.",
            [Query("billhouse_disk_free_bytes", "free"), Query("billhouse_disk_size_bytes", "size")],
            units.BytesIEC,
        ),
    ],
}


def dashboard() -> Dashboard:
    """The dashboard, as a builder of the SDK."""
    board = (
        Dashboard("Billhouse")
        .uid("billhouse")
        .description("The state of a Billhouse home and of its receivers. What to do for each alert: docs/operate/monitoring.md.")
        .tags(["billhouse"])
        .timezone("utc")
        .time("now-24h", "now")
        .refresh("1m")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(DashboardLink("Alerts").type(DashboardLinkType.LINK).url("/alerting/list").icon("bell"))
    )
    numbers = count(1)
    for figure in NOW:
        board.with_panel(_stat(figure).id(next(numbers)))
    for title, charts in ROWS.items():
        board.with_row(Row(title).id(next(numbers)))
        for chart in charts:
            board.with_panel(_time_series(chart).id(next(numbers)))
    return board


def dashboard_json() -> str:
    """The dashboard as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n"


def _stat(figure: Figure) -> Stat:
    colors = [("green", None), ("yellow", figure.warning), ("red", figure.critical)]
    if figure.is_good_above:
        colors = [("red", None), ("yellow", figure.critical), ("green", figure.warning)]
    steps = [Threshold(value, color) for color, value in colors if value is not None or (color, value) == colors[0]]
    return (
        Stat()
        .title(figure.title)
        .description(figure.description)
        .datasource(_SOURCE)
        .unit(figure.unit)
        .height(4)
        .span(_STAT_WIDTH)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_target(Query(figure.expression)).ref_id("A").instant())
    )


def _time_series(chart: Chart) -> TimeSeries:
    panel = (
        TimeSeries()
        .title(chart.title)
        .description(chart.description)
        .datasource(_SOURCE)
        .unit(chart.unit)
        .min(0)
        .height(8)
        .span(chart.width)
        .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    )
    for name, query in zip("ABCDE", chart.queries, strict=False):
        panel.with_target(_target(query).ref_id(name))
    return panel


def _target(query: Query) -> Dataquery:
    return Dataquery().datasource(_SOURCE).expr(query.expression).legend_format(query.legend)
