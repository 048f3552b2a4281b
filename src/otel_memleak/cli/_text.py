"""Pictures in words: the lines printed when there is no terminal to draw on, and the summary at the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from otel_memleak.cli._picture import Event, Picture
from otel_memleak.messages import format_duration, format_mb
from otel_memleak.types import MB

_BARS: Final = " ▁▂▃▄▅▆▇█"
_STEPS: Final = len(_BARS) - 1
_LEAST_RANGE_BYTES: Final = 4.0 * MB
"""Smallest range that fills the height of a curve, so that noise does not look like a mountain."""


def sparkline(values_bytes: Sequence[float], width: int) -> str:
    """Draws values as one row of bars, the newest on the right."""
    return "".join(curve(values_bytes, width, 1))


def curve(values_bytes: Sequence[float], width: int, height: int) -> list[str]:
    """Draws values as bars.

    Args:
        values_bytes: What to draw, oldest first.
        width: Characters at most; more values than that are averaged in groups.
        height: Rows.

    Returns:
        The rows, from the top; empty when there are no values.
    """
    groups = _groups(values_bytes, width)
    if not groups:
        return []
    low = min(groups)
    span = max(max(groups) - low, _LEAST_RANGE_BYTES)
    most = height * _STEPS
    levels = [min(most, 1 + int((value - low) / span * most)) for value in groups]
    return [
        "".join(_BARS[min(_STEPS, max(0, level - row * _STEPS))] for level in levels)
        for row in reversed(range(height))
    ]


def _groups(values: Sequence[float], width: int) -> list[float]:
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)] if count else []
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def rate(picture: Picture) -> str:
    """The growth rate with its interval, or what stands in its place."""
    if picture.growth_bytes_per_hour is None:
        return "–"
    text = f"{format_mb(picture.growth_bytes_per_hour)} MB/h"
    if picture.growth_interval is not None and picture.growth_bytes_per_hour:
        low, high = picture.growth_interval
        text += f" (95 % at the alert: {format_mb(low)}–{format_mb(high)})"
    return text


def memory(picture: Picture) -> str:
    """Resident memory and the limit it is measured against."""
    text = "–" if picture.rss_bytes is None else f"{format_mb(picture.rss_bytes)} MB"
    if picture.limit_bytes is not None:
        text += f" of {format_mb(picture.limit_bytes)} MB ({picture.limit_source or 'limit'})"
    return text


def remaining(picture: Picture) -> str:
    """Time to the limit."""
    return "–" if picture.time_to_limit_s is None else format_duration(picture.time_to_limit_s)


def state(picture: Picture) -> str:
    """The state as people write it."""
    return picture.state.replace("_", " ") or "no report yet"


def process_line(picture: Picture) -> str:
    """One process in one line."""
    curve = sparkline([rss for _, rss in picture.rss], 24)
    return (
        f"{picture.name}: {state(picture)}, RSS {memory(picture)} {curve}, "
        f"growth {rate(picture)}, time to limit {remaining(picture)}"
    )


def headline(event: Event) -> str:
    """One event in one line, in the words it arrived with."""
    kind = f"{event.severity} {event.name}".strip()
    return f"{kind}: {event.body}"


def event_lines(event: Event) -> list[str]:
    """One event with its id and the signals that brought it."""
    return [headline(event), f"  id {event.alert_id}, {arrival(event)}"]


def arrival(event: Event) -> str:
    """Which signals brought the event."""
    parts = ["log record"]
    if event.alert_spans:
        parts.append("span event on its own root span")
    if event.application_spans:
        names = ", ".join(sorted(set(event.application_spans))[:3])
        parts.append(f"span event on {len(event.application_spans)} of the application's spans ({names})")
    return "received as " + ", ".join(parts)


def summary(pictures: Sequence[Picture]) -> list[str]:
    """Everything that was said, for the end of a run."""
    lines: list[str] = []
    for picture in pictures:
        lines.append(process_line(picture))
        for event in picture.events:
            lines += [f"  {line}" for line in event_lines(event)]
    return lines


def verdict(pictures: Sequence[Picture]) -> str:
    """The last line: who leaks, or for how long nobody was seen to."""
    leaking = [picture.name for picture in pictures if picture.leaks]
    if leaking:
        return f"LEAK: {', '.join(leaking)}"
    seen_s = max((picture.rss[-1][0] - picture.rss[0][0] for picture in pictures if picture.rss), default=0.0)
    return f"no leak seen in {format_duration(seen_s)} ({count(len(pictures), 'process', 'es')})"


def count(number: int, noun: str, plural: str = "s") -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"
