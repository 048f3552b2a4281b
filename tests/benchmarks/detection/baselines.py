"""What is used today: the threshold on a fitted line, PromQL's alert rules, and the textbook trend test.

Each is set as its users set it, with one guard they tend to forget: a range function speaks only when half
of its range has been seen. The published leak detectors are in ``jindal``.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from operator import mul
from statistics import NormalDist, median

from .process import DAY, HOUR, MB, MINUTE

REPEAT_S = HOUR
"""A rule that keeps firing is heard this often."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Trend:
    """A claim without an interval."""

    growth_bytes_per_hour: float
    time_to_limit_s: float | None = None
    growth_bytes_per_hour_low: float | None = None
    growth_bytes_per_hour_high: float | None = None


class Throttle:
    """Lets one claim pass per ``REPEAT_S``."""

    def __init__(self) -> None:
        self._latest_s = -math.inf

    def passes(self, time_s: float) -> bool:
        if time_s - self._latest_s < REPEAT_S:
            return False
        self._latest_s = time_s
        return True


class Window:
    """The usable samples of the last ``span_s``, at most one per ``spacing_s``.

    A failed reading is no sample. When the clock is set back, what was seen before is forgotten.
    """

    def __init__(self, span_s: float, spacing_s: float, at_least: int = 0) -> None:
        self.points: deque[Point] = deque()
        self._span_s, self._spacing_s, self._at_least = span_s, spacing_s, at_least

    def add(self, time_s: float, rss_bytes: float) -> bool:
        """Take a sample; False when it was not usable or came too soon."""
        if not (math.isfinite(time_s) and math.isfinite(rss_bytes)):
            return False
        points = self.points
        if points and time_s < points[-1][0]:
            points.clear()
        # A hundredth of slack: timers that wake a little early must not halve the rate.
        if points and time_s - points[-1][0] < 0.99 * self._spacing_s:
            return False
        points.append((time_s, rss_bytes))
        while len(points) > self._at_least and points[0][0] < time_s - self._span_s:
            points.popleft()
        return True

    @property
    def seen_s(self) -> float:
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0


def least_squares(points: Sequence[Point] | deque[Point]) -> Point:
    """Slope per second, and the fitted value at the last time."""
    first_t, first_y = points[0]
    times, rises = [t - first_t for t, _ in points], [y - first_y for _, y in points]
    middle = sum(times) / len(times)
    weights = [t - middle for t in times]
    spread = sum([w * w for w in weights])
    slope = sum(map(mul, weights, rises)) / spread if spread else 0.0
    return slope, first_y + sum(rises) / len(rises) + slope * weights[-1]


def time_to(limit_bytes: float | None, now_bytes: float, slope: float) -> float | None:
    """Seconds until a line of this slope per second reaches the limit."""
    return None if limit_bytes is None or slope <= 0 else max(0.0, limit_bytes - now_bytes) / slope


class LeastSquares:
    """A line through the last five minutes (ten samples at least), steeper than 50 MB/h."""

    THRESHOLD_BYTES_PER_HOUR = 50 * MB
    WINDOW_S = 5 * MINUTE

    def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._window = Window(self.WINDOW_S, sampling_interval_seconds / 2, at_least=10)
        self._throttle = Throttle()
        self._evaluated_s = -math.inf

    def update(self, time_s: float, rss_bytes: float) -> Trend | None:
        window = self._window
        if (
            not window.add(time_s, rss_bytes)
            or len(window.points) < 10
            or window.seen_s < self.WINDOW_S * 0.99
        ):
            return None
        if abs(time_s - self._evaluated_s) < self.WINDOW_S / 10:
            return None
        self._evaluated_s = time_s
        slope, now_bytes = least_squares(window.points)
        if slope * HOUR < self.THRESHOLD_BYTES_PER_HOUR or not self._throttle.passes(time_s):
            return None
        return Trend(slope * HOUR, time_to(self._limit_bytes, now_bytes, slope))


