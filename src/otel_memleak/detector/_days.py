"""Growth from day to day, where the traffic of the day hides it.

The daily wave of a service is many times what a slow leak adds to it, and no line through an afternoon tells
one from the other. But at every hour memory stands higher than at the same hour of the day before: the slope
is taken from points a day apart (the seasonal Kendall slope of Hirsch, Slack and Smith 1982), and what
repeats at the same hour is taken away. What is left is judged like any window.
"""

from __future__ import annotations

import math
import operator
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from otel_memleak.detector._envelope import Window
from otel_memleak.detector._patience import DAY_S
from otel_memleak.median import median
from otel_memleak.records import NamedTuple

BUCKETS = 48
_DAYS = 2.6
"""Two rises from day to day, all but the last hours of the second. One may be a Monday."""

_REGULAR_SHARE = 0.9
_LIKE_THE_REST = 0.5
"""At nine hours of ten the rise since yesterday is at least half of what it is at most of them."""


class Days(NamedTuple):
    """A window taken apart.

    Attributes:
        rest: The window less what repeats from day to day, at the height of an average hour.
        depth_bytes: How far the quietest hour is below that.
        regular: Whether memory rises from day to day at nearly every hour.
    """

    rest: Window
    depth_bytes: float
    regular: bool


def take_apart(window: Window) -> Days | None:
    """Tell what grows from what comes back every day; None where there are too few days.

    Args:
        window: Buckets of one width, up to `BUCKETS` of them.
    """
    times, lows = window
    first = times[0]
    if times[-1] - first < _DAYS * DAY_S:
        return None
    points = list(zip(times, lows, strict=True))
    risen = [low - _at(times, lows, time - DAY_S) for time, low in points if time - DAY_S >= first]
    step = median(risen)
    alike = sum(1 for each in risen if each >= _LIKE_THE_REST * step)
    residuals = [low - step / DAY_S * time for time, low in points]
    middle = math.fsum(residuals) / len(residuals)
    wave = [median(_same_hour(times, residuals, time)) - middle for time in times]
    rest = Window(times, array("d", map(operator.sub, lows, wave)))
    return Days(rest, -min(wave), step > 0.0 and alike >= _REGULAR_SHARE * len(risen))


def _same_hour(times: Sequence[float], values: Sequence[float], time: float) -> list[float]:
    """The values at that hour of all days."""
    earliest = time - math.floor((time - times[0]) / DAY_S) * DAY_S
    days = math.floor((times[-1] - earliest) / DAY_S)
    return [_at(times, values, earliest + day * DAY_S) for day in range(days + 1)]


def _at(times: Sequence[float], values: Sequence[float], time: float) -> float:
    """The value at a time, on the line from the point before to the point after."""
    right = min(max(bisect_right(times, time), 1), len(times) - 1)
    before, after = times[right - 1], times[right]
    return values[right - 1] + (values[right] - values[right - 1]) * (time - before) / (after - before)
