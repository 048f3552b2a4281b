"""How users write code against the typed API; read by mypy and pyright (``make lint``), never run.

A line that must be an error carries a ``type: ignore`` with the error's code. Both checkers are told to complain of
one that is not needed, so a type that becomes laxer fails the check as one that becomes stricter does.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_memleak import LeakAlert, LeakDetector, MemLeakInstrumentor, MemoryMonitor, MonitoringTier
from otel_memleak.routes.middleware import CountingASGIMiddleware, CountingWSGIMiddleware
from otel_memleak.testing import LeakVerdict, check_leak


def page(alert: LeakAlert) -> None:
    """A callback as users write it."""
    text: str = alert.id + alert.why
    rate: float = alert.growth_bytes_per_hour or 0.0
    if alert.event == "memleak.leak" and alert.severity == "critical" and alert.reason != "rss":
        print(text, rate, alert.rss_bytes / 2)


async def page_later(alert: LeakAlert) -> bool:
    """Coroutine functions are callbacks, too, and may return what they like."""
    await asyncio.sleep(0)
    return alert.pattern in (None, "linear", "accelerating", "decelerating", "stepwise", "bursts")


def detect() -> float | None:
    """The pure detector, with what a sample can be."""
    detector = LeakDetector(512 * 2**20, sampling_interval_seconds=60, baseline_window_seconds=300.0)
    detector = LeakDetector(growth_warning_bytes_per_hour="auto", id_factory=lambda: "id")
    alert: LeakAlert | None = detector.update(0, 1e8)
    alert = detector.update(None, float("nan"), requests=10, swapped_bytes=None)
    detector.limit_bytes = None
    detector.restore_state(detector.export_state())
    states: tuple[str, float | None, float] = (detector.state, detector.baseline_bytes, detector.noise_bytes)
    print(alert, states)
    return detector.time_to_limit_s


async def monitor() -> int:
    """The asyncio face."""
    async with MemoryMonitor(
        tier=MonitoringTier.PRODUCTION, sampling_interval=60, baseline_window=300,
        leak_detection_threshold_mb_per_hour=50.0, leak_detection_critical_mb_per_hour=100.0,
        on_alert=[page, page_later], meter_provider=MeterProvider(), tracer_provider=TracerProvider(),
    ) as watch:  # fmt: skip
        watch.add_alert_callback(page_later)
        statistics = watch.get_statistics()
        return statistics["errors_swallowed"]


def instrument() -> None:
    """OpenTelemetry's base class is untyped: keywords are checked when it runs, not here."""
    MemLeakInstrumentor().instrument(tier="development", on_alert=page)
    MemLeakInstrumentor().uninstrument()
    dependencies = MemLeakInstrumentor().instrumentation_dependencies()
    print(list(dependencies))


def test() -> LeakVerdict:
    """In somebody's tests."""
    return check_leak(lambda: page_later)


def must_be_errors(alert: LeakAlert, detector: LeakDetector, watch: MemoryMonitor) -> None:
    """What a checker has to find."""
    alert.rss_bytes = 1.0  # type: ignore[misc]
    _ = alert.leak_rate  # type: ignore[attr-defined]
    _ = alert.growth_bytes_per_hour + 1.0  # type: ignore[operator]
    LeakDetector("512")  # type: ignore[arg-type]
    LeakDetector(512, 60)  # type: ignore[call-arg]
    LeakDetector(growth_warning_bytes_per_hour="often")  # type: ignore[arg-type]
    detector.update("now", 1e8)  # type: ignore[arg-type]
    detector.update(0.0, 1e8, heap_bytes=1)  # type: ignore[call-arg]
    detector.state = "stable"  # type: ignore[misc]
    number: int = detector.update(0.0, 1e8)  # type: ignore[assignment]
    MemoryMonitor(tier="production")  # type: ignore[arg-type]
    MemoryMonitor(interval=60)  # type: ignore[call-arg]
    MemoryMonitor(on_alert=lambda: None)  # type: ignore[arg-type, misc]
    _ = watch.get_statistics()["leaks"]  # type: ignore[typeddict-item]
    _ = MonitoringTier.STAGING  # type: ignore[attr-defined]
    CountingWSGIMiddleware(1)  # type: ignore[arg-type]
    CountingASGIMiddleware(None)  # type: ignore[arg-type]
    print(number)
