"""Thresholds on resident memory itself: no claim of a leak, only that there is much of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from otel_memleak.detector._incidents import Incident
from otel_memleak.records import NamedTuple
from otel_memleak.types import MB, Severity

if TYPE_CHECKING:
    from otel_memleak.detector._alerts import Moment
    from otel_memleak.detector._witnesses import Testimony
    from otel_memleak.types import LeakAlert

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

    A threshold is crossed by one sample at or above it, and left only when a whole hold time was watched
    without a sample at or above 95 % of it: a level that hovers, or a sawtooth across it, is one crossing,
    and a process that was stopped meanwhile has not been below it for that long.

    Args:
        hold_s: Seconds below before a threshold counts as left.
    """

    __slots__ = ("_above_at", "_hold", "severity", "threshold_bytes")

    def __init__(self, hold_s: float) -> None:
        self._hold = hold_s
        self._above_at = 0.0
        self.severity: Severity | None = None
        self.threshold_bytes: float | None = None

    def add(self, watched_s: float, rss_bytes: float, thresholds: Thresholds) -> None:
        """Take one sample, after so many seconds that were watched."""
        warning, critical = thresholds
        if critical is not None and rss_bytes >= critical:
            self._cross("critical", critical, watched_s)
        elif warning is not None and rss_bytes >= warning:
            if self.severity is None:
                self._cross("warning", warning, watched_s)
            self._above_at = watched_s
        elif self.severity is not None:
            lowest = warning if warning is not None else critical
            if lowest is not None and rss_bytes >= _RELEASE_SHARE * lowest:
                self._above_at = watched_s
            elif watched_s - self._above_at >= self._hold:
                self.severity = self.threshold_bytes = None

    def _cross(self, severity: Severity, threshold: float, watched_s: float) -> None:
        self.severity = severity
        self.threshold_bytes = threshold
        self._above_at = watched_s


class RssCase:
    """What is said about resident memory itself.

    Args:
        warning: The setting for the warning.
        critical: The setting for the alarm.
        limit_bytes: The limit they are resolved against, if any.
        hold_s: Seconds below before a threshold counts as left.
        incident: Keeps account of what has been said.
    """

    __slots__ = ("_settings", "_thresholds", "_watch", "incident")

    def __init__(
        self,
        warning: Threshold,
        critical: Threshold,
        limit_bytes: float | None,
        hold_s: float,
        incident: Incident,
    ) -> None:
        self._settings = (warning, critical)
        self._watch = RssWatch(hold_s)
        self.incident = incident
        self.limit_to(limit_bytes)

    def limit_to(self, limit_bytes: float | None) -> None:
        """Resolve the settings against a limit, or none."""
        self._thresholds = resolve_thresholds(*self._settings, limit_bytes)

    def add(self, watched_s: float, rss_bytes: float) -> None:
        """Take one sample, after so many seconds that were watched."""
        self._watch.add(watched_s, rss_bytes, self._thresholds)

    @property
    def calm(self) -> bool:
        """Whether no threshold is crossed, and nothing is left to be said."""
        return self._watch.severity is None and self.incident.at_rest

    def announce(
        self, elapsed_s: float, testimony: Testimony, moment: Callable[[Incident], Moment]
    ) -> LeakAlert | None:
        """What has to be said now, if anything; it counts as said.

        Args:
            elapsed_s: Now.
            testimony: Knows what else is to be remarked on it.
            moment: Describes the present sample.
        """
        incident, watch = self.incident, self._watch
        if watch.severity is None:
            incident.end(elapsed_s)
        else:
            incident.raise_to(watch.severity, elapsed_s, incident.interval_s)
        said = incident.announce(elapsed_s)
        if said is None:
            return None
        from otel_memleak.detector._alerts import rss_alert

        remark = testimony.kept_remark()
        return rss_alert(moment(incident), watch.threshold_bytes, remark, over=said == "quiet")
