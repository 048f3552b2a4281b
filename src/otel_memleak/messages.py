"""An alert as one sentence a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_memleak.types import MB, Diagnosis, LeakAlert, LimitSource, Origin, RouteSuspect, Suspect

_LIMIT_NAMES: Final[dict[LimitSource, str]] = {
    "cgroup": "cgroup limit",
    "rlimit": "address-space limit",
    "configured": "configured limit",
    "host": "memory of the host",
}


def format_mb(size_bytes: float) -> str:
    """Megabytes with three significant figures: ``0.52``, ``12.3``, ``4,812``."""
    mb = size_bytes / MB
    if abs(mb) >= 100:
        return f"{mb:,.0f}"
    return f"{mb:.1f}" if abs(mb) >= 10 else f"{mb:.2f}".rstrip("0").rstrip(".") or "0"


def format_size(size_bytes: float) -> str:
    """A small amount in its natural unit: ``812 B``, ``9.6 KB``, ``1.5 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    return f"{size_bytes / 1024:.1f} KB" if size_bytes < 1000 * 1024 else f"{format_mb(size_bytes)} MB"


def format_duration(seconds: float) -> str:
    """A duration in its natural unit: ``40 s``, ``42 min``, ``3.1 h``, ``12 d``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d" if seconds < 10 * 86400 else f"{seconds / 86400:.0f} d"


_ORIGINS: Final[dict[Origin, str]] = {
    "python": "memory in Python's allocator grows",
    "native": "native memory grows, outside of Python's allocator",
    "fragmentation": "memory is free but fragmented, not leaked",
    "unknown": "what grows is not known",
}


def sentence(
    alert: LeakAlert, limit_source: LimitSource | None = None, routes: Sequence[RouteSuspect] = ()
) -> str:
    """The alert in one sentence.

    Args:
        alert: What the detector decided.
        limit_source: Who set ``alert.limit_bytes``, if anybody knows.
        routes: Entry points known to leave memory behind, worst first.

    Returns:
        Plain text without a final full stop.
    """
    if alert.event == "memleak.rss":
        return _rss(alert, limit_source)
    if alert.event == "memleak.resolved":
        return _resolved(alert)
    clauses = [_growth(alert)]
    if alert.time_to_limit_s is not None and alert.limit_bytes is not None:
        remaining = format_duration(alert.time_to_limit_s)
        clauses.append(f"{remaining} to the {format_mb(alert.limit_bytes)} MB {_limit_name(limit_source)}")
    elif alert.baseline_bytes is not None:
        clauses.append(f"now {format_mb(alert.rss_bytes)} MB from {format_mb(alert.baseline_bytes)} MB")
    if routes:
        clauses.append(_route(routes[0]))
    return "; ".join(clauses)


def diagnosis_sentence(diagnosis: Diagnosis) -> str:
    """The diagnosis in one sentence: what, who holds it, how much of the growth it is, what to do."""
    clauses = [_suspect(diagnosis.suspects[0]) if diagnosis.suspects else _ORIGINS[diagnosis.origin]]
    if diagnosis.routes:
        clauses.append(_route(diagnosis.routes[0]))
    clauses += [clause for clause in (diagnosis.advice, diagnosis.limits) if clause]
    return "; ".join(clauses)


def _suspect(suspect: Suspect) -> str:
    what = suspect.type or "memory"
    if suspect.growth_count_per_hour >= 1:
        what = f"+{suspect.growth_count_per_hour:,.0f} {what}/h"
    text = f"{what}, {format_mb(suspect.growth_bytes_per_hour)} MB/h"
    if suspect.share > 0:
        text += f" ({100 * min(1.0, suspect.share):.0f} % of the growth)"
    if suspect.owner:
        text += f", held by {suspect.owner}"
    if suspect.site:
        text += f", allocated at {suspect.site}"
    return text


def _route(route: RouteSuspect) -> str:
    call = "recorded call" if route.approximate else "call"
    return f"{format_size(route.bytes_per_call)} per {call} of {route.route}"


def _growth(alert: LeakAlert) -> str:
    text = "RSS grew"
    if alert.growth_bytes_per_hour is not None:
        text += f" {format_mb(alert.growth_bytes_per_hour)} MB/h"
    if alert.onset_s is not None:
        text += f" for {format_duration(max(0.0, alert.time_s - alert.onset_s))}"
    if alert.growth_bytes_per_hour_low is not None and alert.growth_bytes_per_hour_high is not None:
        low, high = alert.growth_bytes_per_hour_low, alert.growth_bytes_per_hour_high
        text += f" (95 % {format_mb(low)}–{format_mb(high)})"
    if alert.growth_bytes_per_request is not None:
        text += f", {format_size(alert.growth_bytes_per_request)} per request"
    return text


def _rss(alert: LeakAlert, limit_source: LimitSource | None) -> str:
    text = f"RSS is {format_mb(alert.rss_bytes)} MB"
    if alert.threshold_bytes is not None:
        text += f", above the {alert.severity} threshold of {format_mb(alert.threshold_bytes)} MB"
    if alert.limit_bytes is not None:
        share = 100 * alert.rss_bytes / alert.limit_bytes
        text += f"; {share:.0f} % of the {format_mb(alert.limit_bytes)} MB {_limit_name(limit_source)}"
    return text


def _resolved(alert: LeakAlert) -> str:
    if alert.reason == "rss":
        return f"RSS is back below its threshold at {format_mb(alert.rss_bytes)} MB"
    return f"RSS no longer grows; it is {format_mb(alert.rss_bytes)} MB"


def _limit_name(limit_source: LimitSource | None) -> str:
    return _LIMIT_NAMES[limit_source] if limit_source is not None else "limit"
