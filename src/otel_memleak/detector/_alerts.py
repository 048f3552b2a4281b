"""Puts what is known into an alert."""

from __future__ import annotations

from otel_memleak.detector._forecast import forecast
from otel_memleak.detector._patience import headroom_bytes
from otel_memleak.detector._progress import Progress
from otel_memleak.detector._trend import Trend
from otel_memleak.detector._witnesses import Context
from otel_memleak.records import NamedTuple
from otel_memleak.types import MB, LeakAlert, Reason, Severity

_HOUR = 3600.0
_NEAR_WINDOWS = 12.0
_WARNING_WINDOWS = 288.0
_CRITICAL_WINDOWS = 48.0
_NOISE_SIGMAS = 3.0
_DOUBT_AT_VERDICT = 0.05
"""About so many of the verdicts that were watched just long enough are wrong, on the labelled corpora."""


class Moment(NamedTuple):
    """What every alert says of the sample that decided, and whose alert it is."""

    id: str
    severity: Severity
    time_s: float
    rss_bytes: float
    baseline_bytes: float | None
    limit_bytes: float | None


class Rate(NamedTuple):
    """A rate from which growth is a matter, bytes per second, and its origin; empty when set by the user."""

    bytes_per_second: float
    origin: str

    def __str__(self) -> str:
        rate = _mb_per_hour(self.bytes_per_second)
        return f"{rate}, auto: {self.origin}" if self.origin else rate


class GrowthRules(NamedTuple):
    """What makes growth a matter of rate, and of severity.

    A rate that is None follows from the process itself: from so much of its headroom as would be gone in a
    day (the warning) or in four hours (critical), and never less than three standard deviations of its noise
    in an hour. A day is 288 baseline windows, so that all of it scales with them.

    Attributes:
        warning: Bytes per second from which the rate is the reason; None for automatic.
        critical: Bytes per second from which it is critical; None for automatic.
        window_s: The baseline window, seconds.
    """

    warning: float | None
    critical: float | None
    window_s: float

    @property
    def near_s(self) -> float:
        """Seconds to the limit from which it is critical at any rate."""
        return _NEAR_WINDOWS * self.window_s

    def warning_rate(self, trend: Trend, headroom: float) -> Rate:
        if self.warning is not None:
            return Rate(self.warning, "")
        rate = self._auto(trend, headroom, _WARNING_WINDOWS)
        return rate if self.critical is None else min(rate, Rate(self.critical, "growth_critical"))

    def critical_rate(self, trend: Trend, headroom: float) -> Rate:
        if self.critical is not None:
            return Rate(self.critical, "")
        rate = self._auto(trend, headroom, _CRITICAL_WINDOWS)
        return rate if self.warning is None else max(rate, Rate(self.warning, "growth_warning"))

    def _auto(self, trend: Trend, headroom: float, windows: float) -> Rate:
        span_s = windows * self.window_s
        return max(
            Rate(headroom / span_s, f"the headroom in {_span(span_s)}"),
            Rate(_NOISE_SIGMAS * trend.sigma_bytes / self.near_s, f"{_NOISE_SIGMAS:g} sigma of the noise"),
        )

    def severity(self, trend: Trend, headroom: float, left_s: float | None) -> Severity:
        near = left_s is not None and left_s <= self.near_s
        fast = trend.slope >= self.critical_rate(trend, headroom).bytes_per_second
        return "critical" if near or fast else "warning"

    def reason(self, trend: Trend, headroom: float, limit_bytes: float | None) -> Reason:
        fast = trend.slope >= self.warning_rate(trend, headroom).bytes_per_second
        return "growth" if limit_bytes is None or fast else "forecast"

    def reason_of_rate(self, slope: float, headroom: float, limit_bytes: float | None) -> Reason:
        """The same of growth of which only the rate is known."""
        rate = headroom / (_WARNING_WINDOWS * self.window_s) if self.warning is None else self.warning
        return "growth" if limit_bytes is None or slope >= rate else "forecast"

    def why(self, trend: Trend, headroom: float, left_s: float | None) -> str:
        """Which threshold fired."""
        critical, warning = self.critical_rate(trend, headroom), self.warning_rate(trend, headroom)
        if trend.slope >= critical.bytes_per_second:
            return f"at or above growth_critical ({critical})"
        if left_s is not None and left_s <= self.near_s:
            return f"the limit is less than {_span(self.near_s)} away"
        if trend.slope >= warning.bytes_per_second:
            return f"at or above growth_warning ({warning})"
        return "the limit will be reached" if left_s is not None else "growth that does not end"


