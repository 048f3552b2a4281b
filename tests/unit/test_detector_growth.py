"""What is a leak and what is not, and how fast it is."""

from __future__ import annotations

import math
from random import Random

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB
from property.strategies import HOUR, START, Shape, fed, first_leak, leaks, linear, quiet, sampled

DAY = 24.0


def wave(base: float, swing: float) -> Shape:
    """A daily wave."""
    return lambda hour: base + swing * (1.0 - math.cos(2.0 * math.pi * hour / DAY)) / 2.0


def teeth(base: float, height: float, period_h: float) -> Shape:
    """A garbage collector's sawtooth."""
    return lambda hour: base + height * ((hour / period_h) % 1.0)


def saturating(base: float, rise: float, hours: float) -> Shape:
    """A cache that fills, or a warm-up."""
    return lambda hour: base + rise * (1.0 - math.exp(-hour / hours))


def steps(base: float, *at: tuple[float, float]) -> Shape:
    """Jumps at some hours, by so many megabytes, that stay."""
    return lambda hour: base + sum(by for when, by in at if hour >= when)


def spikes(base: float, height: float) -> Shape:
    """A batch of five minutes every hour."""
    return lambda hour: base + (height if hour % 1.0 < 1 / 12 else 0.0)


INNOCENT: dict[str, Shape] = {
    "level": linear(150, 0),
    "collector": teeth(150, 60, 0.4),
    "slow collector": teeth(150, 60, 3.0),
    "warm-up": saturating(80, 120, 0.5),
    "cache": saturating(150, 100, 3.0),
    "step": steps(150, (5.0, 60)),
    "three steps": steps(150, (5.0, 60), (11.0, 20), (30.0, 10)),
    "day and night": lambda hour: wave(200, 40)(hour + 9.0),
    "batches": spikes(150, 200),
    "buffer": lambda hour: 150 + min(30.0, 30.0 * hour),
    "trimmed": lambda hour: 150 + 40 * min(hour % 8.0, 1.0),
}

LEAKING: dict[str, Shape] = {
    "slow": linear(150, 0.5),
    "linear": linear(150, 5),
    "late": linear(150, 5, onset_h=20.0),
    "under a collector": lambda hour: teeth(150, 30, 0.4)(hour) + 3 * hour,
    "under day and night": lambda hour: wave(200, 40)(hour) + 2.5 * hour,
    "behind a cache": lambda hour: saturating(150, 60, 2.0)(hour) + 3 * hour,
    "stepwise": lambda hour: 150 + 4.0 * math.floor(hour / 0.7),
    "accelerating": lambda hour: 150 + 0.05 * hour**2,
    "square root": lambda hour: 150 + 25.0 * math.sqrt(hour),
    "between batches": lambda hour: spikes(150, 200)(hour) + 3 * hour,
}


@pytest.mark.parametrize("name", INNOCENT)
@pytest.mark.parametrize("limit_mb", [None, 512.0])
def test_growth_that_ends_is_no_leak(name: str, limit_mb: float | None) -> None:
    """A step, a warm-up, a cache, a sawtooth, a wave and a batch raise nothing in four days."""
    detector = quiet(limit_mb)
    alerts = leaks(fed(detector, sampled(INNOCENT[name], 4 * DAY, every_s=120.0, noise_mb=0.5)))

    assert alerts == []
    assert detector.state == "stable"
    assert detector.growth_bytes_per_hour == 0.0
    assert detector.growth_interval is None
    assert detector.time_to_limit_s is None


@pytest.mark.parametrize("name", LEAKING)
@pytest.mark.parametrize("limit_mb", [None, 512.0])
def test_growth_that_does_not_end_is_a_leak(name: str, limit_mb: float | None) -> None:
    """Slow, straight, late, hidden under a wave or a sawtooth, in steps, bent: found within a week, once."""
    detector = quiet(limit_mb)
    alerts = leaks(fed(detector, sampled(LEAKING[name], 7 * DAY, every_s=120.0, noise_mb=0.5)))

    assert {alert.id for alert in alerts} == {"incident-1"}
    assert detector.state == "leaking"


def test_teeth_that_beat_against_the_sampling_are_no_leak() -> None:
    """A period near a multiple of a bucket makes the minima creep up for hours; nothing is retained."""
    samples = sampled(teeth(200, 40, 0.266), DAY, every_s=120.0)

    assert leaks(fed(quiet(), samples)) == []


def test_noise_for_a_week_raises_nothing() -> None:
    """A megabyte of noise up and down, once a minute for a week: no alert, and a noise of that size."""
    detector = quiet()

    assert fed(detector, sampled(linear(120, 0), 168.0, noise_mb=1.0)) == []
    assert 0.1 * MB < detector.noise_bytes < 1.0 * MB


