"""Tables and plots for the UI."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

_INK, _PALE = "#4f43dd", "#6b7280"


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> dg.MarkdownMetadataValue:
    """A small table; numbers stand to the right, with thousands told apart."""
    told = [list(row) for row in rows]
    if not told:
        return dg.MetadataValue.md("none")
    rule = ["--:" if all(_is_number(row[place]) for row in told) else "---" for place in range(len(columns))]
    lines = [columns, rule, *([_cell(value) for value in row] for row in told)]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal) and value != round(value, 3):
        return f"{value:,f}".rstrip("0")  # a quantity: all its digits, and no zeros behind them
    if isinstance(value, Decimal):
        return f"{round(value, 3):,f}"
    if _is_number(value):
        return f"{value:,}"
    # Names and reasons come from files that others send: none of them is a link, a picture or HTML in the UI.
    return re.sub(r"[\\|<\[\]`]", r"\\\g<0>", " ".join(str(value).split()))


def bars_by_day(title: str, amounts: Mapping[str, Mapping[str, Decimal]]) -> dg.MarkdownMetadataValue:
    """A bar a day, one plot a currency: {"USD": {"2026-09-01": amount}}. A picture: amounts are drawn, not reckoned."""
    from matplotlib.figure import Figure  # only a run that draws needs it

    figure = Figure(figsize=(8, 1.9 * len(amounts)), layout="constrained")
    for axes, (series, by_day) in zip(figure.subplots(len(amounts), squeeze=False)[:, 0], sorted(amounts.items()), strict=True):
        days = sorted(by_day)
        axes.bar(range(len(days)), [float(by_day[day]) for day in days], color=_INK, width=0.8)
        shown = range(0, len(days), max(1, len(days) // 8))
        axes.set_xticks(list(shown), [days[place][5:] for place in shown], fontsize=8, color=_PALE)
        axes.tick_params(axis="y", labelsize=8, labelcolor=_PALE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{title}, {series}", loc="left", fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=80)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})")