class AlertRule:
    """A Prometheus rule over a range, ``for: 15m``, on a point a minute as OpenTelemetry exports them."""

    RANGE_S = HOUR
    FOR_S = 15 * MINUTE

    def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._window = Window(self.RANGE_S, max(MINUTE, sampling_interval_seconds))
        self._throttle = Throttle()
        self._pending_since_s: float | None = None

    def holds(self, slope: float, now_bytes: float) -> bool:
        raise NotImplementedError

    def update(self, time_s: float, rss_bytes: float) -> Trend | None:
        if not self._window.add(time_s, rss_bytes) or self._window.seen_s < self.RANGE_S / 2:
            return None
        slope, now_bytes = least_squares(self._window.points)
        if not self.holds(slope, now_bytes):
            self._pending_since_s = None
            return None
        if self._pending_since_s is None:
            self._pending_since_s = time_s
        if time_s - self._pending_since_s < self.FOR_S or not self._throttle.passes(time_s):
            return None
        return Trend(slope * HOUR, time_to(self._limit_bytes, now_bytes, slope))


class Deriv1h(AlertRule):
    """``deriv(rss[1h]) > 50 MB/h``."""

    THRESHOLD_BYTES_PER_HOUR = 50 * MB

    def holds(self, slope: float, now_bytes: float) -> bool:
        return slope * HOUR > self.THRESHOLD_BYTES_PER_HOUR


class Deriv6h(Deriv1h):
    """``deriv(rss[6h]) > 50 MB/h``."""

    RANGE_S = 6 * HOUR


class PredictLinear(AlertRule):
    """``predict_linear(rss[6h], 24h) > limit``; without a limit there is nothing to predict."""

    RANGE_S = 6 * HOUR
    AHEAD_S = DAY

    def holds(self, slope: float, now_bytes: float) -> bool:
        return self._limit_bytes is not None and now_bytes + slope * self.AHEAD_S > self._limit_bytes


class MannKendall:
    """Mann-Kendall test at one in a thousand, with ties, over six hours of one-minute medians; Sen's slope.

    Mann 1945, Kendall 1975, Sen 1968. The test statistic is kept up to date as values enter and leave.
    """

    ALPHA = 0.001
    WINDOW = 360
    LEAST = 30

    def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._minute: list[Point] = []
        self._points: deque[Point] = deque()
        self._ties: Counter[float] = Counter()
        self._s = 0
        self._critical = NormalDist().inv_cdf(1.0 - self.ALPHA)
        self._throttle = Throttle()

    def update(self, time_s: float, rss_bytes: float) -> Trend | None:
        if not (math.isfinite(time_s) and math.isfinite(rss_bytes)):
            return None
        minute = self._minute
        minute.append((time_s, rss_bytes))
        if abs(time_s - minute[0][0]) < 0.99 * MINUTE and len(minute) < 100:
            return None
        self._push(minute[len(minute) // 2][0], median(y for _, y in minute))
        minute.clear()
        if len(self._points) < self.LEAST or self._z() < self._critical or not self._throttle.passes(time_s):
            return None
        slope = self._sen()
        return Trend(slope * HOUR, time_to(self._limit_bytes, rss_bytes, slope)) if slope > 0 else None

    def _push(self, time_s: float, value: float) -> None:
        points = self._points
        if len(points) == self.WINDOW:
            _, oldest = points.popleft()
            self._s -= sum((y > oldest) - (y < oldest) for _, y in points)
            self._ties[oldest] -= 1
            if not self._ties[oldest]:
                del self._ties[oldest]
        self._s += sum((value > y) - (value < y) for _, y in points)
        points.append((time_s, value))
        self._ties[value] += 1

    def _z(self) -> float:
        n = len(self._points)
        tied = sum(t * (t - 1) * (2 * t + 5) for t in self._ties.values() if t > 1)
        variance = (n * (n - 1) * (2 * n + 5) - tied) / 18
        return (self._s - 1) / math.sqrt(variance) if self._s > 0 and variance > 0 else 0.0

    def _sen(self) -> float:
        """Median of the pairwise slopes, over every sixth point of a full window."""
        thin = list(islice(self._points, 0, None, max(1, len(self._points) // 60)))
        slopes: list[float] = []
        for (t, y), (u, v) in combinations(thin, 2):
            if u > t:
                insort(slopes, (v - y) / (u - t))
        return median(slopes) if slopes else 0.0
