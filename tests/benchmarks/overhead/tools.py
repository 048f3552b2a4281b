"""What people put into a process to watch its memory, each switched on as its documentation says.

Whatever polls does so once a second, ours too, which is sixty times its default. Imported by the
measured process: a tool's own imports are part of what it costs.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

POLL_S = 1.0
KEPT: list[Any] = []


def every_second(look: Callable[[], object]) -> None:
    """A daemon thread of the simplest kind."""

    def run() -> None:
        while True:
            look()
            time.sleep(POLL_S)

    threading.Thread(target=run, daemon=True).start()


def bare() -> None:
    """Nothing at all."""


def psutil_thread() -> None:
    """The thread that everybody writes first."""
    import psutil

    process = psutil.Process()
    every_second(process.memory_info)


def sdk() -> dict[str, Any]:
    """The OpenTelemetry SDK with all three signals, collecting once a second, exporting nowhere.

    With the base of all instrumentations, which is there already where the launcher has been at work.
    """
    import opentelemetry.instrumentation.instrumentor  # noqa: F401
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    reader = InMemoryMetricReader()
    providers = {
        "meter_provider": MeterProvider(metric_readers=[reader]),
        "tracer_provider": TracerProvider(),
        "logger_provider": LoggerProvider(),
    }
    every_second(reader.get_metrics_data)
    return providers


def otel_memleak() -> None:
    """Ours, in the production tier, on that SDK."""
    providers = sdk()
    from otel_memleak import MemLeakInstrumentor

    MemLeakInstrumentor().instrument(sampling_interval=POLL_S * 1000, **providers)


def otel_memleak_development() -> None:
    """Ours, in the development tier: tracemalloc with one frame."""
    providers = sdk()
    from otel_memleak import MemLeakInstrumentor

    MemLeakInstrumentor().instrument(tier="development", sampling_interval=POLL_S * 1000, **providers)


def system_metrics() -> None:
    """OpenTelemetry's instrumentation of system and process metrics, with its default metrics."""
    providers = sdk()
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

    SystemMetricsInstrumentor().instrument(meter_provider=providers["meter_provider"])


def prometheus_client() -> None:
    """The default registry with its process, platform and GC collectors, scraped."""
    from prometheus_client import generate_latest

    every_second(generate_latest)


def tracemalloc_1() -> None:
    """One frame per allocation."""
    import tracemalloc

    tracemalloc.start(1)


def tracemalloc_25() -> None:
    """Twenty-five frames per allocation."""
    import tracemalloc

    tracemalloc.start(25)


def memray_live() -> None:
    """The live tracker, with a reader on the other end that asks once a second."""
    import socket

    import memray

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reader = (
        "import sys, time, memray\n"
        "with memray.SocketReader(port=int(sys.argv[1])) as reader:\n"
        "    while reader.is_active:\n"
        "        list(reader.get_current_snapshot(merge_threads=True)); time.sleep(1)\n"
    )
    KEPT.append(subprocess.Popen([sys.executable, "-c", reader, str(port)], stderr=subprocess.DEVNULL))
    tracker = memray.Tracker(destination=memray.SocketDestination(server_port=port))
    tracker.__enter__()
    KEPT.append(tracker)


def ddtrace_heap() -> None:
    """The heap collector of Datadog's profiler, without its other collectors and without its exporter."""
    from ddtrace.internal.datadog.profiling import ddup
    from ddtrace.profiling.collector import memalloc

    ddup.config(env="bench", service="bench", version="1")
    ddup.start()
    collector = memalloc.MemoryCollector()
    collector.start()
    KEPT.append(collector)


def pyroscope_memory() -> None:
    """Pyroscope's memory profiler alone, pushing to a port where nobody listens."""
    import pyroscope

    pyroscope.configure(
        application_name="bench",
        server_address="http://127.0.0.1:9",
        cpu_enabled=False,
        mem_enabled=True,
    )


def memwatcher() -> None:
    """Its watcher, without tracemalloc."""
    from memwatcher import MemoryWatcher

    watcher = MemoryWatcher(interval=POLL_S)
    watcher.start()
    KEPT.append(watcher)


def leak_hunter() -> None:
    """python-leak-hunter's sampler."""
    from leak_hunter import MemorySampler

    KEPT.append(MemorySampler(interval=POLL_S).start())


TOOLS: dict[str, Callable[[], object]] = {
    "bare process": bare,
    "psutil thread": psutil_thread,
    "OpenTelemetry SDK": sdk,
    "SDK + otel-memleak": otel_memleak,
    "SDK + system-metrics": system_metrics,
    "prometheus_client": prometheus_client,
    "memwatcher": memwatcher,
    "python-leak-hunter": leak_hunter,
    "pyroscope-io (memory)": pyroscope_memory,
    "ddtrace (heap collector)": ddtrace_heap,
    "memray (live tracker)": memray_live,
    "tracemalloc, 1 frame": tracemalloc_1,
    "tracemalloc, 25 frames": tracemalloc_25,
    "SDK + otel-memleak, development tier": otel_memleak_development,
}
