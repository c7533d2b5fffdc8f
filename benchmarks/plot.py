"""python -m benchmarks.plot: draw the results of `benchmarks.usage`: seconds by rows, and the cost of one more day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
TARGET = Path(__file__).parents[1] / "docs" / "images" / "builds.svg"
_CURVES = {
    "pandas": ("pandas, to invoices alone", "#b04a4a"),
    "polars": ("Polars, to invoices alone", "#c78a2b"),
    "full_build": ("full build to invoices", "#1f5fa8"),
    "day_build": ("one more day", "#4c9a6a"),
    "startup": ("a build of nothing", "#9a9a9a"),
    "scan": ("bare scan", "#444444"),
}


def main() -> None:
    """Write docs/images/builds.svg, a panel per shape, from the results over 30 days."""
    found: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("usage-*.json"))]
    mpl.rcParams["svg.hashsalt"] = "billhouse"  # the same results make the same file
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, constrained_layout=True)
    for panel, shape in zip(panels, ("heartbeat", "lifecycle"), strict=True):
        sizes = sorted((one for one in found if one["shape"] == shape and one["days"] == 30), key=lambda one: one["rows"])
        for step, (label, colour) in _CURVES.items():
            points = [(one["rows"], one["steps"].get(step, {}).get("seconds")) for one in sizes]
            points = [(rows, seconds) for rows, seconds in points if seconds]
            panel.plot(*zip(*points, strict=True) if points else ([], []), marker="o", color=colour, label=label)
        panel.set(xscale="log", yscale="log", title=f"{shape}s over 30 days", xlabel="events")
        panel.grid(visible=True, which="major", alpha=0.25)
    panels[0].set_ylabel("seconds")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
