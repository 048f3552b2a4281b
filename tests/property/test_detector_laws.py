"""What must not change a verdict, and in which direction it may change."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert
from property.strategies import (
    HOUR,
    START,
    Samples,
    fed,
    first_leak,
    innocent,
    junk,
    leaking,
    leaks,
    linear,
    quiet,
    sampled,
)

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
either = st.one_of(leaking(), innocent())


def verdict(samples: Samples, limit_mb: float | None = None) -> list[tuple[str, str, str, float]]:
    """What is said, how badly and when (seconds since the first sample)."""
    first = samples[0][0]
    return [(a.event, a.severity, a.id, round(a.time_s - first, 3)) for a in fed(quiet(limit_mb), samples)]


@few
@given(leaking())
def test_an_obvious_leak_is_found(samples: Samples) -> None:
    """A day of straight growth far above the noise is a leak, whatever the size of the process."""
    assert leaks(fed(quiet(), samples))


@few
@given(innocent())
def test_teeth_and_noise_are_no_leak(samples: Samples) -> None:
    """What comes back to the same level is no leak."""
    assert leaks(fed(quiet(), samples)) == []


@few
@given(either, st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_bytes_scales_the_verdict(samples: Samples, factor: float) -> None:
    """A process of another size with the same shape gets the same verdict, with rates in proportion."""
    rules = {"growth_warning_bytes_per_hour": 1e18, "growth_critical_bytes_per_hour": 1e18}
    plain = fed(quiet(8000.0, **rules), samples)
    scaled = fed(quiet(8000.0 * factor, **rules), [(t, v * factor) for t, v in samples])

    assert [(a.event, a.severity, a.time_s) for a in plain] == [
        (a.event, a.severity, a.time_s) for a in scaled
    ]
    for one, other in zip(leaks(plain), leaks(scaled), strict=True):
        assert rate(one) * factor == pytest.approx(rate(other), rel=1e-6)


@few
@given(either, st.integers(-400_000, 400_000).map(lambda minutes: 60.0 * minutes))
def test_shifting_time_changes_nothing(samples: Samples, shift: float) -> None:
    """The detector knows no date: only differences between times count."""
    assert verdict(samples) == verdict([(t + shift, v) for t, v in samples])


@few
@given(either, st.lists(st.tuples(st.integers(0, 720), junk), max_size=40))
def test_failed_readings_change_nothing(samples: Samples, failures: list[tuple[int, float | None]]) -> None:
    """A reading that failed leaves no trace, wherever it falls."""
    mixed: list[tuple[float | None, float | None]] = []
    inserted = dict(failures)
    for i, (t, v) in enumerate(samples):
        mixed.append((t, v))
        if i in inserted:
            mixed.append((t + 1.0, inserted[i]))
    assert fed(quiet(), mixed) == fed(quiet(), samples)


@few
@given(either, st.sets(st.integers(0, 720), max_size=60))
def test_repeated_samples_change_nothing(samples: Samples, repeated: set[int]) -> None:
    """A sample delivered twice counts once."""
    doubled = [s for i, s in enumerate(samples) for s in ([s, s] if i in repeated else [s])]
    assert fed(quiet(), doubled) == fed(quiet(), samples)


@few
@given(st.floats(60.0, 900.0), st.floats(2.0, 30.0), st.sampled_from([20.0, 30.0, 120.0, 180.0]))
def test_spacing_changes_neither_verdict_nor_rate(base: float, rate_mb: float, every_s: float) -> None:
    """The same process, looked at more or less often, leaks as fast."""
    alerts = leaks(fed(quiet(), sampled(linear(base, rate_mb), 30.0, every_s=every_s)))

    assert len({a.id for a in alerts}) == 1
    assert rate(alerts[0]) == pytest.approx(rate_mb * MB, rel=0.02)


@few
@given(st.floats(100.0, 1000.0), st.floats(0.0, 500.0))
def test_a_constant_on_top_leaves_the_rate(base: float, added: float) -> None:
    """Memory that does not change has no part in the rate of what does."""
    plain = first_leak(quiet(), sampled(linear(base, 30.0), 24.0))
    lifted = first_leak(quiet(), sampled(linear(base + added, 30.0), 24.0))

    assert rate(plain) == pytest.approx(rate(lifted), rel=1e-6)


@few
@given(st.floats(1.0, 50.0), st.floats(1.1, 8.0))
def test_a_faster_leak_is_never_found_later(rate_mb: float, factor: float) -> None:
    """Patience falls with the rate; a window's step is the only allowance."""
    slow, fast = (
        first_leak(quiet(4000.0), sampled(linear(300.0, r), 48.0, every_s=120.0)).time_s - START
        for r in (rate_mb, rate_mb * factor)
    )
    assert fast <= slow * 1.15


@few
@given(
    st.lists(
        st.tuples(
            st.one_of(junk, st.floats(allow_nan=True), st.text(max_size=3), st.integers()),
            st.one_of(junk, st.floats(allow_nan=True), st.booleans(), st.integers(-(10**30), 10**30)),
        ),
        max_size=200,
    )
)
def test_update_never_raises(samples: list[tuple[object, object]]) -> None:
    """Whatever a clock or a reading comes to, the host application does not hear of it."""
    detector = LeakDetector(256 * MB)
    for time_s, rss_bytes in samples:
        detector.update(time_s, rss_bytes)  # type: ignore[arg-type]
        assert detector.state in ("warming_up", "stable", "suspect", "leaking")
        assert math.isfinite(detector.growth_bytes_per_hour)
        assert math.isfinite(detector.noise_bytes)


@few
@given(st.lists(st.tuples(st.floats(0.0, 1e12), st.floats(1.0, 2.0**60)), min_size=30, max_size=300))
def test_wild_series_give_finite_figures(samples: list[tuple[float, float]]) -> None:
    """No series of valid numbers leads to an error, or to a rate that is not one."""
    detector = quiet(1000.0, baseline_window_seconds=1.0, sampling_interval_seconds=1.0, patience_seconds=1.0)
    for alert in fed(detector, sorted(samples)):
        assert math.isfinite(rate(alert))
        assert alert.growth_bytes is not None
        assert math.isfinite(alert.growth_bytes)


def rate(alert: LeakAlert) -> float:
    """Bytes per hour of an alert that has them."""
    assert alert.growth_bytes_per_hour is not None
    return alert.growth_bytes_per_hour


def test_hours_are_hours() -> None:
    """The unit of the helper above, on which the laws here rest."""
    assert sampled(linear(1.0, 1.0), 1.0)[-1] == (START + HOUR, 2.0 * MB)
