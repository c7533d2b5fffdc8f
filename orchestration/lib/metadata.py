"""Tables and plots for the Dagster UI."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from orchestration.lib.bar_chart import bar_chart_svg


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
    """A bar chart by day, one plot per currency: {"USD": {"2026-09-01": amount}}."""
    picture = base64.b64encode(bar_chart_svg(title, amounts).encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{picture})")
