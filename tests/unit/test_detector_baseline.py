"""The baseline: the median of the first samples that span its window."""

from __future__ import annotations

import pytest

from otel_memleak.types import MB
from property.strategies import HOUR, Samples, fed, linear, quiet, sampled


def minutes(*levels_mb: float, every_s: float = 75.0) -> Samples:
    """Megabytes, so many seconds apart."""
    return [(i * every_s, level * MB) for i, level in enumerate(levels_mb)]


def test_five_samples_spanning_the_window_are_a_baseline() -> None:
    """Five samples over five minutes are enough."""
    detector = quiet()
    fed(detector, minutes(100, 100, 100, 100, 100))

    assert detector.baseline_bytes == 100 * MB


def test_it_is_the_median() -> None:
    """One outlier among the first samples does not move it: 100, 150, 120, 130, 110 give 120 MB."""
    detector = quiet()
    fed(detector, minutes(100, 150, 120, 130, 110))

    assert detector.baseline_bytes == 120 * MB


def test_four_samples_are_no_baseline() -> None:
    """Time alone does not make up for too few samples."""
    detector = quiet()
    fed(detector, minutes(100, 100, 100, 100, every_s=120.0))

    assert detector.baseline_bytes is None


def test_less_than_the_window_is_no_baseline() -> None:
    """Many samples do not make up for too short a time."""
    detector = quiet()
    fed(detector, sampled(linear(100, 0), 299.0 / HOUR, every_s=1.0))

    assert detector.baseline_bytes is None
    assert detector.state == "warming_up"


def test_it_stays() -> None:
    """What comes after the window has no part in it."""
    detector = quiet()
    fed(detector, minutes(100, 100, 100, 100, 100, *[180] * 50))

    assert detector.baseline_bytes == 100 * MB


def test_it_uses_all_samples_of_a_dense_series() -> None:
    """Thinning many samples leaves the median where it is."""
    detector = quiet()
    fed(detector, [(i * 0.05, (100 + i / 100) * MB) for i in range(6001)])

    assert detector.baseline_bytes == pytest.approx(130 * MB, rel=0.005)


def test_a_restart_begins_a_new_one() -> None:
    """After a drop to the level of a fresh process that lasts, the next window decides anew."""
    detector = quiet()
    fed(detector, minutes(*[200] * 30, *[80] * 12))

    assert detector.baseline_bytes == 80 * MB


def test_its_window_is_configurable() -> None:
    """With five seconds and samples every quarter of one, it takes five seconds."""
    detector = quiet(sampling_interval_seconds=0.25, baseline_window_seconds=5.0)
    fed(detector, [(i * 0.25, 60.0 * MB) for i in range(20)])
    assert detector.baseline_bytes is None
    detector.update(5.0, 60.0 * MB)

    assert detector.baseline_bytes == 60 * MB