@pytest.mark.parametrize(("noise_mb", "tolerance"), [(0.0, 0.02), (1.0, 0.10)])
def test_a_known_rate_comes_out(noise_mb: float, tolerance: float) -> None:
    """100 MB/h is 100 MB/h: within 2 % without noise, within 10 % under a megabyte of it."""
    detector = quiet(2048.0)
    alerts = leaks(fed(detector, sampled(linear(200, 100), 12.0, noise_mb=noise_mb)))
    low, high = detector.growth_interval or (0.0, 0.0)

    assert detector.growth_bytes_per_hour == pytest.approx(100 * MB, rel=tolerance)
    assert alerts[0].growth_bytes_per_hour == pytest.approx(100 * MB, rel=tolerance)
    assert low < 100 * MB < high


@pytest.mark.parametrize("rate_mb", [0.5, 70_000.0])
def test_leaks_of_any_rate_are_found(rate_mb: float) -> None:
    """From half a megabyte an hour on a small process to 70 GB an hour that kills within minutes."""
    every_s, hours, limit_mb = (60.0, 72.0, 512.0) if rate_mb < 1 else (1.0, 0.6, 8192.0)
    shape = linear(150, rate_mb, onset_h=0.5 if rate_mb > 1 else 0.0)
    samples = [s for s in sampled(shape, hours, every_s=every_s) if s[1] < limit_mb * MB]
    alert = first_leak(quiet(limit_mb, sampling_interval_seconds=every_s), samples)

    assert alert.growth_bytes_per_hour == pytest.approx(rate_mb * MB, rel=0.1)


def test_growth_needs_ten_samples() -> None:
    """Nine samples of steep growth are no growth yet, and the state says so."""
    detector = quiet(512.0, patience_seconds=60.0)
    fed(detector, sampled(linear(100, 600), 9 / 60.0)[:9])

    assert detector.growth_bytes_per_hour == 0.0
    assert detector.state == "warming_up"


def test_the_interval_covers_the_truth() -> None:
    """Under Gaussian noise of fifty seeds, the interval of the first alert holds the rate in 45 or more."""
    covered = 0
    for seed in range(50):
        random = Random(seed)
        samples = [(t, v + random.gauss(0, 2 * MB)) for t, v in sampled(linear(200, 6), 20.0, every_s=120.0)]
        alert = first_leak(quiet(), samples)
        low, high = alert.growth_bytes_per_hour_low, alert.growth_bytes_per_hour_high
        assert low is not None
        assert high is not None
        covered += low <= 6 * MB <= high
    assert covered >= 45


def test_the_onset_is_where_it_began() -> None:
    """A leak that began after ten hours of quiet says so, and says what it took since."""
    alert = first_leak(quiet(), sampled(linear(150, 5, onset_h=10.0), 40.0, noise_mb=0.2))
    assert alert.onset_s is not None
    assert alert.growth_bytes is not None

    assert (alert.onset_s - START) / HOUR == pytest.approx(10.0, abs=0.75)
    assert alert.growth_bytes / MB == pytest.approx(5 * ((alert.time_s - START) / HOUR - 10.0), rel=0.1)


def test_the_onset_after_a_short_quiet() -> None:
    """Also when the window of the verdict holds the quiet before it."""
    alert = first_leak(quiet(512.0), sampled(linear(100, 60, onset_h=1.0), 8.0))
    assert alert.onset_s is not None

    assert (alert.onset_s - START) / HOUR == pytest.approx(1.0, abs=0.3)


def test_time_to_the_limit() -> None:
    """It is what is left over the rate, and its interval holds it."""
    alert = first_leak(quiet(512.0), sampled(linear(150, 10), 40.0, noise_mb=0.2))
    assert alert.time_to_limit_s is not None
    assert alert.time_to_limit_low_s is not None
    assert alert.time_to_limit_high_s is not None
    truth = (512 * MB - alert.rss_bytes) / (10 * MB) * HOUR

    assert alert.time_to_limit_s == pytest.approx(truth, rel=0.05)
    assert alert.time_to_limit_low_s < truth < alert.time_to_limit_high_s


def test_the_time_to_the_limit_follows_growth_that_bends() -> None:
    """An accelerating leak is nearer to the limit than its mean rate says."""
    shape: Shape = lambda hour: 150 + 2.0 * hour**2  # noqa: E731
    alert = first_leak(quiet(600.0), sampled(shape, 15.0))
    assert alert.time_to_limit_s is not None
    assert alert.growth_bytes_per_hour is not None
    hour = (alert.time_s - START) / HOUR
    truth = (math.sqrt(225.0) - hour) * HOUR
    naive = (600 * MB - alert.rss_bytes) / alert.growth_bytes_per_hour * HOUR

    assert abs(alert.time_to_limit_s - truth) < abs(naive - truth)


