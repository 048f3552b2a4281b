"""Elapsed time that only moves forward, whatever the clock that is fed does."""

from __future__ import annotations

_BEHIND_BEFORE_STEP = 3
"""So many samples in a row from the past are a clock that was set back; fewer are stragglers."""


class Timeline:
    """Turns the times fed into strictly increasing elapsed seconds.

    A sample that repeats or precedes the last one is a straggler and has no place in a trend. When several in
    a row do, the clock itself was set back: elapsed time then goes on from where it was.

    Args:
        step_s: Seconds assumed to have passed when the clock was set back; the sampling interval.
    """

    __slots__ = ("_behind", "_last", "_offset", "_step", "elapsed_s")

    def __init__(self, step_s: float) -> None:
        self._step = step_s
        self._last: float | None = None
        self._offset = 0.0
        self._behind = 0
        self.elapsed_s = 0.0

    def advance(self, time_s: float) -> bool:
        """Move to ``time_s``; False when the sample is a straggler and has to be left out."""
        if self._last is None:
            self._offset = time_s
        elif time_s <= self._last:
            if time_s == self._last:
                return False
            self._behind += 1
            if self._behind < _BEHIND_BEFORE_STEP:
                return False
            self._offset = time_s - self.elapsed_s - self._step
        self._behind = 0
        self._last = time_s
        self.elapsed_s = time_s - self._offset
        return True

    def fed_time(self, elapsed_s: float) -> float:
        """The time on the clock fed that corresponds to an elapsed time."""
        return elapsed_s + self._offset
