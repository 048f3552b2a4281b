"""The baselines: would somebody who uses these rules recognise them?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from statistics import pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.detection.baselines import (
    Deriv1h,
    Deriv6h,
    LeastSquares,
    MannKendall,
    PredictLinear,
    Window,
    least_squares,
)
from benchmarks.detection.jindal import LinearBackwardRegression, Precog, Sums
from benchmarks.detection.process import DAY, HOUR, MB, MINUTE
from benchmarks.detection.verdict import Claim, DetectorFactory

ALL: tuple[DetectorFactory, ...] = (
    LeastSquares,
    Deriv1h,
    Deriv6h,
    PredictLinear,
    MannKendall,
    LinearBackwardRegression,
    Precog,
)
T0 = 1.7e9


def claims(
    build: DetectorFactory,
    level: Callable[[float], float],
    hours: float,
    limit_bytes: float | None = None,
    interval_s: float = 60.0,
) -> list[tuple[float, Claim]]:
    """``(seconds since the start, claim)`` on a level in MB as a function of seconds."""
    detector = build(limit_bytes, sampling_interval_seconds=interval_s)
    heard = []
    for i in range(round(hours * HOUR / interval_s)):
        claim = detector.update(T0 + i * interval_s, MB * level(i * interval_s))
        if claim is not None:
            heard.append((i * interval_s, claim))
    return heard


def rising(mb_per_hour: float, base_mb: float = 100.0) -> Callable[[float], float]:
    return lambda t: base_mb + mb_per_hour * t / HOUR


@pytest.mark.parametrize("build", ALL)
def test_flat_memory_is_never_accused(build: DetectorFactory) -> None:
    """A baseline that cries at nothing would make anything look good."""
    assert claims(build, lambda t: 100.0, 48, limit_bytes=512 * MB) == []


@pytest.mark.parametrize("build", ALL)
def test_rough_input_is_survived(build: DetectorFactory) -> None:
    """NaN, repeats, infinities and a clock set back reach every rule in the dirty series: none goes deaf."""
    detector = build(600.0 * MB, sampling_interval_seconds=60.0)
    random = Random(4)
    for i in range(300):
        time_s = T0 + 60.0 * i
        detector.update(time_s - random.choice((0.0, 500.0)), random.choice((math.nan, math.inf)))
        detector.update(time_s, 100.0 * MB)
        detector.update(time_s, 100.0 * MB)
    leak = (detector.update(T0 + 60.0 * i, (i - 200.0) * MB) for i in range(300, 700))

    assert any(claim is not None for claim in leak)


@pytest.mark.parametrize(
    ("build", "earliest_s"),
    [(LeastSquares, 9 * MINUTE), (Deriv1h, 45 * MINUTE), (Deriv6h, 3.25 * HOUR)],
)
def test_rate_rules_fire_above_their_threshold_only(build: DetectorFactory, earliest_s: float) -> None:
    """60 MB/h is claimed as 60 MB/h once the rule may speak; 40 MB/h never is."""
    first_s, claim = claims(build, rising(60), 8)[0]

    assert first_s == pytest.approx(earliest_s, abs=2 * MINUTE)
    assert claim.growth_bytes_per_hour == pytest.approx(60 * MB, rel=1e-6)
    assert claims(build, rising(40), 8) == []


def test_a_firing_rule_is_heard_hourly() -> None:
    """Like an alert manager that repeats: once per hour, not at every evaluation."""
    times = [t for t, _ in claims(LeastSquares, rising(60), 6)]

    assert len(times) == 6


def test_alert_rule_waits_for_its_for_clause() -> None:
    """Ten minutes of growth after a quiet day end before ``for: 15m`` does."""

    def grown(t: float) -> float:
        return 100.0 + 100.0 * min(max(t - DAY, 0.0), 10 * MINUTE) / HOUR

    assert claims(Deriv1h, grown, 26) == []


def test_predict_linear_needs_a_limit_within_a_day() -> None:
    """10 MB/h from 100 MB: 300 MB is 20 h away and predicted, 1 GB is not, and no limit is never reached."""
    first_s, claim = claims(PredictLinear, rising(10), 8, limit_bytes=300 * MB)[0]

    assert claim.time_to_limit_s == pytest.approx(20 * HOUR - first_s, rel=1e-6)
    assert claims(PredictLinear, rising(10), 8, limit_bytes=1024 * MB) == []
    assert claims(PredictLinear, rising(10), 8) == []


def test_mann_kendall_finds_any_steady_rise() -> None:
    """It is a test for monotone trends: 0.1 MB/h will do, and Sen's slope is exact on a line."""
    claim = claims(MannKendall, rising(0.1), 3)[0][1]

    assert claim.growth_bytes_per_hour == pytest.approx(0.1 * MB, rel=1e-3)


