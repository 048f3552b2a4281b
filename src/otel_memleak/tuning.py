"""How the user's settings, and the limit that was found, become the detector's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB

if TYPE_CHECKING:
    from otel_memleak.settings import Settings
    from otel_memleak.types import MemoryLimit

HOST_RSS_WARNING_BYTES: Final = 256 * MB
HOST_RSS_CRITICAL_BYTES: Final = 512 * MB
"""A share of a whole host's memory would be no threshold for one process."""


def make_detector(settings: Settings, limit: MemoryLimit | None) -> LeakDetector:
    """A detector that has seen nothing yet.

    Args:
        settings: Validated settings.
        limit: That of the container or the host; None when it is not known.
    """
    host = limit is None or limit.source == "host"
    return LeakDetector(
        limit.limit_bytes if limit is not None else None,
        sampling_interval_seconds=settings.sampling_interval_seconds,
        baseline_window_seconds=settings.baseline_window_seconds,
        patience_seconds=settings.patience_seconds,
        growth_warning_bytes_per_hour=_rate(settings.growth_warning_bytes_per_hour),
        growth_critical_bytes_per_hour=_rate(settings.growth_critical_bytes_per_hour),
        rss_warning_bytes=_threshold(settings.rss_warning_bytes, host, HOST_RSS_WARNING_BYTES),
        rss_critical_bytes=_threshold(settings.rss_critical_bytes, host, HOST_RSS_CRITICAL_BYTES),
        alert_interval_seconds=settings.alert_interval_seconds,
    )


def _rate(configured: float | None) -> float | Literal["auto"]:
    """The detector's notion of a rate: a number, or ``auto``."""
    return "auto" if configured is None else configured


def _threshold(configured_bytes: float | None, host: bool, host_bytes: float) -> float | Literal["auto"]:
    """The detector's notion of an RSS threshold: a number, or ``auto`` for a share of the limit."""
    if configured_bytes is not None:
        return configured_bytes
    return host_bytes if host else "auto"
