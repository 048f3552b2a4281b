"""Robust slopes of a whole window, its halves and its quarters, from one pass over the pairs of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from otel_memleak.median import median
from otel_memleak.records import NamedTuple

_NORMAL_QUANTILE = 1.959964
_MAD_TO_SIGMA = 1.4826
_MOST_CORRELATED = 0.9
_FEWEST = 3.0
_OVERDISPERSION = 2.0
_LEAST_HALF_WIDTH = 0.03
_RANKS_RUN_OUT = 0.8
"""Share of all pairs beyond which the ends are slopes between neighbours, which say nothing."""


class Trend(NamedTuple):
    """A straight line through a window, how far the points are from it, and how it bends.

    Attributes:
        slope: Bytes per second.
        low: Lower end of the 95 % interval of the slope, bytes per second.
        high: Upper end of it, bytes per second.
        middle_time_s: Median of the times.
        middle_bytes: Where the line is at ``middle_time_s``.
        deviation_bytes: Median absolute deviation of the points from the line.
        early: Slope of the first half alone, bytes per second.
        late: Slope of the second half alone, bytes per second.
        quarters: Slopes of the four quarters alone, bytes per second.
        span_s: Length of the window, seconds.
    """

    slope: float
    low: float
    high: float
    middle_time_s: float
    middle_bytes: float
    deviation_bytes: float
    early: float
    late: float
    quarters: tuple[float, float, float, float]
    span_s: float

    def at(self, time_s: float) -> float:
        """Bytes the line says at a time."""
        return self.middle_bytes + self.slope * (time_s - self.middle_time_s)

    @property
    def sigma_bytes(self) -> float:
        """Standard deviation of Gaussian noise with the same median absolute deviation."""
        return _MAD_TO_SIGMA * self.deviation_bytes


class Sketch(NamedTuple):
    """A fifth of the work of a `Trend` and nearly as robust: enough to see that a window is not worth one.

    Attributes:
        slope: Bytes per second, the median of the slopes between points half a window apart.
        late: The same of the second half alone.
        deviation_bytes: Median absolute deviation of the points from a line of that slope.
    """

    slope: float
    late: float
    deviation_bytes: float


def sketch(times_s: Sequence[float], values: Sequence[float]) -> Sketch:
    """Look at a window without comparing all its points; arguments as for `fit`."""
    half = len(times_s) // 2
    slope = median(_apart(times_s, values, half))
    late = median(_apart(times_s[half:], values[half:], half // 2))
    offsets = [v - slope * t for t, v in zip(times_s, values, strict=True)]
    middle = median(offsets)
    return Sketch(slope, late, median([abs(o - middle) for o in offsets]))


def _apart(times: Sequence[float], values: Sequence[float], lag: int) -> list[float]:
    """Slopes between the points so many places apart."""
    return [(v - u) / (t - s) for s, u, t, v in zip(times, values, times[lag:], values[lag:], strict=False)]


def fit(times_s: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit a line that a quarter of wild points cannot turn.

    The slope is the median of the slopes between all pairs of points (Theil 1950, Sen 1968). Sen's interval
    takes ranks from the variance of Kendall's tau and assumes independent residuals; memory is
    autocorrelated, so the points are first counted as the fewer independent ones they are worth. A slope
    that changes within the window widens the interval to the slopes of its halves. The whole is widened by
    what the intervals of windows chosen because they grow were found to be too narrow on labelled series.

    Args:
        times_s: At least eight ascending times, seconds.
        values: As many values, bytes.
    """
    whole, halves, quarters = _slopes(times_s, values)
    whole.sort()
    slope = median(whole)
    first, second = median(halves[0]), median(halves[1])
    middle_time = median(times_s)
    offsets = [v - slope * (t - middle_time) for t, v in zip(times_s, values, strict=True)]
    middle = median(offsets)
    residuals = [offset - middle for offset in offsets]
    worth = _worth(residuals)
    error = _standard_error(residuals, worth, times_s[-1] - times_s[0])
    low, high = _interval(whole, worth, slope, _NORMAL_QUANTILE * error)
    return Trend(
        slope=slope,
        low=slope - _wide(slope, slope - min(low, first, second)),
        high=slope + _wide(slope, max(high, first, second) - slope),
        middle_time_s=middle_time,
        middle_bytes=middle,
        deviation_bytes=median([abs(r) for r in residuals]),
        early=first,
        late=second,
        quarters=(median(quarters[0]), median(quarters[1]), median(quarters[2]), median(quarters[3])),
        span_s=times_s[-1] - times_s[0],
    )


_Slopes = list[float]


def _slopes(times: Sequence[float], values: Sequence[float]) -> tuple[_Slopes, list[_Slopes], list[_Slopes]]:
    """Slopes between all pairs of points; of them those within each half, and within each quarter."""
    count = len(times)
    ends = (count // 4, count // 2, count - count // 4, count)
    whole: _Slopes = []
    halves: list[_Slopes] = [[], []]
    quarters: list[_Slopes] = [[], [], [], []]
    start = 0
    for quarter, end in enumerate(ends):
        half, half_start = quarter // 2, 0 if quarter < 2 else ends[1]
        for j in range(start, end):
            t, v = times[j], values[j]
            slopes = [(v - u) / (t - s) for s, u in zip(times[:j], values[:j], strict=True)]
            whole += slopes
            halves[half] += slopes[half_start:]
            quarters[quarter] += slopes[start:]
        start = end
    return whole, halves, quarters


def _wide(slope: float, half_width: float) -> float:
    return max(_OVERDISPERSION * half_width, _LEAST_HALF_WIDTH * abs(slope))


def _worth(residuals: Sequence[float]) -> float:
    """Independent points worth as much as these (Bayley and Hammersley 1946, for an AR(1) process)."""
    power = math.fsum(r * r for r in residuals)
    if power <= 0.0:
        return float(len(residuals))
    lagged = math.fsum(a * b for a, b in pairwise(residuals))
    rho = min(_MOST_CORRELATED, max(0.0, lagged / power))
    return max(_FEWEST, len(residuals) * (1.0 - rho) / (1.0 + rho))


def _standard_error(residuals: Sequence[float], count: float, span_s: float) -> float:
    """Of the slope of a line through evenly spaced points worth so many independent ones."""
    scatter = math.sqrt(math.fsum(r * r for r in residuals) / len(residuals))
    return math.sqrt(12.0 / count) * scatter / span_s


def _interval(slopes: Sequence[float], count: float, slope: float, half_width: float) -> tuple[float, float]:
    """Ends of Sen's rank interval, as if the ascending slopes came from so many points.

    With very few there are no ranks left to take, and the half width of the normal distribution bounds it.
    """
    share = _NORMAL_QUANTILE * math.sqrt(2.0 * (2.0 * count + 5.0) / (9.0 * count * (count - 1.0)))
    last = len(slopes) - 1
    low = slopes[max(0, round(last * (0.5 - share / 2.0)))]
    high = slopes[min(last, round(last * (0.5 + share / 2.0)))]
    if share < _RANKS_RUN_OUT:
        return low, high
    return max(low, slope - half_width), min(high, slope + half_width)
