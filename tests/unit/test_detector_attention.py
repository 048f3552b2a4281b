"""Time that nobody watched is no evidence: gaps, standstills, and the loading of modules at the start."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_memleak.detector import LeakDetector
from otel_memleak.detector._attention import Attention
from otel_memleak.types import MB
from property.strategies import HOUR, START, Samples, fed, leaks, linear, quiet, sampled

few = settings(max_examples=40, deadline=None)


def attentive(times_s: list[float], expected_s: float = 1.0) -> Attention:
    """What became of samples at these elapsed times."""
    attention = Attention(expected_s, 300.0)
    for time_s in times_s:
        attention.step(time_s)
    return attention


def fast() -> LeakDetector:
    """Short intervals, as for a demonstration."""
    return LeakDetector(sampling_interval_seconds=0.25, baseline_window_seconds=5.0, patience_seconds=20.0)


def stopped(samples: Samples, after: int, gap_s: float) -> Samples:
    """The same samples of a process that stood still for a while after so many of them."""
    return [(t + (gap_s if i >= after else 0.0), v) for i, (t, v) in enumerate(samples)]


@pytest.mark.parametrize("every_s", [0.1, 1.0, 7.0, 60.0, 3600.0])
def test_any_spacing_is_watched_in_full(every_s: float) -> None:
    """Whatever was expected: a few samples teach what is usual here, and little is lost until then."""
    attention = attentive([every_s * i for i in range(200)])

    assert attention.watched_s >= 0.9 * 199 * every_s


def test_irregular_spacing_is_watched_nearly_in_full() -> None:
    """Samples at random (exponential waits) lose some hundredths; pairs with long waits between nothing much."""
    random, at = Random(1), 0.0
    times = [at := at + random.expovariate(1.0) for _ in range(5000)]
    assert attentive(times).watched_s >= 0.95 * times[-1]

    pairs = [60.0 * (i // 2) + i % 2 for i in range(200)]
    assert attentive(pairs).watched_s >= 0.9 * pairs[-1]


@few
@given(st.lists(st.tuples(st.integers(1, 60), st.floats(100.0, 1e6)), min_size=1, max_size=30))
def test_gaps_add_next_to_nothing(stretches: list[tuple[int, float]]) -> None:
    """However many gaps there are, and however long, they are watched like a few usual steps each."""
    times, at = [0.0], 0.0
    for samples, gap_s in stretches:
        times += [at + i for i in range(1, samples + 1)]
        at = times[-1] + gap_s
        times.append(at)
    attention = attentive(times)
    seen = sum(samples for samples, _ in stretches)
    long_enough = all(samples >= 15 for samples, _ in stretches)

    assert attention.watched_s == pytest.approx(at - attention.unwatched_s(0.0, at))
    assert attention.watched_s >= 0.9 * seen
    if long_enough:
        assert attention.watched_s <= 1.7 * seen


def test_many_gaps_are_remembered_in_little_memory() -> None:
    """The oldest are merged; what was not watched in all, and lately, stays exact."""
    times = [100.0 * (i // 20) + i % 20 for i in range(20 * 3000)]
    attention = attentive(times)
    last = times[-1]

    assert len(attention._ends) < 256
    assert attention.unwatched_s(0.0, last) == pytest.approx(last - attention.watched_s)
    assert attention.unwatched_s(last - 1000.0, last) == pytest.approx(10 * 81.0, rel=0.1)


@few
@given(st.integers(60, 400), st.floats(15.0, 4000.0), st.floats(0.0, 0.3), st.integers(0, 999))
def test_a_standstill_is_no_news(after: int, gap_s: float, step: float, seed: int) -> None:
    """A process that has settled stands still, and makes up for all it missed in the seconds afterwards."""
    random = Random(seed)
    samples = [
        (START + 0.25 * i, (60.0 + random.random() + 60.0 * step * min(1.0, max(0.0, i - after) / 12)) * MB)
        for i in range(700)
    ]
    assert leaks(fed(fast(), stopped(samples, after, gap_s))) == []


@few
@given(st.integers(20, 300), st.floats(20.0, 3000.0))
def test_a_standstill_brings_no_verdict_nearer(after: int, gap_s: float) -> None:
    """A leak takes as many samples to be found, or more; and it is found."""
    samples = [(START + 0.25 * i, (60.0 + 0.05 * i) * MB) for i in range(1200)]
    ordinary, halting = (
        next(i for i, sample in enumerate(series) if detector.update(*sample))
        for detector, series in ((fast(), samples), (fast(), stopped(samples, after, gap_s)))
    )
    assert halting >= ordinary - 12  # four usual steps for the gap, eight between two looks


def test_a_night_of_suspension_is_not_a_night_of_watching() -> None:
    """Default settings: an hour of growth, a laptop closed for half a day, an hour of growth."""
    samples = stopped(sampled(linear(200, 20), 2.0, noise_mb=0.2), 60, 12 * HOUR)

    assert leaks(fed(quiet(), samples)) == []
    assert leaks(fed(quiet(), stopped(sampled(linear(200, 20), 14.0, noise_mb=0.2), 60, 12 * HOUR)))


def test_a_standstill_is_not_time_below_a_threshold() -> None:
    """A process above its threshold is stopped for an hour: one low sample afterwards resolves nothing yet."""
    detector = LeakDetector(alert_interval_seconds=0.0)
    above, below = (
        [(60.0 * i, 300.0 * MB) for i in range(10)],
        [(60.0 * i, 200.0 * MB) for i in range(70, 80)],
    )
    events = [(alert.event, alert.time_s) for alert in fed(detector, above + below)]

    assert events == [("memleak.rss", 0.0), ("memleak.resolved", 70 * 60.0 + 60.0)]


def test_the_baseline_is_of_time_that_was_watched() -> None:
    """Some samples and a gap are no baseline window."""
    detector = fast()
    fed(detector, stopped([(START + 0.25 * i, 60.0 * MB) for i in range(8)], 6, 600.0))

    assert detector.baseline_bytes is None


def test_a_life_is_as_long_as_it_was_watched() -> None:
    """What is handed on to the next process counts no gap, either."""
    detector = quiet()
    fed(detector, stopped(sampled(linear(200, 20), 2.0), 60, 12 * HOUR))
    life = detector.export_state()["life"]

    assert isinstance(life, dict)
    assert life["span_s"] <= 2.2 * HOUR  # type: ignore[operator]


def starting(until_s: float, seconds: float, quiet_s: float = float("inf")) -> LeakDetector:
    """A process that grows by 2 MB/s and loads modules for a while, and grows no more after another while."""
    detector = fast()
    for i in range(int(4 * seconds)):
        t = 0.25 * i
        detector.update(START + t, (30 + 2 * min(t, quiet_s)) * MB, modules=300 + int(10 * min(t, until_s)))
    return detector


def test_growth_while_modules_are_loaded_is_a_start() -> None:
    """A slow machine takes longer to start than the patience is; without the witness that is a leak."""
    blind = fast()
    samples = [(START + 0.25 * i, (30 + 2 * min(0.25 * i, 28.0)) * MB) for i in range(400)]

    assert leaks(fed(blind, samples))
    for seconds in range(5, 100, 5):
        assert starting(28.0, seconds, quiet_s=28.0).state in ("warming_up", "stable", "suspect")


def test_growth_that_goes_on_after_the_start_is_found() -> None:
    """From when the modules are loaded, the patience runs."""
    assert starting(15.0, 32.0).state != "leaking"
    assert starting(15.0, 60.0).state == "leaking"


def test_loading_for_ever_does_not_hide_a_leak() -> None:
    """A leak of modules, or a program that makes them all the time, is found when the start is over."""
    assert starting(float("inf"), 45.0).state != "leaking"
    assert starting(float("inf"), 90.0).state == "leaking"


@few
@given(st.integers(0, 400), st.floats(1.0, 1e6))
def test_a_module_loaded_later_is_a_moment_not_watched(at: int, modules: float) -> None:
    """One late import, however many modules it brings, costs a leak a look or two at the most."""
    samples = [(START + 0.25 * i, (60.0 + 0.05 * i) * MB) for i in range(800)]
    ordinary, importing = (
        next(i for i, (t, v) in enumerate(samples) if detector.update(t, v, modules=300 + more * (i >= at)))
        for detector, more in ((fast(), 0.0), (fast(), modules))
    )
    assert ordinary <= importing <= ordinary + 20
