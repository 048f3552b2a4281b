"""Memory and calls side by side, in constant space: a lower envelope and running totals."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Final

from otel_memleak.records import NamedTuple

OTHER: Final = "(other)"
"""Name of everything beyond the capacity."""

_MAX_ROWS: Final = 160
_LATEST_S: Final = 1e12
_HALF_LIVES_KEPT: Final = 6.0
_INTERVALS_IN_A_HALF_LIFE: Final = 720.0
CAPACITY: Final = 32


class Row(NamedTuple):
    """The lowest sample of one bucket of time.

    Attributes:
        time_s: When it was taken.
        level_bytes: What it said.
        calls: Calls until then, by column.
    """

    time_s: float
    level_bytes: float
    calls: array[float]


class Ledger:
    """At most 160 buckets of time; when they are full their width doubles, until the oldest may be forgotten.

    Counters that fall have been reset, as in every time-series database. A new route takes the column of one
    that has not been called since the first row; without such, it is counted with the rest.

    Buckets begin half a sampling interval wide. After a half-life a row is worth half, after six it goes.

    Args:
        sampling_interval_s: Of the detector.
        capacity: Routes with a column of their own.
        half_life_s: None for 720 sampling intervals.
    """

    def __init__(
        self, sampling_interval_s: float, capacity: int = CAPACITY, half_life_s: float | None = None
    ) -> None:
        self._capacity = capacity
        self._width_s = sampling_interval_s / 2.0
        self.half_life_s = half_life_s or _INTERVALS_IN_A_HALF_LIFE * sampling_interval_s
        self._horizon_s = _HALF_LIVES_KEPT * self.half_life_s
        self._columns: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._last_other = 0.0
        self._crowded = False
        self._calls = array("d", bytes(8 * (capacity + 1)))
        self._origin_s = 0.0
        self.time_s = -math.inf
        self.rows: list[Row] = []

    def add(self, time_s: float, level_bytes: float, counts: Mapping[str, float]) -> None:
        """Take a sample; those that are repeated, out of order or no numbers are passed over."""
        if not (max(self.time_s, -_LATEST_S) < time_s <= _LATEST_S and 0.0 <= level_bytes < math.inf):
            return
        self.time_s = time_s
        if not self.rows:
            self._origin_s = time_s
        self._count(counts)
        if self.rows and self._bucket(self.rows[-1].time_s) == self._bucket(time_s):
            if level_bytes < self.rows[-1].level_bytes:
                self.rows[-1] = Row(time_s, level_bytes, self._calls[:])
            return
        self.rows.append(Row(time_s, level_bytes, self._calls[:]))
        if len(self.rows) > _MAX_ROWS:
            self._make_room(time_s)

    def routes(self) -> list[tuple[str, int]]:
        """Names and their columns, in the order of the names."""
        return [*sorted(self._columns.items()), (OTHER, self._capacity)]

    def _bucket(self, time_s: float) -> int:
        return int((time_s - self._origin_s) / self._width_s)

    def _count(self, counts: Mapping[str, float]) -> None:
        fresh: list[tuple[str, float]] = []
        other = 0.0
        for name, total in counts.items():
            if not 0.0 <= total < math.inf:
                continue
            if name in self._columns:
                self._calls[self._columns[name]] += _increment(self._last[name], total)
                self._last[name] = total
            elif name == OTHER:
                other += total
            else:
                fresh.append((name, total))
        for name, total in sorted(fresh, key=lambda item: (-item[1], item[0])):
            if not self._adopt(name, total):
                other += total
        # The rest is a sum over names that come and go: when it falls, nothing is known of the interval.
        if self.rows and other > self._last_other:
            self._calls[self._capacity] += other - self._last_other
        self._last_other = other

    def _adopt(self, name: str, total: float) -> bool:
        """Give a route a column; what it was called before the first row, or uncounted, is no call."""
        column = len(self._columns)
        known_before = not self.rows or self._crowded
        if column >= self._capacity:
            self._crowded = True
            column = self._release()
            if column < 0:
                return False
        self._columns[name] = column
        self._last[name] = total
        if not known_before:
            self._calls[column] += total
        return True

    def _release(self) -> int:
        """The column of a route without calls in any row, cleared; -1 when there is none."""
        for name, column in self._columns.items():
            if self.rows and self.rows[0].calls[column] == self._calls[column]:
                del self._columns[name], self._last[name]
                for row in self.rows:
                    row.calls[column] = 0.0
                self._calls[column] = 0.0
                return column
        return -1

    def _make_room(self, now_s: float) -> None:
        if self._width_s * _MAX_ROWS >= self._horizon_s:
            del self.rows[: _MAX_ROWS // 8]
            return
        self._width_s *= 2.0
        merged: list[Row] = []
        for row in self.rows:
            if merged and self._bucket(merged[-1].time_s) == self._bucket(row.time_s):
                merged[-1] = min(merged[-1], row, key=lambda r: r.level_bytes)
            else:
                merged.append(row)
        self.rows = merged


def _increment(last: float, total: float) -> float:
    return total - last if total >= last else total
