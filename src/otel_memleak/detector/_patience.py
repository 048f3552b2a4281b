"""How long growth is watched before it is called a leak."""

from __future__ import annotations

import math

from otel_memleak.detector._evidence import (
    Evidence,
    accelerates,
    crookedness,
    decelerates,
    doubt,
    noise_doubt,
    youth,
)
from otel_memleak.records import NamedTuple

_HOUR = 3600.0
_SHARE_OF_TIME_LEFT = 0.5
_STARTING_SHARE = 0.66
"""0.45, and 0.63 at the start, accuse four innocent more of 175; more leaves little time to do something."""

_YOUNG_SHARE = 0.1
_STARTED_AT_YOUTH = 0.5
"""From this share of a window on, being a start counts in full."""

_STRAIGHT_S = 2.6 * _HOUR
_YOUNG_STRAIGHT = 0.8
_LONGEST_S = 7.4 * _HOUR
_STRAIGHT_WITHIN = 0.08
_CROOKED_PROLONGS = 35.0
"""What is watched at most: less than three hours, five at the start of a process, when every quarter of
the window grows like the whole, and a working day when they differ. The day, caches and pools bend within
hours."""

_FIRST_DAY_S = 16.0 * _HOUR
DAY_S = 24.0 * _HOUR
"""The first day of a process rises until its evening. Bent growth since the start is watched until it is
over, where the limit is more than a day away."""

_BEND_PARDONS = 0.75
"""What of the noise is taken for the bend of growth that accelerates."""

_HARMLESS_PROLONGS = 1.5
"""Growth that by its own curve levels off below the limit."""

_SHORTEST_WINDOWS = 0.2
_YOUNG_WINDOWS = 3.0
"""Baseline windows that the shortest window has to span, anywhere and more at the start of a process."""

_DOUBT_IN_FIXED = 0.3
_FADING_PROLONGS = 3.0
_FULL_RISE_SHARE = 0.1
_SMALL_RISE_POWER = 6
_SMALL_RISE_PROLONGS = 8.0
"""Patience set by the user may be seconds. It is prolonged a little by doubts, and until the rise is more
than what caches and garbage come to in seconds: up to eightfold where it is clearly less, as real services
that had been mended showed it at 55 to 210 MB/h, and further in proportion."""

_ASSUMED_LIMIT = 1.8
"""Without a limit, growth is taken to matter as if there were one at so many times the level."""


class Patience(NamedTuple):
    """The rule by which long enough is told.

    Attributes:
        fixed_s: Set by the user, seconds; None for the time that is left to decide.
        baseline_window_s: The unit of the shortest time that is ever long enough, seconds.
    """

    fixed_s: float | None
    baseline_window_s: float

    def needed_s(
        self,
        evidence: Evidence,
        limit_bytes: float | None,
        factor: float = 1.0,
        rise_bytes: float | None = None,
    ) -> float:
        """Seconds this growth has to be watched.

        Growth that ends is told from growth that does not by waiting, and waiting costs memory: so the time
        is a share of what is left to the limit at the present rate, and no more than some hours. Doubts
        prolong it; what the user has set they prolong a little.

        Args:
            evidence: The growth.
            limit_bytes: The limit, if any.
            factor: What witnesses beside resident memory make of it; never less than the user has set.
            rise_bytes: What the growth comes to, where that is more than is seen here; None where it is not.
        """
        doubts, young = doubt(evidence), youth(evidence)
        if self.fixed_s is not None:
            fading = _FADING_PROLONGS if decelerates(evidence) else 1.0
            doubts *= 1.0 + _YOUNG_SHARE * young
            needed = (
                self.fixed_s
                * fading
                * _small(_lacking(evidence, rise_bytes))
                * math.pow(doubts, _DOUBT_IN_FIXED)
            )
            return max(self.fixed_s, factor * needed)
        shortest = self.baseline_window_s * (_SHORTEST_WINDOWS + _YOUNG_WINDOWS * young)
        start = min(1.0, young / _STARTED_AT_YOUTH)
        share = _SHARE_OF_TIME_LEFT + (_STARTING_SHARE - _SHARE_OF_TIME_LEFT) * start
        left_s, longest_s = time_left_s(evidence, limit_bytes), _longest_s(evidence)
        watched = min(share * left_s, longest_s) if left_s < math.inf else _HARMLESS_PROLONGS * longest_s
        watched *= doubts * _pardon(evidence, start)
        return max(shortest, factor * max(watched, start * _first_day_s(longest_s, left_s)))

    def sooner(self, evidence: Evidence) -> float:
        """By what factor sooner growth may be suspected, than it is judged.

        A small rise says little, but what may be a leak is looked into before it is one for certain: a
        suspicion waits for it in proportion only.
        """
        if self.fixed_s is None:
            return 1.0
        lacking = _lacking(evidence)
        return _small(lacking) / lacking

    def most_strength(
        self, span_s: float, rise_bytes: float, headroom: float, doubts: float = 1.0, *, bent: bool = False
    ) -> float:
        """Time watched over time needed, if nothing else about a rise were doubtful; cheap to know.

        Args:
            span_s: Length of the window, seconds.
            rise_bytes: What it rises.
            headroom: Bytes from its end to the limit.
            doubts: What is known of them already.
            bent: Whether it may be of those that are pardoned some noise.
        """
        if self.fixed_s is not None:
            return span_s / (self.fixed_s * math.pow(doubts, _DOUBT_IN_FIXED))
        if bent:
            doubts = math.pow(doubts, 1.0 - _BEND_PARDONS)
        by_time = span_s / _STRAIGHT_S
        by_room = rise_bytes / (_SHARE_OF_TIME_LEFT * headroom) if headroom > 0.0 else math.inf
        return max(by_time, by_room) / doubts


