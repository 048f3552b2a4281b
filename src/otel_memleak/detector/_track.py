"""A few quantities over time in constant memory: the older, the coarser."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

_CAPACITY = 256
UNKNOWN = float("nan")


class Track:
    """Rows of values at times, thinned from the old end, read by interpolation.

    When it is full every second row of its older half goes. So the rows are spaced about in proportion to
    their age, as windows of a fixed number of points need it, and ten columns take 22 KB for good.

    Args:
        columns: Quantities kept.
        width_s: At most one row in so many seconds.
    """

    __slots__ = ("_columns", "_times", "_values", "_width")

    def __init__(self, columns: int, width_s: float) -> None:
        self._width = width_s
        self._columns = columns
        self._times = array("d")
        self._values = array("d")

    def add(self, time_s: float, row: Sequence[float]) -> None:
        """Take the values of a moment; NaN is unknown."""
        times = self._times
        if times and time_s - times[-1] < self._width:
            return
        times.append(time_s)
        self._values.extend(row)
        if len(times) >= _CAPACITY:
            self._thin()

    def _thin(self) -> None:
        kept = [0, *range(2, _CAPACITY // 2, 2), *range(_CAPACITY // 2, len(self._times))]
        wide, values = self._columns, self._values
        self._times = array("d", [self._times[row] for row in kept])
        self._values = array("d")
        for row in kept:
            self._values.extend(values[row * wide : (row + 1) * wide])

    def at(self, column: int, time_s: float) -> float:
        """The value at a time, interpolated; that of the nearest end outside; NaN where unknown."""
        times = self._times
        if not times:
            return UNKNOWN
        after = bisect_left(times, time_s)
        if after == 0:
            return self._values[column]
        high = self._values[min(after, len(times) - 1) * self._columns + column]
        if after == len(times):
            return high
        low = self._values[(after - 1) * self._columns + column]
        return low + (time_s - times[after - 1]) / (times[after] - times[after - 1]) * (high - low)

    @property
    def last_s(self) -> float:
        """Time of the newest row."""
        return self._times[-1]

    def first_s(self, column: int) -> float:
        """When a value became known; the end of time for one that is not."""
        values = self._values[column :: self._columns]
        known = (time for time, value in zip(self._times, values, strict=True) if value == value)
        return next(known, float("inf"))

    def between(self, column: int, start_s: float, stop_s: float) -> array[float]:
        """The values of the rows from a time to a later one, both included."""
        first, last = bisect_left(self._times, start_s), bisect_left(self._times, stop_s)
        return self._values[column :: self._columns][first : last + 1]

    @property
    def nbytes(self) -> int:
        """Bytes the rows take."""
        return 8 * (len(self._times) + len(self._values))
