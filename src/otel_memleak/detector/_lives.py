"""What earlier lives of a restarting process add to the verdict on the present one.

A process that is restarted before growth has been watched for long enough never lives to be convicted. Each
of its lives leaves one line behind, and lines that show the same growth add up. What must not add up is the
start, because every process grows when it starts. So the first part of a life is left out; growth has to go
on until the life ends; over all lives together the second halves must grow like the first, which a warm-up
does only if it takes five times as long as the lives; the present life must show the growth itself, for at
least half as long as the shortest of the others; and a life that could have shown it and did not ends the
series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from otel_memleak.detector._attention import Attention
from otel_memleak.detector._envelope import Envelope, Window
from otel_memleak.detector._evidence import Evidence, credible, weigh
from otel_memleak.records import NamedTuple

MOST_LIVES = 32
MIN_POINTS = 10
_SKIPPED_SHARE = 0.1
_FEWEST_ALIKE = 2
_SAME_RATE = 3.0
_STRAIGHT = 0.9
"""Second halves over first halves: an exponential warm-up of n lives' length has exp(-1/2n)."""

_AS_LONG_SHARE = 0.5
_FORGOTTEN_S = 14 * 86400.0
_COULD_TELL = 2.0
"""So many times what makes growth credible, growth at the same rate would have been seen."""

_GOING_ON = 0.77
_MATERIAL_SHARE = 0.02
_CLEAR_OF_NOISE = 7.0


class Life(NamedTuple):
    """One line about one life of a process; what it grew after its start was over.

    Attributes:
        start_s: When it began, on the clock fed.
        duration_s: How long it was watched, seconds.
        span_s: The part of it that was measured, seconds, without what was not watched.
        level_bytes: Retained at the beginning of that part.
        end_bytes: Retained at the end.
        slope: Bytes per second.
        low: Lower end of the 95 % interval of the slope.
        high: Upper end of it.
        early: Slope of the first half.
        late: Slope of the second half.
        deviation_bytes: Median distance from the line.
    """

    start_s: float
    duration_s: float
    span_s: float
    level_bytes: float
    end_bytes: float
    slope: float
    low: float
    high: float
    early: float
    late: float
    deviation_bytes: float

    @property
    def rise_bytes(self) -> float:
        """What it grew in the part that was measured."""
        return self.slope * self.span_s

    @property
    def grew(self) -> bool:
        """Whether it grew, clearly and until its end."""
        return (
            self.low > 0.0 and self.rise_bytes >= self._visible_bytes and self.late >= _GOING_ON * self.slope
        )

    def like(self, slope: float) -> bool | None:
        """Whether it grew at about this rate; None when it was too short or too noisy to tell."""
        if self.grew and slope / _SAME_RATE <= self.slope <= slope * _SAME_RATE:
            return True
        return False if self._could_show(slope) else None

    def without(self, slope: float) -> bool:
        """Whether growth at this rate would have been seen, and there was clearly less."""
        return self._could_show(slope) and self.high < slope / _SAME_RATE

    def _could_show(self, slope: float) -> bool:
        return slope * self.span_s >= _COULD_TELL * self._visible_bytes

    @property
    def _visible_bytes(self) -> float:
        level = max(self.level_bytes, self.end_bytes)
        return max(_MATERIAL_SHARE * level, _CLEAR_OF_NOISE * self.deviation_bytes)


class Span(NamedTuple):
    """The present life without its start.

    Attributes:
        evidence: What it shows.
        level: Which width of buckets that is seen in.
    """

    evidence: Evidence
    level: int


class Series(NamedTuple):
    """The present life and those before it that grew like it, taken together.

    Attributes:
        watched_s: Seconds for which the growth has been watched.
        rise_bytes: What it comes to.
    """

    watched_s: float
    rise_bytes: float


def present(envelope: Envelope, attention: Attention, elapsed_s: float, start_up_s: float) -> Span | None:
    """The life an envelope has followed so far; None as long as it says nothing.

    Args:
        envelope: Of one life.
        attention: What of it was watched.
        elapsed_s: Now.
        start_up_s: The least time that is left out at the beginning.
    """
    start = envelope.start_s
    age = elapsed_s - start - attention.unwatched_s(start, elapsed_s)
    begin = start + max(start_up_s, _SKIPPED_SHARE * age)
    begin += attention.unwatched_s(start, begin)
    for index, level in enumerate(envelope.levels):
        if level.times and level.times[0] <= begin:
            at = bisect_left(level.times, begin)
            if len(level.times) - at < MIN_POINTS:
                return None
            window = Window(level.times[at:], level.lows[at:])
            past = envelope.before(window.times_s[0], index)
            return Span(weigh(window, level.swings(len(window.times_s)), past, start, attention), index)
    return None


def line(span: Span, start_s: float, duration_s: float) -> Life:
    """A life as one line."""
    evidence, trend = span.evidence, span.evidence.trend
    return Life(
        start_s,
        duration_s,
        evidence.watched_s,
        max(0.0, trend.at(evidence.times_s[0])),
        max(0.0, evidence.level_bytes),
        trend.slope,
        trend.low,
        trend.high,
        trend.early,
        trend.late,
        trend.deviation_bytes,
    )


class Lives:
    """Lives that ended, oldest first; the last 32.

    Args:
        lines: What is known of them.
    """

    def __init__(self, lines: Sequence[Life] = ()) -> None:
        self.lines: tuple[Life, ...] = tuple(lines[-MOST_LIVES:])

    def series(self, now: Span, start_s: float) -> Series | None:
        """The growth of the present life together with that of earlier ones; None if it is no series.

        Args:
            now: The present life.
            start_s: When it began, on the clock fed.
        """
        evidence = now.evidence
        if not credible(evidence):
            return None
        alike = self._alike(evidence.trend.slope, start_s)
        if len(alike) < _FEWEST_ALIKE:
            return None
        if evidence.watched_s < _AS_LONG_SHARE * min(life.span_s for life in alike):
            return None
        early = evidence.watched_s * evidence.trend.early + sum(life.span_s * life.early for life in alike)
        late = evidence.watched_s * evidence.trend.late + sum(life.span_s * life.late for life in alike)
        if late < _STRAIGHT * early:
            return None
        return Series(
            evidence.watched_s + sum(life.span_s for life in alike),
            evidence.watched_rise_bytes + sum(life.rise_bytes for life in alike),
        )

    def _alike(self, slope: float, start_s: float) -> list[Life]:
        """The unbroken series of recent lives that grew like this, newest first."""
        alike: list[Life] = []
        for life in reversed(self.lines):
            like = life.like(slope)
            if like is False or start_s - life.start_s > _FORGOTTEN_S:
                break
            if like:
                alike.append(life)
        return alike

    def quiet_s(self, slope: float) -> float:
        """Seconds for which the most recent lives could have shown growth at a rate and did not."""
        quiet = 0.0
        for life in reversed(self.lines):
            if life.without(slope):
                quiet += life.span_s
            elif life.like(slope) is not None:
                break
        return quiet
