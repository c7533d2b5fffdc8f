"""A bar chart as SVG: small enough to be metadata of a run, and sharp at any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from html import escape

_WIDTH, _PLOT_HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 100, 64, 24, 20
_PANEL_HEIGHT = _TOP + _PLOT_HEIGHT + _BOTTOM
_BAR, _TEXT, _GRID = "#4f43dd", "#6b7280", "#6b728050"
"""Legible on a light and on a dark page."""
_MOST_DAY_LABELS = 8


def bar_chart_svg(title: str, amounts: Mapping[str, Mapping[str, Decimal]]) -> str:
    """A bar for each day, a panel for each currency: {"USD": {"2026-09-01": amount}}."""
    panels = [
        _panel(f"{title}, {currency}", by_day, place * _PANEL_HEIGHT)
        for place, (currency, by_day) in enumerate(sorted(amounts.items()))
    ]
    height = _PANEL_HEIGHT * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
        f' font-family="sans-serif" font-size="10" fill="{_TEXT}">{"".join(panels)}</svg>'
    )


def _panel(title: str, by_day: Mapping[str, Decimal], top: int) -> str:
    days = sorted(by_day)
    values = [float(by_day[day]) for day in days]  # coordinates only: no amount is computed from them
    step = _round_step(max(values) - min(0.0, *values))
    low, high = math.floor(min(0.0, *values) / step) * step, max(math.ceil(max(values) / step), 1) * step

    def y(value: float) -> float:
        return top + _TOP + _PLOT_HEIGHT * (high - value) / (high - low)

    parts = [f'<text x="4" y="{top + 14}" font-size="11">{escape(title)}</text>']
    for tick in (low + step * number for number in range(round((high - low) / step) + 1)):
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 3:.1f}" text-anchor="end">{tick:,.10g}</text>')
    slot = (_WIDTH - _LEFT) / len(days)
    label_every = math.ceil(len(days) / _MOST_DAY_LABELS)
    for place, (day, value) in enumerate(zip(days, values, strict=True)):
        left = _LEFT + slot * (place + 0.1)
        upper, lower = sorted((y(value), y(0)))
        parts.append(
            f'<rect x="{left:.1f}" y="{upper:.1f}" width="{slot * 0.8:.1f}" height="{lower - upper:.1f}" fill="{_BAR}"/>'
        )
        if place % label_every == 0:
            middle, below = left + slot * 0.4, top + _TOP + _PLOT_HEIGHT + 14
            parts.append(f'<text x="{middle:.1f}" y="{below}" text-anchor="middle">{escape(day[5:])}</text>')
    return "".join(parts)


def _round_step(span: float) -> float:
    """A distance between lines of the grid, 1, 2 or 5 times a power of ten, such that the span has two to five of them."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 2))
    return next(factor * power for factor in (5, 2, 1) if span >= 2 * factor * power)
