"""The lower envelope of a series at every time scale, in constant memory.

What garbage collection, batches and quiet hours leave behind is what a process retains, so the minimum of
a stretch of time says more about a leak than its mean. Buckets of doubling width are kept side by side, the
most recent few of each width: any window, from a minute to months, is some tens of points.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from operator import sub

from otel_memleak.records import NamedTuple

WINDOW = 32
"""Buckets in the longest window of one width: enough for a robust slope, few enough to compare all pairs."""

_KEEP = 2 * WINDOW
MAX_LEVELS = 24


class Window(NamedTuple):
    """A stretch of the lower envelope.

    Attributes:
        times_s: Elapsed time of each bucket's lowest sample, ascending.
        lows_bytes: The lowest sample of each bucket.
    """

    times_s: array[float]
    lows_bytes: array[float]


class Past(NamedTuple):
    """What was reached before a moment.

    Attributes:
        trough_bytes: The highest minimum of a bucket.
        peak_bytes: The highest sample.
    """

    trough_bytes: float
    peak_bytes: float


class Level:
    """The most recent buckets of one width: time and value of the lowest sample, and the highest sample."""

    __slots__ = ("_high", "_index", "_inverse", "_low", "_low_time", "closed", "highs", "lows", "times")

    def __init__(self, width_s: float) -> None:
        self._inverse = 1.0 / width_s
        self._index = -1
        self._low = self._high = self._low_time = 0.0
        self.times = array("d")
        self.lows = array("d")
        self.highs = array("d")
        self.closed = 0

    def add(self, time_s: float, low: float, high: float) -> bool:
        """Merge a sample, or a closed bucket of the level below; True when that closed a bucket here."""
        index = int(time_s * self._inverse)
        if index == self._index:
            if low < self._low:
                self._low = low
                self._low_time = time_s
            if high > self._high:
                self._high = high
            return False
        closing = self._index >= 0
        if closing:
            self.times.append(self._low_time)
            self.lows.append(self._low)
            self.highs.append(self._high)
            self.closed += 1
            if len(self.times) >= _KEEP:
                del self.times[:WINDOW], self.lows[:WINDOW], self.highs[:WINDOW]
        self._index = index
        self._low_time = time_s
        self._low = low
        self._high = high
        return closing

    def window(self, buckets: int) -> Window:
        """The last so many closed buckets, or as many as there are."""
        return Window(self.times[-buckets:], self.lows[-buckets:])

    def swings(self, buckets: int) -> list[float]:
        """How far memory swings within each of the last so many closed buckets, bytes."""
        return list(map(sub, self.highs[-buckets:], self.lows[-buckets:]))


class Envelope:
    """Buckets of doubling width over one uninterrupted life of a process.

    Args:
        start_s: Elapsed time at which that life began.
        width_s: Width of the finest buckets, in seconds.
    """

    __slots__ = ("_width", "levels", "start_s")

    def __init__(self, start_s: float, width_s: float) -> None:
        self._width = width_s
        self.start_s = start_s
        self.levels: list[Level] = [Level(width_s)]

    def add(self, time_s: float, rss_bytes: float) -> int:
        """Take one sample; returns how many levels closed a bucket (0 or 1 for most samples)."""
        finest = self.levels[0]
        if int(time_s * finest._inverse) == finest._index:  # most samples, at a short interval
            if rss_bytes < finest._low:
                finest._low = rss_bytes
                finest._low_time = time_s
            elif rss_bytes > finest._high:
                finest._high = rss_bytes
            return 0
        low = high = rss_bytes
        when = time_s
        closed = 0
        for level in self.levels:
            if not level.add(when, low, high):
                return closed
            closed += 1
            when, low, high = level.times[-1], level.lows[-1], level.highs[-1]
        if len(self.levels) < MAX_LEVELS:
            top = Level(self._width * 2.0 ** len(self.levels))
            top.add(when, low, high)
            self.levels.append(top)
        return closed

    def width_s(self, index: int) -> float:
        """Seconds that a bucket of a level spans."""
        return self._width * 2.0**index

    def finest(self, width_s: float) -> int:
        """The first level whose buckets span so many seconds, whether it is there yet or not."""
        return sum(self.width_s(index) < width_s for index in range(MAX_LEVELS))

    def before(self, time_s: float, finest: int) -> Past | None:
        """What was reached before a time, in the buckets of a level and all wider ones; None without any."""
        trough = peak = 0.0
        for level in self.levels[finest:]:
            past = bisect_left(level.times, time_s)
            if past:
                low, high = max(level.lows[:past]), max(level.highs[:past])
                if low > trough:
                    trough = low
                if high > peak:
                    peak = high
        return Past(trough, peak) if trough else None

    def since(self, time_s: float) -> Window:
        """All of the envelope from a time on, in the finest buckets that reach back so far; may be short."""
        for level in self.levels:
            if level.times and level.times[0] <= time_s:
                at = bisect_left(level.times, time_s)
                return Window(level.times[at:], level.lows[at:])
        return self.levels[-1].window(WINDOW)

    def low_at(self, time_s: float, finest: int = 0) -> float:
        """The envelope at a time, from the finest buckets that reach back so far."""
        last = 0.0
        for level in self.levels[finest:]:
            if level.times:
                at = bisect_right(level.times, time_s)
                if at:
                    return level.lows[at - 1]
                last = level.lows[0]
        return last
