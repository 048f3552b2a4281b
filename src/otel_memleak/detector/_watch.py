"""Follows the envelope, finds growth, and notices when it ends."""

from __future__ import annotations

from collections.abc import Iterable

from otel_memleak.detector._attention import Attention
from otel_memleak.detector._envelope import MAX_LEVELS, WINDOW, Envelope, Level, Past, Window
from otel_memleak.detector._evidence import (
    CLEAR_OF_NOISE,
    GOING_ON,
    MATERIAL_SHARE,
    NEW_SHARE,
    Evidence,
    credible,
    noise_doubt,
    weigh,
)
from otel_memleak.detector._patience import DAY_S, Patience, headroom_bytes
from otel_memleak.detector._trend import fit, sketch
from otel_memleak.detector._witnesses import Testimony
from otel_memleak.records import NamedTuple

MIN_GROWTH_SAMPLES = 10
_SIZES = (WINDOW, 29, 26, 23, 20, 17, 12)
"""Buckets per window: in steps of a tenth from one width to the next. The last looks at coarser buckets
again, because finer ones may miss the troughs between two batches."""

DUE_EVERY = (4, 4, 2, 2) + (MAX_LEVELS - 4) * (1,)
"""After how many closed buckets a level is judged: up to an eighth of a window, less where it is cheap."""

_BUCKETS_PER_WIDTH = 80
_SUSPECT = 0.5
_SHORT_OF_VERDICT = 0.99
_ROUGHLY = 0.6
_NEARLY = 0.8
_HALF_OF = 0.5
"""Slack of what is judged by the ends of a window, by a sketch of it, and by a sketch of its half."""

_GIVEN_BACK_SHARE = 0.2
"""Wide buckets close late: what has been given back since they did is seen in the finest."""

_BY_DAY_FROM_S, _BY_DAY_BELOW_S = DAY_S / 16.0, DAY_S / 8.0
"""Widths of buckets that are looked at from day to day: of any that double, one at most."""

_DROP_SHARE = 0.75
_BELOW_BASELINE_SHARE = 0.85
_DIPS_BEFORE_RESTART = 3


class Finding(NamedTuple):
    """Growth, and how nearly it has been watched for long enough.

    Attributes:
        evidence: The window.
        strength: Time watched over time needed; a verdict from 1.0 on.
        level: Which width of buckets it is seen in.
        earlier_s: Seconds of the time watched that earlier lives of the process have contributed.
        by_day: Whether it is seen from day to day: the window is less what repeats at the same hour.
    """

    evidence: Evidence
    strength: float
    level: int
    earlier_s: float = 0.0
    by_day: bool = False


