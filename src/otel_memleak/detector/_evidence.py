"""What one window of the lower envelope says, and how far that is to be believed.

Two kinds of question are asked of growth. Without a yes to each of the first kind there is nothing to talk
about: is it material, is it clear of the noise, is it new, does it go on. The second kind are doubts: each
has a reason, each is a factor of one or more, and together they only ever prolong how long growth has to be
watched. No trend test convicts: growth that ends is as significant as growth that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from otel_memleak.detector._attention import Attention
from otel_memleak.detector._envelope import Past, Window
from otel_memleak.detector._trend import Trend, fit
from otel_memleak.median import median
from otel_memleak.records import NamedTuple

MATERIAL_SHARE = 0.02
_MATERIAL_SHARE_OF_SWING = 0.15
NEW_SHARE = 0.9
CLEAR_OF_NOISE = 7.0
GOING_ON = 0.77
_HELD_SHARE = 0.5
_WATCHED_SHARE = 0.9
_MOST_OF_STEP = 0.5
_SEEN = 0.5
_SHORT_SHARE_OF_AGE = 0.1
_NEW_OVER_PEAKS_SHARE = 0.5

_NOISE_SCALE = 22.0
_STEP_SCALE = 7.0
_STEP_SHARE = 0.15
_PAUSE_SCALE = 1.2
_PAUSE_SHARE = 0.7
_BEND = 0.1


class Evidence(NamedTuple):
    """One window of growth.

    Attributes:
        times_s: Elapsed time of its points.
        lows_bytes: Its points.
        trend: The robust line through them.
        swing_bytes: Median of how far memory swings within a bucket.
        past: What was reached before it; None when there was nothing before.
        life_start_s: Elapsed time at which the life of the process would have begun, had it been watched
            without a pause.
        watched_s: Seconds of the window that were watched.
        seen: Whether it grew while it was watched, and not merely from one look to the next.
    """

    times_s: tuple[float, ...]
    lows_bytes: tuple[float, ...]
    trend: Trend
    swing_bytes: float
    past: Past | None
    life_start_s: float
    watched_s: float
    seen: bool

    @property
    def span_s(self) -> float:
        """Length of the window, seconds."""
        return self.times_s[-1] - self.times_s[0]

    @property
    def rise_bytes(self) -> float:
        """What the line rises over the window."""
        return self.trend.slope * self.span_s

    @property
    def watched_rise_bytes(self) -> float:
        """What the line rises while it is watched."""
        return self.trend.slope * self.watched_s

    @property
    def level_bytes(self) -> float:
        """Where the line ends."""
        return self.trend.at(self.times_s[-1])


def material(evidence: Evidence) -> bool:
    """The rise is worth a person's time, and more than a collector's beat against the buckets makes of it."""
    return evidence.rise_bytes >= max(
        MATERIAL_SHARE * evidence.level_bytes, _MATERIAL_SHARE_OF_SWING * evidence.swing_bytes
    )


def clear_of_noise(evidence: Evidence) -> bool:
    """The rise stands far above the scatter: a trend in memory is easily significant and rarely clear."""
    return evidence.rise_bytes >= CLEAR_OF_NOISE * evidence.trend.deviation_bytes


def new(evidence: Evidence) -> bool:
    """Nearly all of the rise is above what was retained before: a daily wave and a sawtooth come back.

    A window that is short against the age of the process may be the rising edge of a batch, so it has to
    leave the earlier peaks behind, too.
    """
    past = evidence.past
    if past is None:
        return True
    last, rise = evidence.lows_bytes[-1], evidence.rise_bytes
    if last - past.trough_bytes < NEW_SHARE * rise:
        return False
    short = evidence.span_s < _SHORT_SHARE_OF_AGE * (evidence.times_s[-1] - evidence.life_start_s)
    return not short or last - past.peak_bytes >= _NEW_OVER_PEAKS_SHARE * rise


def going_on(evidence: Evidence) -> bool:
    """The second half grows like the whole: a warm-up and a cache that fills slow down."""
    return evidence.trend.late >= GOING_ON * evidence.trend.slope


def held(evidence: Evidence) -> bool:
    """Most of the rise is still there at the end: a robust line does not notice when it all comes back."""
    return evidence.lows_bytes[-1] >= evidence.level_bytes - _HELD_SHARE * evidence.rise_bytes


def credible(evidence: Evidence) -> bool:
    """There is something to talk about."""
    return (
        evidence.seen
        and material(evidence)
        and clear_of_noise(evidence)
        and going_on(evidence)
        and held(evidence)
        and new(evidence)
    )


def accelerates(evidence: Evidence) -> bool:
    """No quarter is clearly slower than the one before, and the last is faster than the whole."""
    slack = _BEND * evidence.trend.slope
    first, second, third, last = evidence.trend.quarters
    rising = second > first - slack and third > second - slack and last > third - slack
    return rising and last > evidence.trend.slope + slack


def decelerates(evidence: Evidence) -> bool:
    """No quarter is clearly faster than the one before, and the last is slower than the whole."""
    slack = _BEND * evidence.trend.slope
    first, second, third, last = evidence.trend.quarters
    falling = second < first + slack and third < second + slack and last < third + slack
    return falling and last < evidence.trend.slope - slack


def crookedness(evidence: Evidence) -> float:
    """How far the quarter that differs most is from the slope of the whole, as a share of it."""
    slope = evidence.trend.slope
    return max(abs(quarter - slope) for quarter in evidence.trend.quarters) / slope


def doubt(evidence: Evidence) -> float:
    """By how much the doubts prolong patience; one when there are none."""
    noise = noise_doubt(evidence.trend.deviation_bytes, evidence.rise_bytes)
    return noise * _step(evidence) * _pause(evidence)


def noise_doubt(deviation_bytes: float, rise_bytes: float) -> float:
    """The more scatter, the more of the rise may be luck."""
    return 1.0 + (_NOISE_SCALE * deviation_bytes / rise_bytes) ** 2


def _step(evidence: Evidence) -> float:
    """Much of the rise came at once: a deployment, a buffer, a table that doubled."""
    lows = evidence.lows_bytes
    largest = max(b - a for a, b in pairwise(lows))
    return 1.0 + _STEP_SCALE * _within(largest / evidence.rise_bytes - _STEP_SHARE, 0.65)


def _pause(evidence: Evidence) -> float:
    """The last quarter grew less than the whole: this may be the end of it."""
    return 1.0 + _PAUSE_SCALE * _within(_PAUSE_SHARE - evidence.trend.quarters[3] / evidence.trend.slope, 1.0)


def youth(evidence: Evidence) -> float:
    """How much of the window is the start of the process, when all processes grow.

    1.0 for a window that begins with the process, 0.0 for one that begins a window's length later.
    """
    return _within(1.0 - (evidence.times_s[0] - evidence.life_start_s) / evidence.span_s, 1.0)


def _within(value: float, most: float) -> float:
    return min(max(0.0, value), most)


def weigh(
    window: Window,
    swings_bytes: Sequence[float],
    past: Past | None,
    life_start_s: float,
    attention: Attention | None = None,
) -> Evidence:
    """Measure a window.

    Args:
        window: The window.
        swings_bytes: How far memory swings within each of its buckets.
        past: What was reached before it.
        life_start_s: Elapsed time at which the life of the process began.
        attention: Knows what was not watched; None for a series without a pause.
    """
    times, lows = tuple(window.times_s), tuple(window.lows_bytes)
    swing = median(swings_bytes)
    trend, span_s = fit(times, lows), times[-1] - times[0]
    if attention is None:
        return Evidence(times, lows, trend, swing, past, life_start_s, span_s, seen=True)
    start_s = life_start_s + attention.unwatched_s(life_start_s, times[0])
    watched_s = max(0.0, span_s - attention.unwatched_s(times[0], times[-1]))
    seen = watched_s >= _WATCHED_SHARE * span_s or _grew_while_watched(times, lows, trend.slope, attention)
    return Evidence(times, lows, trend, swing, past, start_s, watched_s, seen)


def _grew_while_watched(
    times: Sequence[float], lows: Sequence[float], slope: float, attention: Attention
) -> bool:
    """Whether between looks that no pause parts, memory grew like the whole."""
    slopes: list[float] = []
    first = 0
    for j in range(1, len(times)):
        if attention.unwatched_s(times[j - 1], times[j]) > _MOST_OF_STEP * (times[j] - times[j - 1]):
            first = j
        slopes += [(lows[j] - lows[i]) / (times[j] - times[i]) for i in range(first, j)]
    return bool(slopes) and median(slopes) >= _SEEN * slope