@pytest.mark.parametrize(
    ("shape", "pattern"),
    [
        (linear(150, 5), "linear"),
        (LEAKING["accelerating"], "accelerating"),
        (LEAKING["square root"], "decelerating"),
        (lambda hour: 150 + 12.0 * math.floor(hour / 3.0), "stepwise"),
        (lambda hour: 150 + 20.0 * (math.floor(hour / 5.0) + min(1.0, (hour / 5.0) % 1.0 * 3.0)), "bursts"),
    ],
)
def test_the_shape_has_a_name(shape: Shape, pattern: str) -> None:
    """Straight, bent up, bent down, in steps, in bursts: what the growth looks like is said."""
    alert = first_leak(quiet(), sampled(shape, 6 * DAY, noise_mb=0.05))

    assert alert.pattern == pattern


def test_a_leak_that_restarts_hide_is_found() -> None:
    """Restarted every ten hours just below its limit, and found in one of its lives."""
    shape: Shape = lambda hour: 60.0 if hour % 10.0 < 0.06 else 120 + 12.0 * (hour % 10.0)  # noqa: E731
    alerts = leaks(fed(quiet(256.0), sampled(shape, 60.0)))

    assert alerts
    assert {alert.id for alert in alerts} == {"incident-1"}


def test_restarts_of_a_healthy_process_are_no_leak() -> None:
    """Each life warms up; none of them leaks."""
    shape: Shape = lambda hour: 60 + 80.0 * (1 - math.exp(-(hour % 7.0) / 0.4))  # noqa: E731

    assert leaks(fed(quiet(256.0), sampled(shape, 70.0, noise_mb=0.3))) == []


def test_the_state_tells_the_story() -> None:
    """Warming up, stable, suspect, leaking: in this order."""
    detector, seen = quiet(512.0), []
    for time_s, rss_bytes in sampled(linear(150, 20, onset_h=2.0), 20.0):
        detector.update(time_s, rss_bytes)
        if not seen or seen[-1] != detector.state:
            seen.append(detector.state)

    assert [s for i, s in enumerate(seen) if s not in seen[:i]] == [
        "warming_up",
        "stable",
        "suspect",
        "leaking",
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_may_be_no_growth_at_all_is_no_leak(seed: int) -> None:
    """Law: no alert whose own 95 % interval of the rate begins at zero, however long was watched."""
    random = Random(seed)
    level, samples = 60.0, []
    for i in range(14_400):
        # An hour at four samples a second: garbage in large pieces, a little of it kept.
        level += random.expovariate(1.0) * 0.4 if random.random() < 0.004 else -0.0012 * (level > 60.0)
        samples.append((START + 0.25 * i, (level + random.random()) * MB))
    detector = LeakDetector(
        sampling_interval_seconds=0.25, baseline_window_seconds=5.0, patience_seconds=300.0
    )

    for alert in leaks(fed(detector, samples)):
        assert alert.growth_bytes_per_hour_low > 0.0


def test_a_small_rise_is_suspected_long_before_it_is_a_leak() -> None:
    """At a patience of seconds its verdict waits until it is large; the look for its holder does not."""
    random, suspected_s, found_s = Random(1), None, None
    detector = LeakDetector(
        512.0 * MB, sampling_interval_seconds=0.25, baseline_window_seconds=5.0, patience_seconds=10.0
    )
    for i in range(400):
        time_s = 0.25 * i
        alert = detector.update(time_s, 100.0 * MB + 200e3 * time_s + random.uniform(0.0, 3e5))
        if suspected_s is None and detector.state == "suspect":
            suspected_s = time_s
        if found_s is None and alert is not None:
            found_s = time_s

    assert suspected_s is not None
    assert found_s is not None
    assert suspected_s < found_s / 2


@pytest.mark.parametrize("minutes", [4, 8, 15])
def test_what_kills_in_minutes_is_found_with_half_of_the_room_left(minutes: float) -> None:
    """A window that reaches back before the onset, and so tells no rate, stands before none that convicts."""
    fatal = linear(500, 300 * 60 / minutes, onset_h=0.5)
    detector = quiet(800.0, sampling_interval_seconds=10.0)
    alert = first_leak(detector, sampled(fatal, 0.5 + minutes / 60, every_s=10.0, noise_mb=0.5))

    assert alert.rss_bytes < 655 * MB
