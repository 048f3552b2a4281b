"""Severities, reasons, and thresholds on resident memory."""

from __future__ import annotations

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.detector._alerts import GrowthRules
from otel_memleak.detector._trend import fit
from otel_memleak.types import MB
from property.strategies import HOUR, fed, first_leak, leaks, linear, numbered, quiet, sampled


def level(mb: float, minutes: int, start_s: float = 0.0) -> list[tuple[float, float]]:
    """So many minutes at a level."""
    return [(start_s + 60.0 * i, mb * MB) for i in range(minutes)]


@pytest.mark.parametrize(("mb", "severity", "threshold_mb"), [(260, "warning", 256), (520, "critical", 512)])
def test_resident_memory_has_thresholds(mb: float, severity: str, threshold_mb: float) -> None:
    """Without a limit, 260 MB warns and 520 MB alarms, at the first sample; it claims no leak."""
    (alert,) = fed(LeakDetector(), level(mb, 30))

    assert (alert.event, alert.severity, alert.reason) == ("memleak.rss", severity, "rss")
    assert alert.threshold_bytes == threshold_mb * MB
    assert alert.time_s == 0.0


def test_below_the_threshold_nothing_is_said() -> None:
    """255 MB is below 256."""
    assert fed(LeakDetector(), level(255, 30)) == []


@pytest.mark.parametrize(("rate_mb", "severity"), [(55, "warning"), (110, "critical")])
def test_the_rate_decides_on_severity(rate_mb: float, severity: str) -> None:
    """55 MB/h is above the warning rate, 110 MB/h above the critical one; the reason is the growth itself."""
    alert = first_leak(quiet(8192.0), sampled(linear(400, rate_mb), 24.0))

    assert (alert.severity, alert.reason) == (severity, "growth")
    assert f"growth_{severity}" in alert.why


def test_slow_growth_towards_a_limit_is_a_forecast() -> None:
    """When the limit is what makes it matter, the reason says so; without one it is the growth."""
    samples = sampled(linear(150, 5), 24.0)

    assert first_leak(quiet(512.0), samples).reason == "forecast"
    assert first_leak(quiet(), samples).reason == "growth"


AUTO = {"growth_warning_bytes_per_hour": "auto", "growth_critical_bytes_per_hour": "auto"}


@pytest.mark.parametrize(
    ("limit_mb", "fired"),
    [(400.0, "growth_critical"), (1600.0, "growth_warning"), (20_000.0, "the limit will be reached")],
)
def test_automatic_rates_follow_the_headroom(limit_mb: float, fired: str) -> None:
    """The same 55 MB/h is critical, a warning or neither, by what it leaves; the alert says which and why."""
    alert = first_leak(quiet(limit_mb, **AUTO), sampled(linear(150, 55), 24.0))

    assert alert.why.endswith(fired) or f"{fired} (" in alert.why
    assert ("auto: the headroom in" in alert.why) == fired.startswith("growth")
    assert alert.severity == ("critical" if fired == "growth_critical" else "warning")
    assert alert.reason == ("growth" if fired.startswith("growth") else "forecast")


def test_automatic_rates_scale_with_the_process() -> None:
    """A process ten times as large, that grows ten times as fast, gets the same severity and reason."""
    small = first_leak(quiet(1600.0, **AUTO), sampled(linear(150, 55), 24.0))
    large = first_leak(quiet(16_000.0, **AUTO), sampled(linear(1500, 550), 24.0))

    assert (small.severity, small.reason) == (large.severity, large.reason) == ("warning", "growth")


def test_an_automatic_rate_is_above_the_noise() -> None:
    """Where the noise of an hour is more than the headroom of a day, the noise is the threshold."""
    line = [(60.0 * i, (400.0 + i / 60.0 + (0.5 if i % 2 else 0.0)) * MB) for i in range(32)]
    trend = fit([t for t, _ in line], [v for _, v in line])
    rules = GrowthRules(warning=None, critical=None, window_s=300.0)

    assert rules.warning_rate(trend, 0.1 * MB).origin == "3 sigma of the noise"
    assert rules.warning_rate(trend, 0.1 * MB).bytes_per_second == pytest.approx(3 * trend.sigma_bytes / HOUR)
    assert rules.warning_rate(trend, 100 * MB).origin == "the headroom in 24.0 h"


