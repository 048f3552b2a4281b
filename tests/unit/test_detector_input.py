"""Clocks that jump, readings that fail, gaps, and series without end."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.detector._timeline import Timeline
from otel_memleak.types import MB
from property.strategies import HOUR, Samples, fed, first_leak, leaks, linear, quiet, sampled

GROWING = sampled(linear(150, 5), 30.0)


def found_after_h(samples: Samples) -> float:
    """Hours from the first sample to the alert, by the count of minutes."""
    detector = quiet()
    at = next(i for i, s in enumerate(samples) if detector.update(*s) is not None)
    return at / 60.0


@pytest.mark.parametrize(
    "bad", [None, "", "12", b"x", float("nan"), float("inf"), -float("inf"), -1, 0, 1e300, {}]
)
def test_a_failed_reading_is_ignored(bad: object) -> None:
    """What is no positive size is no sample: it neither raises nor counts."""
    detector = quiet()
    for i in range(100):
        assert detector.update(60.0 * i, bad if bad != "12" else None) is None  # type: ignore[arg-type]

    assert detector.baseline_bytes is None


@pytest.mark.parametrize("bad", [None, "soon", float("nan"), float("inf"), 1e200, []])
def test_a_time_that_is_none_is_ignored(bad: object) -> None:
    """A sample without a time has no place in a series."""
    detector = quiet()
    for _ in range(100):
        assert detector.update(bad, 100.0 * MB) is None  # type: ignore[arg-type]

    assert detector.baseline_bytes is None


def test_a_clock_set_back_does_not_stop_detection() -> None:
    """After a step back of a day elapsed time goes on; the leak is found as soon, at the same rate."""
    stepped = [(t - (86400.0 if i > 300 else 0.0), v) for i, (t, v) in enumerate(GROWING)]
    alert = first_leak(quiet(), stepped)

    assert found_after_h(stepped) == pytest.approx(found_after_h(GROWING), abs=0.6)
    assert alert.growth_bytes_per_hour == pytest.approx(5 * MB, rel=0.05)


def test_a_clock_set_forward_is_a_gap() -> None:
    """A step forward delays at worst by what it hides; growth after it is found at its rate."""
    stepped = [
        (t + (7 * 86400.0 if i > 120 else 0.0), v) for i, (t, v) in enumerate(sampled(linear(150, 5), 60.0))
    ]
    alerts = leaks(fed(quiet(), stepped))

    assert alerts[-1].growth_bytes_per_hour == pytest.approx(5 * MB, rel=0.1)


def test_late_samples_are_left_out() -> None:
    """Every tenth sample delivered after its successor changes the rate by nothing to speak of."""
    swapped = list(GROWING)
    for i in range(10, len(swapped) - 1, 10):
        swapped[i], swapped[i + 1] = swapped[i + 1], swapped[i]

    assert first_leak(quiet(), swapped).growth_bytes_per_hour == pytest.approx(5 * MB, rel=0.02)


def test_missing_samples_leave_the_rate() -> None:
    """Two thirds of the samples missing, and three hours on end."""
    sparse = [s for i, s in enumerate(GROWING) if i % 3 == 0 and not 200 < i < 380]

    assert first_leak(quiet(), sparse).growth_bytes_per_hour == pytest.approx(5 * MB, rel=0.05)


def test_a_single_low_reading_is_no_restart() -> None:
    """One reading far below neither resets the trend nor hides the leak."""
    dipped = [(t, v * (0.2 if i in (150, 400, 401, 700) else 1.0)) for i, (t, v) in enumerate(GROWING)]

    assert found_after_h(dipped) == pytest.approx(found_after_h(GROWING), abs=0.5)


def test_elapsed_time_never_goes_back() -> None:
    """Stragglers are refused; a clock that stays behind is followed from where time stood."""
    timeline = Timeline(60.0)
    assert [timeline.advance(t) for t in (100.0, 160.0, 160.0, 130.0, 220.0)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert timeline.elapsed_s == 120.0
    assert [timeline.advance(t) for t in (10.0, 70.0, 130.0)] == [False, False, True]
    assert timeline.elapsed_s == 180.0
    assert timeline.fed_time(180.0) == 130.0


def deep_size(root: object) -> int:
    """Bytes of everything only this object reaches, by the collector's own graph."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        thing = todo.pop()
        if (
            id(thing) in seen
            or isinstance(thing, type)
            or callable(thing)
            or type(thing).__name__ == "module"
        ):
            continue
        seen[id(thing)] = thing
        todo += gc.get_referents(thing)
    return sum(sys.getsizeof(thing) for thing in seen.values())


def endless(interval_s: float, count: int) -> Iterator[tuple[float, float]]:
    for i in range(count):
        yield i * interval_s, (100 + (i % 97) * 0.05 + i * 1e-5) * MB


@pytest.mark.parametrize("interval_s", [0.5, 60.0])
def test_memory_does_not_grow(interval_s: float) -> None:
    """At most 64 KiB, whether 30,000 samples span hours or weeks, and however many levels that opens."""
    detector = LeakDetector(2000 * MB, sampling_interval_seconds=interval_s)
    for time_s, rss_bytes in endless(interval_s, 30_000):
        detector.update(time_s, rss_bytes)

    assert deep_size(detector) <= 64 * 1024


def test_a_detector_of_leaks_does_not_leak_objects() -> None:
    """The number of objects it holds is the same after ten times the samples."""
    detector = quiet()
    fed(detector, endless(60.0, 3_000))
    before = len(gc.get_objects())
    fed(detector, ((3_000 * 60.0 + t, v) for t, v in endless(60.0, 27_000)))

    assert len(gc.get_objects()) - before < 500


def test_seconds_and_hours_agree() -> None:
    """The reference rate of the cases above."""
    assert GROWING[60][1] - GROWING[0][1] == pytest.approx(5 * MB)
    assert GROWING[60][0] - GROWING[0][0] == HOUR
