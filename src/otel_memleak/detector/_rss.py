"""Thresholds on resident memory itself: no claim of a leak, only that there is much of it."""

from __future__ import annotations

from typing import Literal

from otel_memleak.records import NamedTuple
from otel_memleak.types import MB, Severity

Threshold = float | Literal["auto"] | None

_AUTO_WARNING_SHARE = 0.8
_AUTO_CRITICAL_SHARE = 0.9
_DEFAULT_WARNING_BYTES = 256.0 * MB
_DEFAULT_CRITICAL_BYTES = 512.0 * MB
_RELEASE_SHARE = 0.95


class Thresholds(NamedTuple):
    """Bytes of resident memory at which to warn and to alarm; None where switched off."""

    warning: float | None
    critical: float | None


def resolve_thresholds(warning: Threshold, critical: Threshold, limit_bytes: float | None) -> Thresholds:
    """Turn the settings into bytes.

    ``auto`` is 80 % and 90 % of the limit, or 256 and 512 MB where there is no limit; None and 0 switch off.
    """
    return Thresholds(
        _resolve(warning, limit_bytes, _AUTO_WARNING_SHARE, _DEFAULT_WARNING_BYTES),
        _resolve(critical, limit_bytes, _AUTO_CRITICAL_SHARE, _DEFAULT_CRITICAL_BYTES),
    )


def _resolve(setting: Threshold, limit_bytes: float | None, share: float, default: float) -> float | None:
    if setting == "auto":
        return default if limit_bytes is None else share * limit_bytes
    return setting or None


class RssWatch:
    """Which threshold resident memory is above, without flapping.

    A threshold is crossed by one sample at or above it, and left only when a whole hold time has passed
    without a sample at or above 95 % of it: a level that hovers, or a sawtooth across it, is one crossing.

    Args:
        hold_s: Seconds below before a threshold counts as left.
    """

    __slots__ = ("_above_at", "_hold", "severity", "threshold_bytes")

    def __init__(self, hold_s: float) -> None:
        self._hold = hold_s
        self._above_at = 0.0
        self.severity: Severity | None = None
        self.threshold_bytes: float | None = None

    def add(self, elapsed_s: float, rss_bytes: float, thresholds: Thresholds) -> None:
        """Take one sample."""
        warning, critical = thresholds
        if critical is not None and rss_bytes >= critical:
            self._cross("critical", critical, elapsed_s)
        elif warning is not None and rss_bytes >= warning:
            if self.severity is None:
                self._cross("warning", warning, elapsed_s)
            self._above_at = elapsed_s
        elif self.severity is not None:
            lowest = warning if warning is not None else critical
            if lowest is not None and rss_bytes >= _RELEASE_SHARE * lowest:
                self._above_at = elapsed_s
            elif elapsed_s - self._above_at >= self._hold:
                self.severity = self.threshold_bytes = None

    def _cross(self, severity: Severity, threshold: float, elapsed_s: float) -> None:
        self.severity = severity
        self.threshold_bytes = threshold
        self._above_at = elapsed_s