def leak_alert(
    moment: Moment, progress: Progress, rules: GrowthRules, onset_s: float, context: Context, *, over: bool
) -> LeakAlert:
    """An alert about a leak.

    Args:
        moment: The sample that decided.
        progress: The leak.
        rules: What its rate amounts to.
        onset_s: When it began, on the clock fed.
        context: What else is known of it.
        over: It has ended.
    """
    trend, finding = progress.trend, progress.finding
    # That it grows is the verdict, reached from more than this window; the interval is of how fast.
    low = trend.low if over else max(0.0, trend.low)
    ahead = None if over else forecast(moment.limit_bytes, moment.rss_bytes, trend)
    left_s = ahead.seconds if ahead is not None else None
    headroom = headroom_bytes(moment.rss_bytes, moment.limit_bytes)
    watched = _span(finding.evidence.watched_s)
    if finding.earlier_s > 0.0:
        watched += f" and {_span(finding.earlier_s)} in earlier lives"
    if finding.by_day:
        watched += " from day to day"
    why = f"{_mb_per_hour(trend.slope)} for {watched}, {finding.strength:.1f} times the patience it needs"
    return LeakAlert(
        event="memleak.resolved" if over else "memleak.leak",
        id=moment.id,
        severity=moment.severity,
        reason=rules.reason(finding.evidence.trend, headroom, moment.limit_bytes),
        time_s=moment.time_s,
        rss_bytes=moment.rss_bytes,
        baseline_bytes=moment.baseline_bytes,
        growth_bytes_per_hour=trend.slope * _HOUR,
        growth_bytes_per_hour_low=low * _HOUR,
        growth_bytes_per_hour_high=trend.high * _HOUR,
        confidence=1.0 - _DOUBT_AT_VERDICT / max(1.0, finding.strength),
        onset_s=onset_s,
        growth_bytes=max(0.0, progress.growth_bytes),
        limit_bytes=moment.limit_bytes,
        time_to_limit_s=left_s,
        time_to_limit_low_s=ahead.low if ahead is not None else None,
        time_to_limit_high_s=ahead.high if ahead is not None else None,
        pattern=progress.pattern,
        growth_bytes_per_request=None if over else context.bytes_per_request,
        why=progress.ending
        if over
        else "; ".join((why, rules.why(trend, headroom, left_s), *context.remarks)),
    )


def carried_over_alert(moment: Moment, rules: GrowthRules, slope: float) -> LeakAlert:
    """The end of a leak that an earlier process had.

    Args:
        moment: The sample that decided.
        rules: What its rate amounts to.
        slope: Bytes per second it grew then.
    """
    return LeakAlert(
        event="memleak.resolved",
        id=moment.id,
        severity=moment.severity,
        reason=rules.reason_of_rate(
            slope, headroom_bytes(moment.rss_bytes, moment.limit_bytes), moment.limit_bytes
        ),
        time_s=moment.time_s,
        rss_bytes=moment.rss_bytes,
        baseline_bytes=moment.baseline_bytes,
        growth_bytes_per_hour=0.0,
        limit_bytes=moment.limit_bytes,
        why="the growth has not come back after the restart",
    )


def rss_alert(moment: Moment, threshold_bytes: float | None, remark: str = "", *, over: bool) -> LeakAlert:
    """An alert about resident memory itself, and what there is to remark on it."""
    at = "" if threshold_bytes is None else f" ({threshold_bytes / MB:.0f} MB)"
    why = (
        "resident memory is below its thresholds again" if over else f"at or above rss_{moment.severity}{at}"
    )
    if remark and not over:
        why = f"{why}; {remark}"
    return LeakAlert(
        event="memleak.resolved" if over else "memleak.rss",
        id=moment.id,
        severity=moment.severity,
        reason="rss",
        time_s=moment.time_s,
        rss_bytes=moment.rss_bytes,
        baseline_bytes=moment.baseline_bytes,
        limit_bytes=moment.limit_bytes,
        threshold_bytes=threshold_bytes,
        why=why,
    )


def _mb_per_hour(slope: float) -> str:
    return f"{slope * _HOUR / MB:.3g} MB/h"


def _span(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 2.0 * _HOUR else f"{seconds / _HOUR:.1f} h"