def _lacking(evidence: Evidence, rise_bytes: float | None = None) -> float:
    """How many times a rise would have to be as large, to be more than caches come to in seconds; from 1."""
    full = _FULL_RISE_SHARE * evidence.level_bytes
    rise = evidence.watched_rise_bytes if rise_bytes is None else rise_bytes
    return max(1.0, full / max(rise, 0.01 * full))


def _small(lacking: float) -> float:
    """How many times longer a rise is watched that lacks so much."""
    return max(lacking, min(lacking**_SMALL_RISE_POWER, _SMALL_RISE_PROLONGS))


def _longest_s(evidence: Evidence) -> float:
    """Seconds that growth is watched where there is plenty of room."""
    young = youth(evidence)
    crooked = max(0.0, crookedness(evidence) - _STRAIGHT_WITHIN)
    straight = _STRAIGHT_S * (1.0 + _YOUNG_STRAIGHT * young)
    return min(straight * (1.0 + _CROOKED_PROLONGS * crooked), _LONGEST_S * (1.0 + _YOUNG_SHARE * young))


def _first_day_s(longest_s: float, left_s: float) -> float:
    """Seconds the first day of a process takes, where there is time; next to none for straight growth."""
    bent = min(1.0, longest_s / _LONGEST_S)
    return _FIRST_DAY_S * bent**3 * min(max(0.0, left_s / DAY_S - 1.0), 1.0)


def _pardon(evidence: Evidence, start: float) -> float:
    """The doubt taken back because growth that accelerates strays from a line by its bend, not by noise.

    Not at the start of a process, where the first half of every daily rise accelerates.
    """
    if start >= 1.0 or not accelerates(evidence):
        return 1.0
    noise = noise_doubt(evidence.trend.deviation_bytes, evidence.rise_bytes)
    return math.pow(noise, -_BEND_PARDONS * (1.0 - start))


def headroom_bytes(level_bytes: float, limit_bytes: float | None) -> float:
    """Bytes from a level to the limit, or to a multiple of the level where none is known."""
    return max(0.0, (_ASSUMED_LIMIT * level_bytes if limit_bytes is None else limit_bytes) - level_bytes)


def time_left_s(evidence: Evidence, limit_bytes: float | None) -> float:
    """Seconds to the limit, or to a multiple of the level where none is known.

    Growth that bends upwards is taken at the pace it has reached; growth that bends downwards is continued as
    an exponential that levels off, which may never get there. A leak that slows down like a square root does
    in the end.
    """
    trend = evidence.trend
    level = min(evidence.level_bytes, evidence.lows_bytes[-1])
    headroom = headroom_bytes(level, limit_bytes)
    straight = headroom / trend.slope
    if accelerates(evidence):
        return headroom / max(2.0 * trend.late - trend.slope, trend.slope)
    if decelerates(evidence) and trend.early > trend.late:
        return max(straight, _time_if_saturating(headroom, trend.early, trend.late, evidence.span_s))
    return straight


def _time_if_saturating(headroom: float, early: float, late: float, span_s: float) -> float:
    """Seconds until an exponential that levels off has grown by the headroom; infinite when it never does.

    Args:
        headroom: Bytes still to grow.
        early: Slope of the first half of the window, bytes per second.
        late: Slope of the second half, less than that.
        span_s: Length of the window, seconds.
    """
    ratio = min(max(late / early, 0.05), 0.99)
    pace = late * math.sqrt(ratio)
    fading = 2.0 * math.log(1.0 / ratio) / span_s
    share = headroom * fading / pace
    return -math.log(1.0 - share) / fading if share < 1.0 else math.inf
