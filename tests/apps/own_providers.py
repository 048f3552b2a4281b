"""Instruments before or after the SDK is configured, once or twice, and prints what came out as JSON.

python own_providers.py before|after|twice
"""

from __future__ import annotations

import json
import sys
import time

import psutil
from opentelemetry import _logs, metrics, trace

from otel import InMemoryTelemetry
from otel_memleak import MemLeakInstrumentor

BALLAST_BYTES = 80 * 2**20
QUICK = {
    "sampling_interval": 20,
    "baseline_window": 200,
    "patience": 1000,
    "rss_warning": psutil.Process().memory_info().rss // 2**20 + 40,  # crossed by the ballast, in the request
    "rss_critical": 0,
}


def configure() -> InMemoryTelemetry:
    """Make in-memory providers the global ones, as an application does at start-up."""
    telemetry = InMemoryTelemetry()
    metrics.set_meter_provider(telemetry.meter_provider)
    trace.set_tracer_provider(telemetry.tracer_provider)
    _logs.set_logger_provider(telemetry.logger_provider)
    return telemetry


def main(order: str) -> None:
    """Watch for a moment and print."""
    instrumentor = MemLeakInstrumentor()
    if order == "after":
        telemetry = configure()
        instrumentor.instrument(**QUICK)
    elif order == "before":
        instrumentor.instrument(**{**QUICK, "rss_warning": 0})
        telemetry = configure()
        instrumentor.uninstrument()
        instrumentor.instrument(**QUICK)
    else:
        telemetry = configure()
        instrumentor.instrument(**{**QUICK, "rss_warning": 0})
        instrumentor.uninstrument()
        instrumentor.instrument(**QUICK, **telemetry.providers)
    with trace.get_tracer("app").start_as_current_span("request"):
        ballast = bytearray(b"x") * BALLAST_BYTES
        deadline = time.monotonic() + 10
        while not (telemetry.logs() and telemetry.spans()) and time.monotonic() < deadline:
            time.sleep(0.02)
    points = telemetry.metrics()
    instrumentor.uninstrument()
    del ballast  # not before: memory that comes back while it is watched is news of its own
    print(
        json.dumps(
            {
                "metrics": sorted(points),
                "rss": [p.value for p in points.get("memleak.process.rss", [])],
                "logs": [r.log_record.event_name for r in telemetry.logs()],
                "spans": {span.name: [e.name for e in span.events] for span in telemetry.spans()},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
