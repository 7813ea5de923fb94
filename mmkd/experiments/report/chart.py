"""Line charts as SVG for the page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 460, 260
_LARGEST = 1e300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 26


@dataclass(frozen=True)
class Curve:
    """The values of one run: ``points`` (x, y), drawn in the colour of number ``colour``."""

    name: str
    colour: int
    points: Sequence[tuple[float, float]]


def line_chart(title: str, curves: Sequence[Curve]) -> str:
    """Return a chart of all curves, with ticks and a grid, without values that are not finite.

    Values from 1e300 on, between which no ticks can be computed, are left out too.

    Each curve carries its number as ``data-run`` and its values and positions as ``data-points``,
    for the page's script.

    Args:
        title: Name of the values.
        curves: At least one, none empty.
    """
    curves = [
        replace(curve, points=[p for p in curve.points if all(abs(n) < _LARGEST for n in p)])
        for curve in curves
    ]
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return f'<p class="note">{escape(title)}: no finite values</p>'
    xs, ys = zip(*(point for curve in curves for point in curve.points), strict=True)
    x_low, x_high = 0, max(xs)
    x_ticks = [x for x in _ticks(x_low, x_high) if x <= x_high]
    y_ticks = _ticks(min(ys), max(ys))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = []
    for y in y_ticks:
        row = place(x_low, y)[1]
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{row}" y2="{row}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{row + 3.5}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        column = place(x, y_low)[0]
        anchor = 'end' if column > WIDTH - 24 else 'middle'
        parts.append(
            f'<text x="{column}" y="{HEIGHT - 8}" text-anchor="{anchor}">{_count(x)}</text>'
        )
    for curve in curves:
        placed = [place(x, y) for x, y in curve.points]
        known = json.dumps([[x, y, *at] for (x, y), at in zip(curve.points, placed, strict=True)])
        drawn = ' '.join(f'{x},{y}' for x, y in placed)
        end = placed[-1]
        parts.append(
            f'<g class="curve" data-run="{curve.colour}" data-name="{escape(curve.name)}" '
            f'data-points="{escape(known)}" style="--run: var(--run-{curve.colour % 10})">'
            f'<polyline points="{drawn}"/><circle cx="{end[0]}" cy="{end[1]}" r="2.6"/></g>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}'
        f'<line class="cursor" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" hidden=""/></svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(5).tick_values(low, high).tolist()
    return [round(tick, 10) for tick in ticks]


def _count(value: float) -> str:
    return f'{value / 1000:g}k' if value >= 10000 else f'{value:g}'
