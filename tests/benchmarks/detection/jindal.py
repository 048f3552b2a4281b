"""Two published leak detectors, written after their description.

A. Jindal, P. Staab, P. Kulkarni, J. Cardoso, M. Gerndt, V. Podolskiy: Memory Leak Detection Algorithms in
the Cloud-based Infrastructure, arXiv 2106.08938, and Online Memory Leak Detection in the Cloud-based
Infrastructures, arXiv 2101.09799. Both smooth the series, cut it at change points, fit lines to what lies
between a change point and now, and speak when a line that fits reaches the critical level within the critical
time.

They were made for the utilisation of whole machines, where the critical level is known. Here it is the limit,
or twice the first level where no limit is known. Where the papers leave a detail open, the choice is ours.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from .baselines import Throttle, Trend, time_to
from .process import DAY, HOUR

FITTING_R2 = 0.8
CRITICAL_TIME_S = 7 * DAY
SAMPLES_PER_BUCKET = 5
LEAST_BUCKETS = 72
"""Shortest line: six hours at a sample a minute, as published, and as many samples at any other interval."""
CHANGE_Z = 3.0
LEAST_STEPS = 12
STARTS_KEPT = 50
TRAINING_BUCKETS = 100


@dataclass(frozen=True)
class Line:
    """A line fitted to the smoothed series: slope in bytes per second, length in seconds."""

    slope: float
    r2: float
    length_s: float


@dataclass(frozen=True)
class Sums:
    """Cumulated moments up to a bucket: any later line is a difference of two of these."""

    n: float = 0.0
    t: float = 0.0
    y: float = 0.0
    tt: float = 0.0
    ty: float = 0.0
    yy: float = 0.0

    def plus(self, t: float, y: float) -> Sums:
        return Sums(self.n + 1, self.t + t, self.y + y, self.tt + t * t, self.ty + t * y, self.yy + y * y)

    def line_since(self, start: Sums) -> Line | None:
        """Least squares over what was added since ``start``; None over too little."""
        n = self.n - start.n
        if n < LEAST_BUCKETS:
            return None
        t, y = (self.t - start.t) / n, (self.y - start.y) / n
        spread_t = (self.tt - start.tt) / n - t * t
        spread_y = (self.yy - start.yy) / n - y * y
        together = (self.ty - start.ty) / n - t * y
        if spread_t <= 0 or spread_y <= 0:
            return None
        # The variance of n evenly spaced times is length² / 12.
        return Line(together / spread_t, together**2 / (spread_t * spread_y), math.sqrt(12 * spread_t))


class Smoothed:
    """The series as medians of a few samples, and the places where it changes abruptly."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.starts: deque[Sums] = deque([self.sums], maxlen=STARTS_KEPT)
        self.level_bytes = math.nan
        self.origin: tuple[float, float] | None = None
        self._bucket: list[float] = []
        self._steps = self._mean = self._squares = 0.0

    def add(self, time_s: float, rss_bytes: float) -> bool:
        """Take a sample; True when a bucket is complete."""
        if not (math.isfinite(time_s) and math.isfinite(rss_bytes)):
            return False
        self._bucket.append(rss_bytes)
        if len(self._bucket) < SAMPLES_PER_BUCKET:
            return False
        level = median(self._bucket)
        self._bucket.clear()
        # Sums of large squares lose the variance: count from the first bucket.
        self.origin = self.origin or (time_s, level)
        if self.sums.n and self._changes(level - self.level_bytes):
            self.starts.append(self.sums)
        self.level_bytes = level
        self.sums = self.sums.plus(time_s - self.origin[0], level - self.origin[1])
        return True

    def _changes(self, step: float) -> bool:
        """Whether a step stands out of all steps so far (Welford's running variance)."""
        deviation = math.sqrt(self._squares / self._steps) if self._steps else math.inf
        stands_out = self._steps >= LEAST_STEPS and abs(step - self._mean) > CHANGE_Z * deviation
        self._steps += 1
        before = step - self._mean
        self._mean += before / self._steps
        self._squares += before * (step - self._mean)
        return stands_out


class LinearBackwardRegression:
    """LBRCPD: the best line from now back to any change point, if it ends at the critical level in time."""

    def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._smoothed = Smoothed()
        self._throttle = Throttle()

    def update(self, time_s: float, rss_bytes: float) -> Trend | None:
        if not self._smoothed.add(time_s, rss_bytes):
            return None
        line = self._suspicious()
        if line is None or not self._throttle.passes(time_s):
            return None
        to_limit_s = time_to(self._limit_bytes, self._smoothed.level_bytes, line.slope)
        return Trend(line.slope * HOUR, to_limit_s)

    def _suspicious(self) -> Line | None:
        return max(self._candidates(), key=lambda line: line.r2, default=None)

    def _candidates(self) -> list[Line]:
        """Lines from change points to now that fit and are about to reach the critical level."""
        now = self._smoothed
        lines = (now.sums.line_since(start) for start in now.starts)
        return [line for line in lines if line and line.r2 >= FITTING_R2 and self._critical(line)]

    def _critical(self, line: Line) -> bool:
        now = self._smoothed
        assert now.origin is not None
        critical_bytes = self._limit_bytes or 2 * now.origin[1]
        left_s = time_to(critical_bytes, now.level_bytes, line.slope)
        return left_s is not None and left_s <= CRITICAL_TIME_S


class Precog(LinearBackwardRegression):
    """PrecogMF: only lines longer or steeper than all known ones, above the highest level of the training.

    The training time is the first hundred buckets. Later lines become known when a change point ends them.
    """

    def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
        super().__init__(limit_bytes, sampling_interval_seconds=sampling_interval_seconds)
        self._known: list[Line] = []
        self._highest_bytes = -math.inf
        self._segment = self._smoothed.starts[-1]
        self._latest: Line | None = None

    def _suspicious(self) -> Line | None:
        now = self._smoothed
        training = now.sums.n <= TRAINING_BUCKETS
        self._remember(training)
        if training or now.level_bytes <= self._highest_bytes:
            return None
        unknown = [line for line in self._candidates() if not any(_covers(old, line) for old in self._known)]
        return max(unknown, key=lambda line: line.r2, default=None)

    def _remember(self, training: bool) -> None:
        """Learn the levels of the training time, and the line of every segment that a change point ended."""
        now = self._smoothed
        if training:
            self._highest_bytes = max(self._highest_bytes, now.level_bytes)
        if now.starts[-1] is not self._segment or now.sums.n == TRAINING_BUCKETS:
            if self._latest and self._latest.slope > 0 and self._latest.r2 >= FITTING_R2:
                self._learn(self._latest)
            self._segment = now.starts[-1]
        self._latest = now.sums.line_since(self._segment)

    def _learn(self, line: Line) -> None:
        """Keep a line, unless one that covers it is known; of what it covers itself nothing is needed."""
        if not any(_covers(old, line) for old in self._known):
            self._known = [old for old in self._known if not _covers(line, old)] + [line]


def _covers(old: Line, new: Line) -> bool:
    return old.slope >= new.slope and old.length_s >= new.length_s