def test_a_rate_of_the_user_bounds_an_automatic_one() -> None:
    """Critical is never below warning, whichever of the two is automatic."""
    trend = fit([float(i) for i in range(32)], [float(i) for i in range(32)])
    fixed_warning = GrowthRules(warning=9.0, critical=None, window_s=300.0)
    fixed_critical = GrowthRules(warning=None, critical=0.1, window_s=300.0)

    assert fixed_warning.critical_rate(trend, 1.0).bytes_per_second == 9.0
    assert fixed_critical.warning_rate(trend, 1e9).bytes_per_second == 0.1


def test_a_limit_that_comes_near_is_critical() -> None:
    """Less than an hour to the limit is critical at any rate, and passes the throttle."""
    warning, critical = leaks(fed(quiet(220.0), sampled(linear(150, 5), 13.9)))

    assert (warning.severity, critical.severity) == ("warning", "critical")
    assert critical.time_to_limit_s == pytest.approx(HOUR, rel=0.1)
    assert "away" in critical.why


def test_the_second_alert_within_the_hour_is_blocked() -> None:
    """A threshold left and crossed again within the hour is said once; after the hour, again, as the same."""
    detector = LeakDetector(id_factory=numbered())
    samples = level(260, 10) + level(100, 15, 600.0) + level(260, 60, 1500.0)
    alerts = fed(detector, samples)

    assert [(a.event, a.time_s) for a in alerts] == [
        ("memleak.rss", 0.0),
        ("memleak.resolved", 840.0),
        ("memleak.rss", HOUR),
    ]
    assert {a.id for a in alerts} == {"incident-1"}


def test_an_escalation_passes_the_throttle() -> None:
    """From warning to critical within the hour: both are said, as one incident."""
    alerts = fed(LeakDetector(id_factory=numbered()), level(260, 5) + level(520, 5, 300.0))

    assert [(a.id, a.severity) for a in alerts] == [("incident-1", "warning"), ("incident-1", "critical")]


def test_hovering_at_the_threshold_does_not_flap() -> None:
    """A level that swings a little about the threshold is one crossing."""
    swinging = [(60.0 * i, (254 if i % 3 else 257) * MB) for i in range(600)]

    assert len(fed(LeakDetector(), swinging)) == 1


def test_the_limit_sets_the_thresholds() -> None:
    """With a limit, auto is 80 and 90 % of it."""
    assert fed(LeakDetector(1000 * MB), level(799, 20)) == []
    assert fed(LeakDetector(1000 * MB), level(801, 20))[0].severity == "warning"
    assert fed(LeakDetector(1000 * MB), level(901, 20))[0].severity == "critical"


@pytest.mark.parametrize("off", [None, 0])
def test_thresholds_can_be_switched_off(off: float | None) -> None:
    """None and 0 switch a threshold off, each on its own."""
    assert fed(LeakDetector(rss_warning_bytes=off, rss_critical_bytes=off), level(4000, 30)) == []
    assert fed(LeakDetector(rss_warning_bytes=off), level(400, 30)) == []
    assert fed(LeakDetector(rss_critical_bytes=off), level(4000, 30))[0].severity == "warning"


def test_a_limit_may_change_while_running() -> None:
    """A new limit moves thresholds and forecast at once."""
    detector = LeakDetector(4000 * MB)
    assert fed(detector, level(300, 10)) == []
    detector.limit_bytes = 320 * MB
    (alert,) = fed(detector, level(300, 5, 600.0))

    assert detector.limit_bytes == 320 * MB
    assert (alert.severity, alert.limit_bytes) == ("critical", 320 * MB)


@pytest.mark.parametrize(
    "argument",
    [
        {"limit_bytes": 0},
        {"limit_bytes": float("nan")},
        {"sampling_interval_seconds": 0},
        {"baseline_window_seconds": -1},
        {"patience_seconds": 0},
        {"growth_warning_bytes_per_hour": "fast"},
        {"growth_critical_bytes_per_hour": float("inf")},
        {"rss_warning_bytes": "much"},
        {"rss_critical_bytes": -5},
        {"alert_interval_seconds": None},
        {"sampling_interval_seconds": True},
    ],
)
def test_a_bad_argument_is_named(argument: dict[str, object]) -> None:
    """Configuration fails loudly, with the name and the value."""
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=name) as caught:
        LeakDetector(**argument)  # type: ignore[arg-type]

    assert repr(value) in str(caught.value)
