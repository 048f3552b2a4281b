"""Alerts and diagnoses as flat attributes of the wire contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_memleak import semconv
from otel_memleak.types import Diagnosis, LeakAlert, Origin, RouteSuspect
from otel_memleak.wording import plain

AttributeValue = str | float | int | list[str] | list[float]

SUSPECTS_AT_MOST: Final = 5

_LEAK: Final = (
    (semconv.GROWTH_RATE, "growth_bytes_per_hour"),
    (semconv.GROWTH_RATE_LOW, "growth_bytes_per_hour_low"),
    (semconv.GROWTH_RATE_HIGH, "growth_bytes_per_hour_high"),
)
_GROWTH: Final = (
    (semconv.GROWTH_PATTERN, "pattern"),
    (semconv.CONFIDENCE, "confidence"),
    (semconv.GROWTH_BYTES, "growth_bytes"),
    (semconv.GROWTH_ONSET, "onset_s"),
)
_PROCESS: Final = (
    (semconv.PROCESS_RSS, "rss_bytes"),
    (semconv.PROCESS_BASELINE, "baseline_bytes"),
    (semconv.PROCESS_LIMIT, "limit_bytes"),
    (semconv.TIME_TO_LIMIT, "time_to_limit_s"),
)
_BY_EVENT: Final = {
    semconv.EVENT_LEAK: _LEAK + _GROWTH + _PROCESS,
    semconv.EVENT_RSS: _PROCESS,
    semconv.EVENT_RESOLVED: _LEAK,
}
_WHOLE_BYTES: Final = {
    semconv.GROWTH_BYTES,
    semconv.PROCESS_RSS,
    semconv.PROCESS_BASELINE,
    semconv.PROCESS_LIMIT,
}


def alert_attributes(
    alert: LeakAlert, routes: Sequence[RouteSuspect] = (), origin: Origin | None = None
) -> dict[str, AttributeValue]:
    """Attributes of one alert, the same on every signal it is sent as.

    Byte quantities are integers, rates and times are doubles; what is unknown is absent.

    Args:
        alert: What the detector decided.
        routes: Entry points known to leave memory behind, worst first; only a leak carries them.
        origin: What kind of memory grows, when that is known already; only a leak carries it.
    """
    attributes: dict[str, AttributeValue] = {semconv.ALERT_ID: alert.id}
    if alert.event != semconv.EVENT_RESOLVED:
        attributes[semconv.ALERT_SEVERITY] = alert.severity
        attributes[semconv.ALERT_REASON] = alert.reason
    for key, field in _BY_EVENT[alert.event]:
        value: str | float | None = getattr(alert, field)
        if value is None:
            continue
        if isinstance(value, str):
            attributes[key] = value
        else:
            attributes[key] = int(value) if key in _WHOLE_BYTES else float(value)
    if alert.event == semconv.EVENT_LEAK:
        attributes |= _route_attributes(routes)
        if origin is not None:
            attributes[semconv.ORIGIN] = origin
    return attributes


def diagnosis_attributes(diagnosis: Diagnosis) -> dict[str, AttributeValue]:
    """Attributes of one diagnosis: parallel arrays, worst first; an unknown cell is ``""`` or 0."""
    attributes: dict[str, AttributeValue] = {
        semconv.ALERT_ID: diagnosis.alert_id,
        semconv.ORIGIN: diagnosis.origin,
    }
    suspects = diagnosis.suspects[:SUSPECTS_AT_MOST]
    if suspects:
        attributes[semconv.SUSPECT_TYPE] = [plain(suspect.type) for suspect in suspects]
        attributes[semconv.SUSPECT_OWNER] = [plain(suspect.owner) for suspect in suspects]
        attributes[semconv.SUSPECT_SITE] = [plain(suspect.site) for suspect in suspects]
        attributes[semconv.SUSPECT_GROWTH] = [float(suspect.growth_bytes_per_hour) for suspect in suspects]
    return attributes | _route_attributes(diagnosis.routes)


def _route_attributes(routes: Sequence[RouteSuspect]) -> dict[str, AttributeValue]:
    if not routes:
        return {}
    return {
        semconv.SUSPECT_ROUTE: [plain(route.route) for route in routes[:SUSPECTS_AT_MOST]],
        semconv.SUSPECT_ROUTE_BYTES_PER_CALL: [float(r.bytes_per_call) for r in routes[:SUSPECTS_AT_MOST]],
    }