class GrowthWatch:
    """What a series of resident memory says about growth.

    Args:
        sampling_interval_s: Expected seconds between samples.
        baseline_window_s: Unit of the short time scales, seconds.
        patience_s: How long growth is watched, seconds; None for automatic.
    """

    def __init__(
        self, sampling_interval_s: float, baseline_window_s: float, patience_s: float | None
    ) -> None:
        self.attention = Attention(sampling_interval_s, baseline_window_s)
        self._width = max(sampling_interval_s, baseline_window_s / _BUCKETS_PER_WIDTH)
        self.patience = Patience(patience_s, baseline_window_s)
        self.testimony = Testimony(self._width)
        self._dips = 0
        self._restart(0.0)

    def _restart(self, elapsed_s: float) -> None:
        self.envelope = Envelope(elapsed_s, self._width)
        self._findings: dict[int, Finding | None] = {}

    def restarted(self, elapsed_s: float, rss_bytes: float, baseline_bytes: float | None) -> bool | None:
        """Whether a sample begins a new life; None when that cannot be told yet and it is to be left out.

        A drop below the baseline that lasts is a restart. One that does not last is a bad reading, and one to
        a level seen since the start is the trough of a sawtooth.
        """
        if baseline_bytes is None or rss_bytes >= _BELOW_BASELINE_SHARE * baseline_bytes:
            self._dips = 0
            return False
        lows = self.envelope.levels[0].lows
        if not lows or rss_bytes >= _DROP_SHARE * lows[-1]:
            self._dips = 0
            return False
        self._dips += 1
        if self._dips < _DIPS_BEFORE_RESTART:
            return None
        self._dips = 0
        self._restart(elapsed_s)
        return True

    @property
    def ready(self) -> bool:
        """Whether there is enough to judge growth."""
        return len(self.envelope.levels) > 1 and self.envelope.levels[0].closed >= MIN_GROWTH_SAMPLES

    @property
    def noise_bytes(self) -> float:
        """Standard deviation of the envelope about its trend, over its most recent full window, bytes."""
        level = self.envelope.levels[0]
        if len(level.lows) < MIN_GROWTH_SAMPLES:
            return 0.0
        return fit(*level.window(WINDOW)).sigma_bytes

    @property
    def strongest(self) -> Finding | None:
        """The growth that has been watched longest against what it needs; None without credible growth."""
        best: Finding | None = None
        for finding in self._findings.values():
            if finding is not None:  # asked several times a sample, when there is none
                best = _stronger(best, finding)
        if best is None or self.patience.sooner(best.evidence) * best.strength < _SUSPECT:
            return None
        return best

    def judge(self, closed: int, limit_bytes: float | None, above: float = 0.0) -> Finding | None:
        """Look again at the widths that closed a bucket; returns the strongest growth found in them.

        Every other look at a width is only for a verdict: what merely is suspect changes slowly.

        Args:
            closed: What ``Envelope.add`` returned.
            limit_bytes: The limit, if any.
            above: Only growth faster than so many bytes per second is of interest.
        """
        best: Finding | None = None
        for index in range(closed):
            level = self.envelope.levels[index]
            looks, rest = divmod(level.closed, DUE_EVERY[index])
            if rest or level.closed < MIN_GROWTH_SAMPLES:
                continue
            thorough = looks % 2 == 0
            finding = self._look(index, level, limit_bytes, above, _SUSPECT if thorough else 1.0)
            finding = _stronger(finding, self._look_by_day(index, level, limit_bytes, above))
            if thorough or finding is not None:
                self._findings[index] = finding
            best = _stronger(best, finding)
        return best

    def _look(
        self, index: int, level: Level, limit_bytes: float | None, above: float, enough: float
    ) -> Finding | None:
        """The strongest finding in the windows of a level, if it may be as strong as is asked for.

        All windows end with the same bucket. Most cannot be a finding, or not a stronger one than a longer
        window was: that is known from their ends, or from a sketch, and spares the fit.
        """
        headroom = headroom_bytes(level.lows[-1], limit_bytes)
        best: Finding | None = None
        for size in self._sizes(level, headroom, above, enough):
            if not self._ends_tell(level, size, headroom, above, enough):
                continue
            window = level.window(size)
            if self.testimony.silent and not self._sketch_tells(window, headroom, enough):
                continue  # with witnesses, a sketch by one clock says nothing of the other
            past = self.envelope.before(window.times_s[0], index)
            if past is not None and not _above(window, past):
                continue
            evidence = weigh(window, level.swings(size), past, self.envelope.start_s, self.attention)
            found = self._strongest_view(evidence, limit_bytes, index)
            if found is not None and _stronger(best, found) is found:
                best = found
                enough = max(enough, found.strength) if self.testimony.silent else enough
        return best

    def _look_by_day(
        self, index: int, level: Level, limit_bytes: float | None, above: float
    ) -> Finding | None:
        """What grows from day to day, in buckets of some hours."""
        if len(level.times) < WINDOW:
            return None
        if not _BY_DAY_FROM_S <= self.envelope.width_s(index) < _BY_DAY_BELOW_S:
            return None
        from otel_memleak.detector._days import BUCKETS, take_apart

        days = take_apart(level.window(BUCKETS))
        if days is None or not days.regular:
            return None
        times = days.rest.times_s
        past = self.envelope.before(times[0], self.envelope.finest(DAY_S))
        if past is not None:  # the quietest hours of earlier days, at the height of an average one
            reached = past.trough_bytes + days.depth_bytes
            past = Past(reached, reached)
        swings = level.swings(len(times))
        evidence = weigh(days.rest, swings, past, self.envelope.start_s, self.attention)
        if evidence.trend.slope < above:
            return None
        found = self._strongest_view(evidence, limit_bytes, index)
        return found._replace(by_day=True) if found is not None else None

    def _strongest_view(self, evidence: Evidence, limit_bytes: float | None, index: int) -> Finding | None:
        """What a window says by the clock, or by another one that witnesses keep."""
        best: Finding | None = None
        for view, factor in self.testimony.views(evidence, limit_bytes):
            if not credible(view):
                continue
            strength = view.watched_s / self.patience.needed_s(view, limit_bytes, factor)
            if view.trend.low <= 0.0:  # no verdict, so it must not stand before one
                strength = min(strength, _SHORT_OF_VERDICT)
            best = _stronger(best, Finding(view, strength, index))
        return best

    def _sizes(self, level: Level, headroom: float, above: float, enough: float) -> Iterable[int]:
        """The windows to look at, longest first: none if the lowest bucket leaves no room for a finding."""
        times, lows = level.times, level.lows
        count = min(WINDOW, len(lows))
        rise = lows[-1] - min(lows[-count:])
        if rise < _ROUGHLY * MATERIAL_SHARE * lows[-1]:
            return ()
        if above and rise < above * (times[-1] - times[-min(count, _SIZES[-1])]):
            return ()
        if self.patience.most_strength(times[-1] - times[-count], rise, headroom) < _ROUGHLY * enough:
            return ()
        return _SIZES if count == WINDOW else (count, *(size for size in _SIZES if size < count))

    def _ends_tell(self, level: Level, size: int, headroom: float, above: float, enough: float) -> bool:
        """Whether a window may be a finding of that strength, as far as its ends tell."""
        times, lows = level.times, level.lows
        last, span = lows[-1], times[-1] - times[-size]
        rise = last - lows[-size]
        if rise < _ROUGHLY * MATERIAL_SHARE * last or rise < above * span:
            return False
        if self.patience.most_strength(span, rise, headroom) < _ROUGHLY * enough:
            return False
        earlier = lows[:-size]
        if earlier and last - max(earlier) < _ROUGHLY * NEW_SHARE * rise:
            return False
        return self.envelope.levels[0].lows[-1] >= last - _GIVEN_BACK_SHARE * rise

    def _sketch_tells(self, window: Window, headroom: float, enough: float) -> bool:
        """Whether a window may be a finding of that strength, as far as a sketch of it tells."""
        times, lows = window
        span = times[-1] - times[0]
        rough = sketch(times, lows)
        rise = rough.slope * span
        if rise < _NEARLY * MATERIAL_SHARE * lows[-1] or rough.late < _HALF_OF * GOING_ON * rough.slope:
            return False
        if rise < _NEARLY * CLEAR_OF_NOISE * rough.deviation_bytes:
            return False
        least = noise_doubt(_NEARLY * rough.deviation_bytes, rise)
        bent = rough.late > rough.slope
        return self.patience.most_strength(span, rise, headroom, least, bent=bent) >= _NEARLY * enough


def _stronger(one: Finding | None, other: Finding | None) -> Finding | None:
    """The stronger of two findings, the first if they are equal."""
    if one is None or (other is not None and other.strength > one.strength):
        return other
    return one


def _above(window: Window, past: Past) -> bool:
    rise = window.lows_bytes[-1] - window.lows_bytes[0]
    return window.lows_bytes[-1] - past.trough_bytes >= _ROUGHLY * NEW_SHARE * rise
