"""Growth against the work that was done: requests as a second clock, and as another explanation.

Memory that every request leaves behind grows with the *number* of requests: on their clock it is a straight
line, through quiet nights and busy days. Memory that requests hold while they last follows their *rate*: it
rises when a day begins, and stops rising when the rate does. The first is a leak that wall time may hide, the
second no leak that wall time may invent.
"""

from __future__ import annotations

from collections.abc import Sequence

from otel_memleak.detector._evidence import Evidence
from otel_memleak.detector._trend import fit
from otel_memleak.median import median
from otel_memleak.records import NamedTuple

MIN_REQUESTS = 50.0
"""Fewer over a window are no clock."""

_VARIES = 0.1
"""Where the rate is steadier than that, both clocks say the same."""

_WALL_SHARE = 0.02
"""Wall time mixed into the clock of requests, so that it never stands still."""

LAGS = (0.0, 1.0, 3.0)
"""In steps between two points of a window."""

_AS_WELL_SCALE = 2.0
_BETTER_SCALE = 3.0
"""Added to the patience where the rate explains growth as well as a straight line does, and again where it
does so better. Together they take six times the patience: a leak that is urgent is still found before the
limit, four fifths of the way to it."""

_RAMP_FROM = 0.1
_RAMP_FULL = 0.3
_BLUR = 0.005
EXPLAINS_UP_TO = 2.5
AS_WELL = 1.3
_BETTER = 0.5
_WORSE = 2.0


class Load(NamedTuple):
    """Requests over a window of points.

    Attributes:
        counts: Requests so far at each point; NaN where they were not counted yet.
        rates: For each of `LAGS`, requests per second about a moment so much before each point: what requests
            hold follows their rate with a delay, when sessions or caches expire.
    """

    counts: Sequence[float]
    rates: Sequence[Sequence[float]]

    @property
    def served(self) -> float:
        """Requests over the window."""
        return self.counts[-1] - self.counts[0]

    @property
    def counted(self) -> bool:
        """Whether there were enough of them, from its start on, to say anything."""
        return self.served >= MIN_REQUESTS  # not so for NaN, either


def on_request_clock(evidence: Evidence, load: Load) -> Evidence | None:
    """The same window with requests for time; None where that says nothing new.

    Slopes remain bytes per second, at the mean rate of the window.

    Args:
        evidence: A window.
        load: Requests over it.
    """
    if not load.counted or max(load.rates[0]) - min(load.rates[0]) < _VARIES * max(load.rates[0]):
        return None
    clock = request_clock(evidence.times_s, load.counts)
    return evidence._replace(times_s=clock, trend=fit(clock, evidence.lows_bytes))


def request_clock(times_s: Sequence[float], counts: Sequence[float]) -> tuple[float, ...]:
    """Requests as seconds at the mean rate of a window: it begins and ends with the window."""
    start = times_s[0]
    scale = (1.0 - _WALL_SHARE) * (times_s[-1] - start) / (counts[-1] - counts[0])
    return tuple(
        start + scale * (count - counts[0]) + _WALL_SHARE * (time - start)
        for time, count in zip(times_s, counts, strict=True)
    )


def load_doubt(evidence: Evidence, load: Load) -> float:
    """By how much a rising load prolongs patience; one when it does not explain the growth.

    It does as far as the rate of requests has risen over the window and memory lies about as close to a line
    over that rate as to the line of the evidence.

    Args:
        evidence: A window, on either clock.
        load: Requests over it.
    """
    if not load.counted:
        return 1.0
    paces = load.rates[0]
    quarter = len(paces) // 4
    ramp = (median(paces[-quarter:]) - median(paces[:quarter])) / max(paces)
    if ramp <= _RAMP_FROM:
        return 1.0
    ratio = min(fitness(evidence, rates) for rates in load.rates)
    as_well = _share((EXPLAINS_UP_TO - ratio) / (EXPLAINS_UP_TO - AS_WELL))
    better = _share((AS_WELL - ratio) / (AS_WELL - _BETTER))
    explains = _AS_WELL_SCALE * as_well + _BETTER_SCALE * better
    return 1.0 + explains * _share((ramp - _RAMP_FROM) / _RAMP_FULL)


def fitness(evidence: Evidence, explanation: Sequence[float]) -> float:
    """How far memory is from a line over something else, against how far it is from the evidence's line.

    One is as well as time; less is better.
    """
    blur = _BLUR * evidence.rise_bytes
    return (_scatter(explanation, evidence.lows_bytes) + blur) / (evidence.trend.deviation_bytes + blur)


def bytes_per_request(times_s: Sequence[float], lows_bytes: Sequence[float], load: Load) -> float | None:
    """What a request leaves behind, if all growth is put down to requests; None where that is not so.

    It is not where a line over requests fits clearly worse than one over time: something else drives it.

    Args:
        times_s: Elapsed time of the points of a window of growth.
        lows_bytes: The points.
        load: Requests over it.
    """
    if not load.counted:
        return None
    trend = fit(times_s, lows_bytes)
    clock = request_clock(times_s, load.counts)
    by_requests = fit(clock, lows_bytes)
    rise = by_requests.slope * (clock[-1] - clock[0])
    if rise <= 0.0 or by_requests.deviation_bytes > _WORSE * (trend.deviation_bytes + _BLUR * rise):
        return None
    return rise / load.served


def _scatter(x: Sequence[float], y: Sequence[float]) -> float:
    """Median distance of the points from their least-squares line; infinite for one that falls."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - middle_x) ** 2 for a in x)
    slope = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / (across or 1.0)
    if slope <= 0.0:
        return float("inf")
    offsets = [b - slope * a for a, b in zip(x, y, strict=True)]
    middle = median(offsets)
    return median([abs(offset - middle) for offset in offsets])


def _share(value: float) -> float:
    return min(max(0.0, value), 1.0)