def test_mann_kendall_ignores_white_noise() -> None:
    """At one in a thousand, uncorrelated noise passes for hours: what it fails on is memory's correlation."""
    random = Random(11)

    assert claims(MannKendall, lambda t: 100.0 + random.gauss(0.0, 1.0), 12) == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_mann_kendall_statistic_is_the_sum_over_pairs(levels: list[int]) -> None:
    """Kept up to date as values come and go, ties included, S equals its definition over the window."""
    detector = MannKendall(None, sampling_interval_seconds=60.0)
    detector.WINDOW = 6
    for i, level in enumerate(levels):
        detector._push(T0 + 60.0 * i, float(level))
    window = levels[-6:]
    pairs = [(a, b) for i, a in enumerate(window) for b in window[i + 1 :]]

    assert detector._s == sum((b > a) - (b < a) for a, b in pairs)
    assert sorted(detector._ties.elements()) == sorted(window)


def lines(build: DetectorFactory, levels: Iterable[float], limit_mb: float) -> list[int]:
    """Buckets (of five samples) in which a claim was made; five-minute buckets."""
    detector = build(limit_mb * MB, sampling_interval_seconds=60.0)
    heard = []
    for bucket, level in enumerate(levels):
        for k in range(5):
            if detector.update(T0 + 60.0 * (5 * bucket + k), level * MB) is not None:
                heard.append(bucket)
    return heard


def test_backward_regression_needs_the_limit_within_a_week() -> None:
    """A straight rise that ends below the limit in seven days is left alone, a steeper one is not."""
    per_week = [100.0 + i * 5 / (7 * 24 * 60) for i in range(300)]

    assert lines(LinearBackwardRegression, (level * 2 for level in per_week), 1000.0) == []
    assert lines(LinearBackwardRegression, (100 + 100 * (x - 100) for x in per_week), 150.0)


def test_backward_regression_starts_anew_at_a_change_point() -> None:
    """After a step the old levels say nothing: the leak that follows is found by a line from the step."""
    random = Random(3)
    quiet = [100.0 + random.gauss(0.0, 0.1) for _ in range(150)]
    after = [70.0 + 0.5 * i + random.gauss(0.0, 0.1) for i in range(100)]

    assert lines(LinearBackwardRegression, quiet, 200.0) == []
    assert 220 < lines(LinearBackwardRegression, quiet + after, 200.0)[0] < 225


def test_precog_forgives_what_the_past_has_shown() -> None:
    """A rise as in the training time is known, even from a higher level; a longer one is not."""
    random = Random(5)

    def rise(buckets: int, from_mb: float, step_mb: float) -> list[float]:
        return [from_mb + i * step_mb + random.gauss(0.0, 0.2) for i in range(buckets)]

    first = rise(90, 100.0, 1.0) + [160.0 + random.gauss(0.0, 0.2) for _ in range(200)]

    assert lines(Precog, first + rise(85, 150.0, 0.8), 400.0) == []
    assert lines(Precog, first + rise(150, 150.0, 0.8), 400.0)[0] > 290 + 80
    assert lines(LinearBackwardRegression, first, 400.0), "the plain form does not forgive"


def test_precog_ignores_levels_it_has_seen() -> None:
    """Maximum filtration: however new the rise, below the highest level of the training it is no news."""
    random = Random(6)
    peak = [190.0] * 3 + [100.0 + random.gauss(0.0, 0.2) for _ in range(150)]
    below = [100.0 + 0.5 * i for i in range(160)]

    assert lines(Precog, peak + below, 400.0) == []
    assert lines(Precog, peak + [2 * level - 80.0 for level in below], 400.0)


@given(st.lists(st.floats(0, 100), min_size=80, max_size=90), st.integers(0, 8))
def test_cumulated_sums_give_the_least_squares_line(levels: list[float], skipped: int) -> None:
    """A line by difference of sums is the line through the points."""
    sums = [Sums()]
    for i, level in enumerate(levels):
        sums.append(sums[-1].plus(60.0 * i, level))
    line = sums[-1].line_since(sums[skipped])
    points = [(60.0 * i, level) for i, level in enumerate(levels)][skipped:]

    # Without any variance there is nothing to explain, and no line.
    assert (line is None) == (len(set(levels[skipped:])) == 1) or pvariance(levels[skipped:]) < 1e-9
    if line is not None:
        assert line.slope == pytest.approx(least_squares(points)[0], abs=1e-9)


def test_window_keeps_its_span_and_spacing() -> None:
    """One point per spacing, none older than the span."""
    window = Window(600.0, 30.0)
    for i in range(2000):
        window.add(T0 + i, 1.0)

    assert window.seen_s == pytest.approx(600.0, abs=30.0)
    assert len(window.points) == pytest.approx(21, abs=1)


def test_window_forgets_when_the_clock_is_set_back() -> None:
    """A line through two clocks is none."""
    window = Window(600.0, 1.0)
    window.add(T0, 1.0)
    window.add(T0 + 1, 1.0)
    window.add(T0 - 100, 1.0)

    assert [t for t, _ in window.points] == [T0 - 100]
