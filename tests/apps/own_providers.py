"""Instruments before or after the SDK is configured, once or twice, and prints what came out as JSON.

python own_providers.py before|after|twice|beside|replaced|flushed|shut-down

``beside``: a second meter provider of the application's. ``replaced``: other global providers, as a vendor's agent
puts them in place of those that were there. ``flushed``: all the time. ``shut-down``: under us, and new ones given.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def replace_global(telemetry: InMemoryTelemetry) -> None:
    """What an agent does that comes late: set-once is for the polite."""
    trace._TRACER_PROVIDER = telemetry.tracer_provider
    _logs._internal._LOGGER_PROVIDER = telemetry.logger_provider


@contextmanager
def flushing(telemetry: InMemoryTelemetry, *, enabled: bool) -> Iterator[None]:
    """Flush all providers without a pause, on a thread of its own."""
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(0.001):
            for provider in telemetry.providers.values():
                provider.force_flush()

    thread = threading.Thread(target=flush)
    if enabled:
        thread.start()
    yield
    stop.set()
    if enabled:
        thread.join()


def the_engine() -> Any:
    """That of this process, without the moment that it takes its time to load."""
    standby: Any = MemLeakInstrumentor()._standby
    return standby.load()


def samples() -> int:
    engine = the_engine()
    return engine.status.samples if engine.status is not None else 0


def wait_for_samples(count: int) -> None:
    wanted, deadline = samples() + count, time.monotonic() + 10
    while samples() < wanted:
        assert time.monotonic() < deadline, "it is not watched any more"
        time.sleep(0.02)


def shut_down_under_it(telemetry: InMemoryTelemetry) -> None:
    """Watch on, with nobody there to tell; then everything anew."""
    instrumentor = MemLeakInstrumentor()
    instrumentor.instrument(**QUICK)
    telemetry.shutdown()
    ballast = bytearray(b"x") * BALLAST_BYTES
    engine = the_engine()
    deadline = time.monotonic() + 10
    while not any(engine.alert_counts.values()) and time.monotonic() < deadline:
        time.sleep(0.02)
    wait_for_samples(5)
    assert any(engine.alert_counts.values())
    assert engine.swallowed_errors == 0
    del ballast
    instrumentor.uninstrument()


def main(order: str) -> None:
    """Watch for a moment and print."""
    instrumentor = MemLeakInstrumentor()
    other = InMemoryTelemetry()
    if order == "after":
        telemetry = configure()
        instrumentor.instrument(**QUICK)
    elif order == "before":
        instrumentor.instrument(**{**QUICK, "rss_warning": 0})
        telemetry = configure()
        instrumentor.uninstrument()
        instrumentor.instrument(**QUICK)
    elif order == "beside":
        other.meter_provider.get_meter("theirs").create_counter("theirs").add(1)
        telemetry = configure()
        instrumentor.instrument(**QUICK)
    elif order == "replaced":
        other = configure()
        instrumentor.instrument(**QUICK)
        telemetry = InMemoryTelemetry()
        replace_global(telemetry)
        wait_for_samples(2)  # it is noticed at the next one
    elif order == "flushed":
        telemetry = configure()
        instrumentor.instrument(**QUICK)
    elif order == "shut-down":
        shut_down_under_it(configure())
        telemetry = InMemoryTelemetry()
        replace_global(telemetry)
        instrumentor.instrument(**QUICK, **telemetry.providers)
    else:
        telemetry = configure()
        instrumentor.instrument(**{**QUICK, "rss_warning": 0})
        instrumentor.uninstrument()
        instrumentor.instrument(**QUICK, **telemetry.providers)
    with (
        flushing(telemetry, enabled=order == "flushed"),
        trace.get_tracer_provider().get_tracer("app").start_as_current_span("request"),
    ):
        ballast = bytearray(b"x") * BALLAST_BYTES
        deadline = time.monotonic() + 10
        while not (telemetry.logs() and telemetry.spans()) and time.monotonic() < deadline:
            time.sleep(0.02)
    points = (other if order == "replaced" else telemetry).metrics()
    instrumentor.uninstrument()
    del ballast  # not before: memory that comes back while it is watched is news of its own
    print(
        json.dumps(
            {
                "metrics": sorted(points),
                "elsewhere": sorted({} if order == "replaced" else other.metrics()),
                "rss": [p.value for p in points.get("memleak.process.rss", [])],
                "logs": [r.log_record.event_name for r in telemetry.logs()],
                "spans": {span.name: [e.name for e in span.events] for span in telemetry.spans()},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
