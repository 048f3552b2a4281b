"""A leak that has been found, followed until it ends."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise

from otel_memleak.detector._envelope import Envelope, Level, Window
from otel_memleak.detector._evidence import Evidence
from otel_memleak.detector._patience import DAY_S
from otel_memleak.detector._pattern import classify
from otel_memleak.detector._trend import Trend, fit
from otel_memleak.detector._watch import DUE_EVERY, Finding
from otel_memleak.detector._witnesses import Context, Testimony
from otel_memleak.types import Pattern

_ENDED_SHARE = 0.2
_GIVEN_BACK_SHARE = 0.5
_RISING_SHARE = 0.5
_BACK_STEP_SHARE = 0.25
_BACK_STEP_GROWTH = 1.2
_ENOUGH_FOR_SHAPE = 12


class Progress:
    """The growth of one leak: since when, how much, how fast, and whether it still goes on.

    Args:
        finding: The verdict.
        envelope: The envelope it was found in.
    """

    __slots__ = (
        "_envelope",
        "_level",
        "_size",
        "ending",
        "finding",
        "low_bytes",
        "onset_bytes",
        "onset_s",
        "pattern",
        "trend",
    )

    def __init__(self, finding: Finding, envelope: Envelope) -> None:
        self._envelope = envelope
        self.ending = "the process was restarted"
        self.onset_s = _onset(finding, envelope)
        at_onset = finding.evidence.trend.at if finding.by_day else envelope.low_at
        self.onset_bytes = at_onset(self.onset_s)
        self.found_again(finding)

    def found_again(self, finding: Finding) -> None:
        """A window that passed every test, now or anew; the same leak, seen better."""
        evidence = finding.evidence
        self.finding = finding
        self.trend: Trend = evidence.trend
        since_onset = evidence if finding.by_day else self._envelope.since(self.onset_s)
        self.pattern: Pattern = _pattern(since_onset.times_s, since_onset.lows_bytes, evidence)
        self._level = finding.level
        self._size = len(evidence.times_s)
        self.low_bytes = evidence.lows_bytes[-1]

    @property
    def growth_bytes(self) -> float:
        """Bytes retained since the onset."""
        return self.low_bytes - self.onset_bytes

    def context(self, testimony: Testimony) -> Context:
        """What witnesses beside resident memory add to it."""
        evidence = self.finding.evidence
        window = self._window() or Window(array("d", evidence.times_s), array("d", evidence.lows_bytes))
        return testimony.context(window, self.onset_s, self.growth_bytes)

    def _window(self) -> Window | None:
        """The window it was found in, as it is now; None while there are too few days to tell."""
        level = self._envelope.levels[self._level]
        if not self.finding.by_day:
            return level.window(self._size)
        from otel_memleak.detector._days import BUCKETS, take_apart

        days = take_apart(level.window(BUCKETS))
        return days.rest if days is not None else None

    def over(self, closed: int, testimony: Testimony) -> bool:
        """Whether the leak has ended, asked when buckets have closed.

        It has when the window in which it was found no longer grows at a fifth of the mean rate since the
        onset, or when half of what it took has come back. Against the mean, a leak that slows down like a
        square root goes on; one that saturates ends. Requests, where they are counted, are a second clock.
        """
        level = self._envelope.levels[self._level]
        if closed <= self._level or level.closed % DUE_EVERY[self._level]:
            return False
        window = self._window()
        if window is None:
            return False
        times, lows = window
        self.low_bytes = lows[-1]
        grown = self.finding.evidence.lows_bytes[-1] - self.onset_bytes
        if max(lows[-2:]) < self.onset_bytes + (1.0 - _GIVEN_BACK_SHARE) * grown:
            self.ending = "most of the memory came back"
            return True
        self.trend = fit(times, lows)
        mean = self.growth_bytes / max(times[-1] - self.onset_s, times[-1] - times[0])
        if self.trend.slope >= _ENDED_SHARE * mean:
            return False
        if testimony.goes_on(Window(times, lows), self.onset_s, self.growth_bytes, _ENDED_SHARE):
            return False
        self.ending = "the growth has ended"
        return True


def _pattern(times: Sequence[float], lows: Sequence[float], evidence: Evidence) -> Pattern:
    """The shape since the onset, or of the window when that is all that is known in enough detail."""
    if len(times) < _ENOUGH_FOR_SHAPE:
        return classify(evidence.lows_bytes, evidence.trend)
    return classify(lows, fit(times, lows))


def _onset(finding: Finding, envelope: Envelope) -> float:
    """When the growth began.

    Where the line leaves what was retained before and at the start of the window. If that is where the window
    begins, back from there while the envelope falls at half of the slope or more.
    """
    evidence = finding.evidence
    trend, start = evidence.trend, evidence.times_s[0]
    old = evidence.lows_bytes[0]
    if evidence.past is not None:
        old = max(old, evidence.past.trough_bytes)
    left = trend.middle_time_s - (trend.middle_bytes - old) / trend.slope
    step = _BACK_STEP_SHARE * evidence.span_s
    if left > start + step * _BACK_STEP_SHARE:
        return min(left, evidence.times_s[-1])
    if finding.by_day:
        return _back_by_day(start, trend.slope, envelope.levels[envelope.finest(DAY_S) :])
    while start - step > envelope.start_s:
        fall = envelope.low_at(start) - envelope.low_at(start - step)
        if not _RISING_SHARE * trend.slope * step <= fall:
            return start
        start -= step
        step *= _BACK_STEP_GROWTH
    return start


def _back_by_day(start_s: float, slope: float, wide: Sequence[Level]) -> float:
    """Back from a time while the quietest hours of days and more fall at half of a slope.

    Finer buckets reach back a few days only, and the next coarser ones are of other hours of the day.
    """
    if not wide:
        return start_s
    quiet = [point for point in zip(wide[0].times, wide[0].lows, strict=True) if point[0] <= start_s]
    for (later_s, later), (earlier_s, earlier) in pairwise(reversed(quiet)):
        if later - earlier < _RISING_SHARE * slope * (later_s - earlier_s):
            break
        start_s = earlier_s
    return start_s
