"""In-memory OpenTelemetry: real SDK providers, read back as plain values."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as logs_export
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# Its name until the SDK 1.39.
_LogExporter: Any = getattr(logs_export, "InMemoryLogRecordExporter", None) or logs_export.InMemoryLogExporter


class InMemoryTelemetry:
    """Three providers whose output is kept in memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self._logs = _LogExporter()
        self.meter_provider = MeterProvider(metric_readers=[self._reader])
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.logger_provider = LoggerProvider()
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    @property
    def providers(self) -> dict[str, Any]:
        """Keywords for ``instrument()``."""
        return {
            "meter_provider": self.meter_provider,
            "tracer_provider": self.tracer_provider,
            "logger_provider": self.logger_provider,
        }

    def metrics(self) -> dict[str, list[Any]]:
        """Data points by metric name, as one collection sees them."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def raw_metrics(self) -> list[Any]:
        """Metrics with their scope, as ``(scope, metric)``."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            (scope.scope, metric)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def logs(self) -> tuple[Any, ...]:
        """Log records so far."""
        return self._logs.get_finished_logs()

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Ended spans so far."""
        return self._spans.get_finished_spans()

    def shutdown(self) -> None:
        """Shut the providers down."""
        self.meter_provider.shutdown()
        self.tracer_provider.shutdown()
        self.logger_provider.shutdown()
