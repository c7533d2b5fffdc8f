"""python -m docs.generate.dashboard_picture: draw the dashboard of deploy/grafana/ from its JSON, to docs/images/dashboard.png.

No Grafana: Prometheus answers the queries of the JSON from made-up metrics of a day, and matplotlib draws the answers where the
JSON places them. Needs the packages `prometheus` (with promtool) and the extra `bench`.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from docs.generate.running_prometheus import DASHBOARD, Prometheus, prometheus

PICTURE = Path(__file__).resolve().parents[1] / "images" / "dashboard.png"
_STEP = 300
_HOURS = 24
_TICKS = 6 * 3600
_COLUMNS = 24
_INCHES = 0.75
"""Of a column, and half of it for a row of Grafana's grid."""
_COLORS = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c"}
_BACKGROUND, _PANEL, _TEXT, _FAINT = "#111217", "#181b1f", "#ccccdc", "#8e8e99"
_LINES = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff"]

Series = Mapping[str, Callable[[float, float], float]]
"""By name with labels: the value at (seconds since the beginning, seconds since 1970)."""


def main() -> None:
    """Draw the picture."""
    end = time.time() // 3600 * 3600
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "metrics").write_text("\n".join([*_samples(end - _HOURS * 3600, end), "# EOF"]) + "\n")
        words = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "metrics"), str(folder / "data")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=300)  # noqa: S603 - our own words
        with prometheus(folder, {"scrape_configs": []}) as server:
            figure = draw(server, json.loads(DASHBOARD.read_text(encoding="utf-8")), end)
    figure.savefig(PICTURE, dpi=75, facecolor=_BACKGROUND)
    print(f"wrote {PICTURE}")


def draw(server: Prometheus, dashboard: Mapping[str, Any], end: float) -> Figure:
    """The panels of a dashboard with the answers of a server, as of an instant and the day before it."""
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 1.5
    figure = plt.figure(figsize=(_COLUMNS * _INCHES, rows * _INCHES / 2))
    title = f"{dashboard['title']} · drawn from deploy/grafana/billhouse.json with made-up metrics; not a screenshot of Grafana"
    figure.text(0.008, 1 - 0.9 / rows, title, color=_TEXT, fontsize=13)
    for panel in panels:
        at = panel["gridPos"]
        top = 1 - (at["y"] + 1.5) / rows
        if panel["type"] == "row":
            figure.text((at["x"] + 0.2) / _COLUMNS, top - 0.75 / rows, f"⌄ {panel['title']}", color=_TEXT, fontsize=13)
            continue
        box = ((at["x"] + 0.1) / _COLUMNS, top - (at["h"] - 0.15) / rows, (at["w"] - 0.2) / _COLUMNS, (at["h"] - 0.3) / rows)
        back = figure.add_axes(box, facecolor=_PANEL, xticks=[], yticks=[])
        back.spines[:].set_color("#2c2f36")
        back.set_title(panel["title"], color=_TEXT, fontsize=10.5, loc="left", y=1 - 1.1 / at["h"], x=0.02)
        if panel["type"] == "stat":
            _draw_figure(back, panel, server, end)
        else:
            left, bottom, width, height = box
            inside = (left + 0.12 * width, bottom + 0.24 * height, 0.84 * width, 0.59 * height)
            _draw_chart(figure.add_axes(inside, facecolor=_PANEL), panel, server, end)
    return figure


def _draw_figure(axes: Axes, panel: Mapping[str, Any], server: Prometheus, end: float) -> None:
    found = server.ask("query", query=panel["targets"][0]["expr"], time=str(end))["result"]
    value = float(found[0]["value"][1]) if found else math.nan
    defaults = panel["fieldConfig"]["defaults"]
    color = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    axes.text(0.5, 0.42, _shown(value, defaults["unit"]), color=_COLORS[color], fontsize=27, ha="center", va="center")


def _draw_chart(axes: Axes, panel: Mapping[str, Any], server: Prometheus, end: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    number = 0
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", f"{4 * _STEP}s")
        start = end - _HOURS * 3600
        found = server.ask("query_range", query=query, start=str(start), end=str(end), step=str(_STEP))["result"]
        assert found, f"{panel['title']}: {query}"
        for series in found:
            legend = target["legendFormat"]
            for label, value in series["metric"].items():
                legend = legend.replace("{{" + label + "}}", value)
            instants = [at / 86400 for at, _ in series["values"]]  # matplotlib counts days since 1970
            values = [float(value) for _, value in series["values"]]
            axes.plot(instants, values, color=_LINES[number % len(_LINES)], linewidth=1.2, label=legend)
            number += 1
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.grid(color="#2c2f36", linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=_FAINT, labelsize=8, length=0)
    instants = [at for at in range(int(end) - _HOURS * 3600, int(end)) if at % _TICKS == 0]
    axes.set_xticks([at / 86400 for at in instants], [time.strftime("%H:%M", time.gmtime(at)) for at in instants])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value, unit)))
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.12, -0.14), ncols=5, fontsize=8, frameon=False, labelcolor=_TEXT, columnspacing=1
    )


def _shown(value: float, unit: str) -> str:
    """A value in a unit of Grafana, as short as Grafana shows it."""
    if math.isnan(value):
        return "No data"
    if unit == "percentunit":
        return f"{value:.2%}" if value < 0.01 else f"{value * 100:.3g}%"
    if unit == "s":
        for size, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1000:.3g} ms"
    base, names = (1024, ["B", "KiB", "MiB", "GiB", "TiB"]) if unit == "bytes" else (1000, ["", "K", "Mil", "Bil"])
    suffix = {"reqps": " req/s", "rowsps": " rows/s"}.get(unit, "")
    power = min(int(math.log(value, base)), len(names) - 1) if value >= 1 else 0
    return f"{value / base**power:.3g} {names[power]}".strip() + suffix


