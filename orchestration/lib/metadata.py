"""Tables and plots for the Dagster UI."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

_BAR_COLOR, _LABEL_COLOR = "#4f43dd", "#6b7280"


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> dg.MarkdownMetadataValue:
    """A Markdown table; numbers are right-aligned, with thousands separators."""
    cells = [list(row) for row in rows]
    if not cells:
        return dg.MetadataValue.md("none")
    rule = ["--:" if all(_is_number(row[place]) for row in cells) else "---" for place in range(len(columns))]
    lines = [columns, rule, *([_cell(value) for value in row] for row in cells)]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal) and value != round(value, 3):
        return f"{value:,f}".rstrip("0")  # a quantity: all digits, without trailing zeros
    if isinstance(value, Decimal):
        return f"{round(value, 3):,f}"
    if _is_number(value):
        return f"{value:,}"
    # Names and reasons come from external files: they must not become links, images or HTML in the UI.
    return re.sub(r"[\\|<\[\]`]", r"\\\g<0>", " ".join(str(value).split()))


def bars_by_day(title: str, amounts: Mapping[str, Mapping[str, Decimal]]) -> dg.MarkdownMetadataValue:
    """A bar chart by day, one plot per currency: {"USD": {"2026-09-01": amount}}. Floats are used for drawing only."""
    from matplotlib.figure import Figure  # only runs that draw need it

    figure = Figure(figsize=(8, 1.9 * len(amounts)), layout="constrained")
    for axes, (series, by_day) in zip(figure.subplots(len(amounts), squeeze=False)[:, 0], sorted(amounts.items()), strict=True):
        days = sorted(by_day)
        axes.bar(range(len(days)), [float(by_day[day]) for day in days], color=_BAR_COLOR, width=0.8)
        shown = range(0, len(days), max(1, len(days) // 8))
        axes.set_xticks(list(shown), [days[place][5:] for place in shown], fontsize=8, color=_LABEL_COLOR)
        axes.tick_params(axis="y", labelsize=8, labelcolor=_LABEL_COLOR)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{title}, {series}", loc="left", fontsize=9)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=80)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")
