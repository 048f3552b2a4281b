"""From a serialized OTLP export request to the store's plain values.

A request that is not one raises ValueError; a field or value this module does not know is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogRecordMessage
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from otel_memleak.cli._telemetry import (
    AttributeValue,
    Distribution,
    LogRecord,
    MetricKind,
    MetricPoint,
    Process,
    Scope,
    Span,
    SpanEvent,
    SpanLink,
)

_Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint

_SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_CODES: Final = ("unset", "ok", "error")


def metric_points(body: bytes) -> list[MetricPoint]:
    """Decodes every point of a metrics export request."""
    try:
        return list(_metric_points(ExportMetricsServiceRequest.FromString(body)))
    except DecodeError as error:
        raise ValueError(str(error)) from None


def log_records(body: bytes) -> list[LogRecord]:
    """Decodes every record of a logs export request."""
    try:
        return list(_log_records(ExportLogsServiceRequest.FromString(body)))
    except DecodeError as error:
        raise ValueError(str(error)) from None


def spans(body: bytes) -> list[Span]:
    """Decodes every span of a trace export request."""
    try:
        return list(_spans(ExportTraceServiceRequest.FromString(body)))
    except DecodeError as error:
        raise ValueError(str(error)) from None


def _metric_points(request: ExportMetricsServiceRequest) -> Iterator[MetricPoint]:
    for resource_metrics in request.resource_metrics:
        process = _process(resource_metrics.resource)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = _scope(scope_metrics.scope, scope_metrics.schema_url)
            for metric in scope_metrics.metrics:
                for point in _points(metric):
                    yield _metric_point(process, scope, metric, point)


def _log_records(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for resource_logs in request.resource_logs:
        process = _process(resource_logs.resource)
        for scope_logs in resource_logs.scope_logs:
            scope = _scope(scope_logs.scope, scope_logs.schema_url)
            for record in scope_logs.log_records:
                yield _log_record(process, scope, record)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        process = _process(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            scope = _scope(scope_spans.scope, scope_spans.schema_url)
            for span in scope_spans.spans:
                yield _span(process, scope, span)


def any_value(value: AnyValue) -> AttributeValue:
    """Decodes one attribute value or body; an unset one is None."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [any_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "int_value":
        return value.int_value
    if kind == "double_value":
        return value.double_value
    if kind == "bytes_value":
        return value.bytes_value
    return None


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, AttributeValue]:
    return {pair.key: any_value(pair.value) for pair in pairs}


def _process(resource: Resource) -> Process:
    return Process.of(_attributes(resource.attributes))


def _scope(scope: InstrumentationScope, schema_url: str) -> Scope:
    return Scope(scope.name, scope.version, schema_url)


def _points(metric: Metric) -> Iterable[_Point]:
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        return metric.gauge.data_points
    if kind == "sum":
        return metric.sum.data_points
    if kind == "histogram":
        return metric.histogram.data_points
    if kind == "exponential_histogram":
        return metric.exponential_histogram.data_points
    if kind == "summary":
        return metric.summary.data_points
    return ()


def _kind(metric: Metric) -> MetricKind:
    kind = metric.WhichOneof("data")
    if kind == "sum":
        return "counter" if metric.sum.is_monotonic else "updowncounter"
    return kind or "unknown"


def _metric_point(process: Process, scope: Scope, metric: Metric, point: _Point) -> MetricPoint:
    return MetricPoint(
        process=process,
        scope=scope,
        name=metric.name,
        unit=metric.unit,
        kind=_kind(metric),
        attributes=_attributes(point.attributes),
        time_unix_ns=point.time_unix_nano,
        value=_number(point) if isinstance(point, NumberDataPoint) else None,
        distribution=None if isinstance(point, NumberDataPoint) else _distribution(point),
        description=metric.description,
    )


def _number(point: NumberDataPoint) -> int | float:
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _distribution(
    point: HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint,
) -> Distribution:
    if isinstance(point, SummaryDataPoint):
        return Distribution(count=point.count, sum=point.sum)
    if isinstance(point, HistogramDataPoint):
        bounds, buckets = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    else:
        bounds, buckets = (), tuple(point.positive.bucket_counts)
    return Distribution(
        count=point.count,
        sum=point.sum,
        bounds=bounds,
        bucket_counts=buckets,
        min=point.min if point.HasField("min") else None,
        max=point.max if point.HasField("max") else None,
    )


def _log_record(process: Process, scope: Scope, record: LogRecordMessage) -> LogRecord:
    return LogRecord(
        process=process,
        scope=scope,
        event_name=record.event_name,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        body=any_value(record.body),
        attributes=_attributes(record.attributes),
        time_unix_ns=record.time_unix_nano,
        observed_time_unix_ns=record.observed_time_unix_nano,
        trace_id=_hex_id(record.trace_id),
        span_id=_hex_id(record.span_id),
    )


def _span(process: Process, scope: Scope, span: SpanMessage) -> Span:
    return Span(
        process=process,
        scope=scope,
        name=span.name,
        kind=_SPAN_KINDS[span.kind] if 0 <= span.kind < len(_SPAN_KINDS) else _SPAN_KINDS[0],
        trace_id=_hex_id(span.trace_id),
        span_id=_hex_id(span.span_id),
        parent_span_id=_hex_id(span.parent_span_id),
        start_unix_ns=span.start_time_unix_nano,
        end_unix_ns=span.end_time_unix_nano,
        status=_STATUS_CODES[span.status.code] if 0 <= span.status.code < len(_STATUS_CODES) else "unset",
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
        links=tuple(
            SpanLink(_hex_id(link.trace_id), _hex_id(link.span_id), _attributes(link.attributes))
            for link in span.links
        ),
    )


def _hex_id(raw: bytes) -> str:
    return raw.hex() if any(raw) else ""