def _samples(start: float, end: float) -> Iterator[str]:
    """The metrics of a day in OpenMetrics' format, in the order that it requires: metric by metric, series by series."""
    chance = random.Random(1)  # noqa: S311 - a picture
    noise = [chance.random() for _ in range(int((end - start) // _STEP) + 1)]
    for name, value in _series(noise).items():
        for place in range(len(noise)):
            at = start + place * _STEP
            yield f"{name} {value(place * _STEP, at)} {at}"


def _series(noise: list[float]) -> Series:
    def busy(second: float) -> float:
        """From 0 to 1: a day with a lunch break."""
        return 0.15 + 0.85 * max(0.0, math.sin((second / 3600 - 6) / 13 * math.pi)) * (0.9 + 0.2 * noise[int(second // _STEP)])

    def total(rate: float) -> Callable[[float, float], float]:
        """A counter that rises by `rate` a second when all are busy."""
        sums = [0.0]
        for place in range(len(noise)):
            sums.append(sums[-1] + rate * _STEP * busy(place * _STEP))
        return lambda second, _: sums[int(second // _STEP)]

    def hourly(second: float, at: float) -> float:
        """The last full hour: when a build replaced the reports. One failed."""
        hour = second // 3600
        return at - second + (hour - (1 if hour == 11 else 0)) * 3600 - 40

    def position(every: int) -> Callable[[float, float], float]:
        return lambda second, at: at - (second % every) - 60 * noise[int(second // _STEP)]

    def files(every: int) -> Callable[[float, float], float]:
        return lambda second, _: second // every

    series: dict[str, Callable[[float, float], float]] = {}

    def add(name: str, value: Callable[[float, float], float] | float) -> None:
        series[name] = value if callable(value) else lambda _second, _at: value

    add("billhouse_last_build_timestamp_seconds", hourly)
    add("billhouse_build_seconds", lambda second, _: 24 + 14 * busy(second // 3600 * 3600))
    add("billhouse_quarantined_ratio", 0.0004)
    add('billhouse_draft_month_end_timestamp_seconds{period="2026-11"}', lambda second, at: at - second - 86400)
    add('billhouse_invoices{status="draft"}', lambda second, _: 412 + second // 7200)
    add('billhouse_invoices{status="closed"}', lambda second, _: 380 - 15 * (second // 4800) if second > 30_000 else 380)
    add("billhouse_invoices_awaiting_approval", lambda second, _: 380 - 15 * (second // 4800) if second > 30_000 else 380)
    add('billhouse_invoices{status="open"}', lambda second, _: 120 + 12 * (second // 4800) if second > 30_000 else 120)
    add('billhouse_invoices{status="paid"}', lambda second, _: 2210 + second // 900)
    add("billhouse_stripe_differences", 0)
    add("billhouse_unsent_alerts", 0)
    add("billhouse_disk_free_bytes", lambda second, _: 412e9 - second * 2e5)
    add("billhouse_disk_size_bytes", 960e9)
    for outcome, rate in (("accepted", 310.0), ("duplicate", 9.0), ("quarantined", 0.4)):
        add(f'billhouse_landed_rows{{outcome="{outcome}"}}', total(rate))
    add('billhouse_ignored_events{reason="stop_without_start"}', total(0.02))
    add("billhouse_inbox_files", lambda second, _: round(7 * busy(second) * noise[int(second // _STEP)]))
    add("billhouse_last_landing_timestamp_seconds", lambda second, at: at - 60 - 200 * noise[int(second // _STEP)])
    add("billhouse_inbox_oldest_timestamp_seconds", lambda second, at: at - 120 * noise[int(second // _STEP)])
    for feed, every in (("orders-kafka", 300), ("e2b-metrics", 900), ("stripe-export", 3600)):
        add(f'billhouse_feed_position_timestamp_seconds{{feed="{feed}"}}', position(every))
        add(f'billhouse_feed_files{{feed="{feed}"}}', files(every))
    add('billhouse_unbilled_amount{currency="USD"}', lambda second, _: 182_000 + total(0.6)(second, 0))
    add('billhouse_unbilled_amount{currency="EUR"}', lambda second, _: 61_000 + total(0.2)(second, 0))
    add('billhouse_overdue_amount{currency="USD"}', lambda second, _: 4_100 if second < 50_000 else 2_900)
    add('billhouse_stripe_drift_amount{currency="USD"}', 0)
    add('billhouse_limit_breaches{limit="monthly_spend"}', lambda second, _: 3 + second // 40_000)
    add('billhouse_limit_breaches{limit="concurrency"}', lambda second, _: 7 + second // 25_000)
    for status, rate in (("202", 42.0), ("400", 0.2), ("429", 0.6)):
        add(f'billhouse_receive_requests_total{{name="usage",status="{status}"}}', total(rate))
    for name, rate in (("usage", 290.0), ("metrics", 95.0)):
        add(f'billhouse_receive_rows_total{{name="{name}"}}', total(rate))
    for bound, share in (("0.01", 0.4), ("0.02", 0.8), ("0.05", 0.97), ("0.1", 0.995), ("0.5", 1.0), ("+Inf", 1.0)):
        add(f'billhouse_receive_request_seconds_bucket{{status="202",le="{bound}"}}', total(42.0 * share))
    add('billhouse_receive_waiting_bytes{instance="receive:8780"}', lambda second, _: 40_000 * busy(second))
    return series


if __name__ == "__main__":
    main()
