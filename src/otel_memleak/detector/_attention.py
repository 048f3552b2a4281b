"""How much of the time that passed was watched: the rest is no evidence.

A process that is stopped, a machine that is suspended or starved, a scrape that fails: afterwards memory is
elsewhere, and nobody saw how it got there. Slopes need the time that passed, patience only the time watched.
While a process still loads modules it is starting, and its growth is no evidence, either; for a time only,
since a program may load modules for ever, and leak.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

_PAUSE = 4.0
"""So many times the usual spacing is what one step is credited with at most. Random spacing (exponential, the
widest there is) loses 2 % of its time to it."""

_LEARNS = 0.1
_CAPACITY = 256
_LOADING_WINDOWS = 6.0
"""Baseline windows that loading modules may take."""


class Attention:
    """Keeps account of the time not watched, in constant memory.

    Args:
        step_s: Expected time between samples, seconds; the usual one is learned.
        baseline_window_s: The unit of how long loading modules is a start, seconds.
    """

    __slots__ = ("_ends", "_excuse_s", "_last", "_modules", "_steps", "_totals", "_usual", "watched_s")

    def __init__(self, step_s: float, baseline_window_s: float) -> None:
        self._usual = step_s
        self._steps = 0
        self._last = 0.0
        self._excuse_s = _LOADING_WINDOWS * baseline_window_s
        self._modules = float("inf")
        self._ends = array("d")
        self._totals = array("d")
        self.watched_s = 0.0

    def step(self, elapsed_s: float) -> None:
        """A sample has come, elapsed seconds after the first one."""
        step = elapsed_s - self._last
        if step <= 0.0:
            return  # the first one
        self._last = elapsed_s
        most = _PAUSE * self._usual
        credited = step
        if step > most:
            credited = most
            self._leave_out(step - most)
        self._steps += 1
        self._usual += max(_LEARNS, 1.0 / self._steps) * (credited - self._usual)
        self.watched_s += credited

    def loaded(self, modules: float) -> None:
        """So many modules are loaded at the last sample: if they are more, the step to it was start-up."""
        if modules > self._modules and self._excuse_s > 0.0:
            excused = min(self._usual, self._excuse_s)
            self._excuse_s -= excused
            self._leave_out(excused)
            self.watched_s -= excused
        self._modules = modules

    def _leave_out(self, seconds: float) -> None:
        ends, totals = self._ends, self._totals
        before = totals[-1] if totals else 0.0
        if ends and ends[-1] == self._last:
            totals[-1] = before + seconds
            return
        ends.append(self._last)
        totals.append(before + seconds)
        if len(ends) >= _CAPACITY:  # each of those that go is merged with the next one
            del ends[0 : _CAPACITY // 2 : 2], totals[0 : _CAPACITY // 2 : 2]

    def unwatched_s(self, start_s: float, stop_s: float) -> float:
        """What was not watched between two elapsed times, seconds."""
        return self._until(stop_s) - self._until(start_s) if self._ends else 0.0

    def _until(self, elapsed_s: float) -> float:
        at = bisect_right(self._ends, elapsed_s)
        return self._totals[at - 1] if at else 0.0
