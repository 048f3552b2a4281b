"""The only code that knows OpenTelemetry's API: values in, metrics, log records and span events out."""

from __future__ import annotations

from otel_memleak.emission.alerts import Alerts, Notice
from otel_memleak.emission.metrics import Metrics

__all__ = ["Alerts", "Metrics", "Notice"]
