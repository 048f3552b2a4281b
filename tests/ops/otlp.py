"""Our OTLP as a fleet of processes would send it, made without processes."""

from __future__ import annotations

import os
import ssl
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_memleak import semconv
from otel_memleak.types import REASONS, SEVERITIES, STATES

CUMULATIVE = 2
ATTRIBUTE_VALUES: dict[str, tuple[str, ...]] = {
    semconv.STATE: STATES,
    semconv.ALERT_SEVERITY: SEVERITIES,
    semconv.ALERT_REASON: REASONS,
    semconv.LIMIT_SOURCE: ("cgroup",),
}


def send(url: str, body: bytes, context: ssl.SSLContext | None = None) -> None:
    """Post one OTLP request; raises ``urllib.error.URLError`` when it is not taken."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-protobuf"})
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        answer.read()


def resource(service: str, instance: str, version: str = "1.0.0") -> Resource:
    """A process as the SDK describes it."""
    return Resource(
        attributes=[
            _text("service.name", service),
            _text("service.version", version),
            _text("service.instance.id", instance),
            _text("telemetry.sdk.language", "python"),
            _text("telemetry.sdk.name", "opentelemetry"),
            _text("telemetry.sdk.version", "1.45.2"),
        ]
    )


def metrics(service: str, instance: str) -> bytes:
    """One export of every metric of the package by one process."""
    request = ExportMetricsServiceRequest()
    of_process = request.resource_metrics.add(resource=resource(service, instance))
    scope = of_process.scope_metrics.add(schema_url=semconv.SCHEMA_URL)
    scope.scope.name = semconv.SCOPE
    now = time.time_ns()
    for metric in semconv.METRICS:
        one = scope.metrics.add(name=metric.name, unit=metric.unit, description=metric.description)
        if metric.instrument == "Histogram":
            _add_histogram(one, now)
            continue
        kind = one.sum if metric.instrument == "ObservableCounter" else one.gauge
        if metric.instrument == "ObservableCounter":
            one.sum.aggregation_temporality = CUMULATIVE
            one.sum.is_monotonic = True
        for attributes in _combinations(metric.attributes):
            point = kind.data_points.add(time_unix_nano=now, start_time_unix_nano=now - 10**9, as_double=1.0)
            point.attributes.extend(attributes)
    return request.SerializeToString()


def points_per_export() -> int:
    """Data points in one export of one process."""
    return sum(len(list(_combinations(metric.attributes))) for metric in semconv.METRICS)


def leak_record(alert_id: str, service: str = "fleet", instance: str = "1") -> bytes:
    """The log record of a leak."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=resource(service, instance)).scope_logs.add()
    scope.scope.name = semconv.SCOPE
    record = scope.log_records.add(
        time_unix_nano=time.time_ns(), severity_number=17, event_name=semconv.EVENT_LEAK
    )
    record.body.string_value = (
        "RSS grew 12.3 MB/h for 42 min (95 % 11.8–12.9); 3.1 h to the 512 MB cgroup limit"
    )
    record.attributes.extend(_incident(alert_id))
    return request.SerializeToString()


def leak_span(alert_id: str, trace_id: bytes, service: str = "fleet", instance: str = "1") -> bytes:
    """The root span of a leak with its event."""
    event = semconv.EVENT_LEAK
    return span(event, trace_id, event=event, alert_id=alert_id, service=service, instance=instance)


def span(
    name: str,
    trace_id: bytes,
    event: str = "",
    alert_id: str = "",
    error: bool = False,
    service: str = "fleet",
    instance: str = "1",
) -> bytes:
    """One span, with an event of that name if it has one, and of an incident if it has one."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add(resource=resource(service, instance)).scope_spans.add()
    scope.scope.name = semconv.SCOPE
    now = time.time_ns()
    made = scope.spans.add(
        trace_id=trace_id, span_id=os.urandom(8), name=name, kind=1,
        start_time_unix_nano=now, end_time_unix_nano=now,
    )  # fmt: skip
    incident = _incident(alert_id) if alert_id else []
    if name == event:
        made.attributes.extend(incident)
    if event:
        made.events.add(time_unix_nano=now, name=event).attributes.extend(incident)
    if error:
        made.status.code = Status.STATUS_CODE_ERROR
    return request.SerializeToString()


def alert_ids(batch: dict[str, Any]) -> Iterator[str]:
    """Ids of the incidents in a batch of log records in OTLP's JSON."""
    for of_process in batch["resourceLogs"]:
        for scope in of_process["scopeLogs"]:
            for record in scope["logRecords"]:
                for one in record.get("attributes", []):
                    if one["key"] == semconv.ALERT_ID:
                        yield one["value"]["stringValue"]


def _incident(alert_id: str) -> list[KeyValue]:
    return [
        _text(semconv.ALERT_ID, alert_id),
        _text(semconv.ALERT_SEVERITY, "critical"),
        _text(semconv.ALERT_REASON, "growth"),
        KeyValue(key=semconv.GROWTH_RATE, value=AnyValue(double_value=1.3e7)),
        KeyValue(key=semconv.PROCESS_RSS, value=AnyValue(int_value=400 << 20)),
        KeyValue(key=semconv.PROCESS_LIMIT, value=AnyValue(int_value=512 << 20)),
    ]


def _add_histogram(metric: Any, now: int) -> None:
    metric.histogram.aggregation_temporality = CUMULATIVE
    counts = [0] * (len(semconv.RSS_BUCKETS_BYTES) + 1)
    counts[4] = 60
    metric.histogram.data_points.add(
        time_unix_nano=now, start_time_unix_nano=now - 10**9, count=60, sum=6e9,
        explicit_bounds=semconv.RSS_BUCKETS_BYTES, bucket_counts=counts,
    )  # fmt: skip


def _combinations(keys: tuple[str, ...]) -> Iterator[list[KeyValue]]:
    if not keys:
        yield []
        return
    for value in ATTRIBUTE_VALUES[keys[0]]:
        for rest in _combinations(keys[1:]):
            yield [_text(keys[0], value), *rest]


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
