"""Puts what is known into an alert."""

from __future__ import annotations

from typing import NamedTuple

from otel_memleak.detector._forecast import forecast
from otel_memleak.detector._progress import Progress
from otel_memleak.detector._witnesses import Context
from otel_memleak.types import MB, LeakAlert, Reason, Severity

_HOUR = 3600.0
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


class GrowthRules(NamedTuple):
    """What makes growth a matter of rate, and of severity.

    Attributes:
        warning: Bytes per second from which the rate is the reason.
        critical: Bytes per second from which it is critical.
        near_s: Seconds to the limit from which it is critical at any rate.
    """

    warning: float
    critical: float
    near_s: float

    def severity(self, slope: float, left_s: float | None) -> Severity:
        near = left_s is not None and left_s <= self.near_s
        return "critical" if near or slope >= self.critical else "warning"

    def reason(self, slope: float, limit_bytes: float | None) -> Reason:
        return "growth" if limit_bytes is None or slope >= self.warning else "forecast"

    def why(self, slope: float, left_s: float | None) -> str:
        if slope >= self.critical:
            return f"at or above growth_critical ({_mb_per_hour(self.critical)})"
        if left_s is not None and left_s <= self.near_s:
            return f"the limit is less than {_span(self.near_s)} away"
        if slope >= self.warning:
            return f"at or above growth_warning ({_mb_per_hour(self.warning)})"
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
    watched = _span(finding.evidence.span_s)
    if finding.earlier_s > 0.0:
        watched += f" and {_span(finding.earlier_s)} in earlier lives"
    why = f"{_mb_per_hour(trend.slope)} for {watched}, {finding.strength:.1f} times the patience it needs"
    return LeakAlert(
        event="memleak.resolved" if over else "memleak.leak",
        id=moment.id,
        severity=moment.severity,
        reason=rules.reason(finding.evidence.trend.slope, moment.limit_bytes),
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
        why=progress.ending if over else "; ".join((why, rules.why(trend.slope, left_s), *context.remarks)),
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
        reason=rules.reason(slope, moment.limit_bytes),
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
