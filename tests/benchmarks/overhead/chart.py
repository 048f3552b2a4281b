"""SVG drawings that show on a white and on a black page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .pairs import Spread

WIDTH = 760
LABEL = 250
ROW = 26
OURS, THEIRS = "#0072b2", "#999999"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.axis{stroke:#8888}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>"
)


def _document(height: int, title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{STYLE}<title>{escape(title)}</title>'
        f'<text x="8" y="20" font-weight="600">{escape(title)}</text>'
    )
    return "\n".join([head, *body, "</svg>"]) + "\n"


def bars(title: str, values: Mapping[str, Spread]) -> str:
    """Ratios as bars on a logarithmic axis that begins a little below 1, the smallest first."""
    ordered = sorted(values.items(), key=lambda item: item[1].median)
    low, high = 0.8, max(2.0, 1.2 * max(value.high for value in values.values()))

    def x(value: float) -> float:
        return LABEL + (WIDTH - LABEL - 70) * math.log(max(value, low) / low) / math.log(high / low)

    body = []
    for number, (name, value) in enumerate(ordered):
        y = 36 + number * ROW
        colour = OURS if "memleak" in name else THEIRS
        middle = y + 9
        body += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{max(1.0, x(value.median) - LABEL):.1f}" height="18" fill="{colour}"/>',
            f'<line x1="{x(value.low):.1f}" x2="{x(value.high):.1f}" y1="{middle}" y2="{middle}" stroke="#d55e00" stroke-width="2"/>',
            f'<text x="{max(x(value.median), x(value.high)) + 6:.1f}" y="{y + 14}">{value.median:.2f} ×</text>',
        ]
    bottom = 36 + len(ordered) * ROW
    body.append(f'<line class="axis" x1="{x(1.0):.1f}" x2="{x(1.0):.1f}" y1="30" y2="{bottom}"/>')
    return _document(bottom + 10, title, body)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> str:
    """Cost against size, both logarithmic; every series from its own smallest size on, as a multiple of it."""
    height, left, top, bottom = 330, 70, 40, 260
    longest = max(points[-1][0] / points[0][0] for points in series.values())
    highest = max(value for points in series.values() for _, value in points)
    lowest = min(value for points in series.values() for _, value in points)
    high, low = 10 ** math.ceil(math.log10(highest * 1.01)), 10 ** math.floor(math.log10(lowest))

    def x(times: float) -> float:
        return left + (WIDTH - left - 20) * math.log(times) / math.log(longest)

    def y(value: float) -> float:
        return bottom - (bottom - top) * math.log(value / low) / math.log(high / low)

    body = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        body.append(
            f'<line class="axis" x1="{left}" x2="{WIDTH - 20}" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}"/>'
        )
        body.append(
            f'<text x="{left - 6}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{10.0**power:g} {unit}</text>'
        )
    for power in range(int(math.log10(longest)) + 1):
        body.append(
            f'<text x="{x(10.0**power):.1f}" y="{bottom + 18}" text-anchor="middle">× {10**power:,}</text>'
        )
    for number, (name, points) in enumerate(series.items()):
        colour = PALETTE[number % len(PALETTE)]
        path = " ".join(f"{x(size / points[0][0]):.1f},{y(value):.1f}" for size, value in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [
            f'<circle cx="{x(size / points[0][0]):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"/>'
            for size, value in points
        ]
        column, row = number % 2, number // 2
        body.append(
            f'<rect x="{left + column * 340}" y="{bottom + 30 + row * 20}" width="12" height="12" fill="{colour}"/>'
        )
        body.append(
            f'<text x="{left + 18 + column * 340}" y="{bottom + 41 + row * 20}">{escape(name)}</text>'
        )
    return _document(height, title, body)
