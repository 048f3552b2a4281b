"""All time scales follow from the sampling interval, the baseline window and patience."""

from __future__ import annotations

import math
from random import Random

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert
from property.strategies import HOUR, START, Samples, leaks, linear, quiet, sampled
from property.strategies import fed as feed

PAGE = 4096


def service(seed: int, seconds: float, *, leak_kb_per_s: float) -> Samples:
    """A small service four times a second: start-up, churn, a collector; a leak, or a cache with a bound."""
    random = Random(seed)
    period = random.uniform(2.0, 9.0)
    samples: Samples = []
    for i in range(int(seconds * 4)):
        t = i * 0.25 + random.uniform(0.0, 0.02)
        rss = 25 * MB + 35 * MB * min(1.0, t / 2.3)
        rss += 2 * MB * ((t / period) % 1.0) + random.random() * 1.0 * MB
        if leak_kb_per_s:
            rss += max(0.0, t - 3.0) * leak_kb_per_s * 1024
        else:
            rss += 20 * MB * (1.0 - math.exp(-t / 10.0))
        samples.append((START + t, float(int(rss) // PAGE * PAGE)))
    return samples


def fast() -> LeakDetector:
    """Short intervals, as for a demonstration."""
    return LeakDetector(sampling_interval_seconds=0.25, baseline_window_seconds=5.0, patience_seconds=20.0)


def first_leak(samples: Samples) -> LeakAlert | None:
    return next(iter(leaks(feed(fast(), samples))), None)


@pytest.mark.parametrize("seed", range(8))
def test_with_short_intervals_a_leak_is_found_within_50_s(seed: int) -> None:
    """200 KB/s under churn and a collector, from the start of the process, at 0.25 s, 5 s and 20 s."""
    alert = first_leak(service(seed, 60.0, leak_kb_per_s=200.0))
    assert alert is not None

    assert alert.time_s - START <= 50.0
    assert alert.growth_bytes_per_hour == pytest.approx(200 * 1024 * HOUR, rel=0.25)
    assert alert.severity == "critical"


@pytest.mark.parametrize("seed", range(8))
def test_with_short_intervals_the_healthy_twin_is_quiet(seed: int) -> None:
    """The same start-up, churn and collector, and a cache that fills: nothing in three minutes."""
    assert first_leak(service(seed, 180.0, leak_kb_per_s=0.0)) is None


def test_explicit_patience_is_kept() -> None:
    """Growth is watched as long as asked for, also when the limit is far and also when it is near."""
    for limit_mb in (None, 400.0, 100_000.0):
        detector = quiet(limit_mb, patience_seconds=3 * HOUR)
        alert = leaks(feed(detector, sampled(linear(200, 30), 8.0)))[0]
        assert 3 * HOUR <= alert.time_s - START <= 3.6 * HOUR


def test_the_less_time_is_left_the_shorter_the_patience() -> None:
    """The same growth is called a leak the sooner the nearer the limit is."""
    waits = [
        leaks(feed(quiet(limit_mb), sampled(linear(200, 30), 30.0)))[0].time_s - START
        for limit_mb in (300.0, 400.0, 800.0)
    ]
    assert waits == sorted(waits)
    assert waits[0] < 0.6 * waits[-1]


def test_patience_has_an_end() -> None:
    """However far the limit, straight growth is called a leak within twelve hours of its first sign."""
    alert = leaks(feed(quiet(1_000_000.0), sampled(linear(200, 5), 24.0)))[0]

    assert alert.time_s - START <= 12 * HOUR


def test_scaled_down_settings_give_the_scaled_verdict() -> None:
    """A hundredth of all time settings and of the time between samples: found in a hundredth of the time."""
    samples = sampled(linear(200, 40), 10.0, noise_mb=0.1)
    slow = quiet(1000.0, patience_seconds=HOUR)
    quick = quiet(1000.0, sampling_interval_seconds=0.6, baseline_window_seconds=3.0, patience_seconds=36.0)
    one = leaks(feed(slow, samples))[0]
    other = leaks(feed(quick, [(START + (t - START) / 100.0, v) for t, v in samples]))[0]

    assert (other.time_s - START) * 100.0 == pytest.approx(one.time_s - START, rel=0.03)
