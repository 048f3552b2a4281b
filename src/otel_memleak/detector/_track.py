"""A few quantities over time in constant memory: the older, the coarser."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

_CAPACITY = 256
_NONE = float("nan")


class Track:
    """Rows of ``(time, value, ...)``, thinned from the old end, read by interpolation.

    When it is full every second row of its older half goes. So the rows are spaced about in proportion to
    their age, as windows of a fixed number of points need it, and a track of five columns takes 12 KB for
    good.

    Args:
        columns: Quantities kept.
        width_s: At most one row in so many seconds.
    """

    __slots__ = ("_columns", "_times", "_width")

    def __init__(self, columns: int, width_s: float) -> None:
        self._width = width_s
        self._times = array("d")
        self._columns = tuple(array("d") for _ in range(columns))

    def add(self, time_s: float, values: Sequence[float | None]) -> None:
        """Take the values of a moment; None is unknown."""
        times = self._times
        if times and time_s - times[-1] < self._width:
            return
        times.append(time_s)
        for column, value in zip(self._columns, values, strict=True):
            column.append(_NONE if value is None else value)
        if len(times) >= _CAPACITY:
            for rows in (times, *self._columns):
                del rows[1 : _CAPACITY // 2 : 2]

    def at(self, column: int, time_s: float) -> float:
        """The value at a time, interpolated; that of the nearest end outside; NaN where unknown."""
        times, values = self._times, self._columns[column]
        if not times:
            return _NONE
        after = bisect_left(times, time_s)
        if after == 0:
            return values[0]
        if after == len(times):
            return values[-1]
        share = (time_s - times[after - 1]) / (times[after] - times[after - 1])
        return values[after - 1] + share * (values[after] - values[after - 1])

    @property
    def last_s(self) -> float:
        """Time of the newest row."""
        return self._times[-1]

    def first_s(self, column: int) -> float:
        """When a value became known; the end of time for one that is not."""
        known = (
            time for time, value in zip(self._times, self._columns[column], strict=True) if value == value
        )
        return next(known, float("inf"))

    def between(self, column: int, start_s: float, stop_s: float) -> array[float]:
        """The values of the rows from a time to a later one, both included."""
        return self._columns[column][bisect_left(self._times, start_s) : bisect_left(self._times, stop_s) + 1]
