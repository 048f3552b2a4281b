"""We never leak: this package does its work very often, and memory, threads, descriptors and objects stay flat.

python tests/benchmarks/soak.py [--cycles N] [--samples N] [--alerts N] [--names N] [--requests N]
    [--types N] [--seconds N]

Prints a table and exits with 1 when something has grown.
"""

from __future__ import annotations

import argparse
import gc
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from otel_memleak import MemLeakInstrumentor
from otel_memleak.diagnosis.census import Census, CensusBudget, Refusal, take_census
from otel_memleak.emission import Alerts, Metrics
from otel_memleak.engine import Engine
from otel_memleak.guard import Guard
from otel_memleak.routes.watch import RouteWatch
from otel_memleak.settings import resolve
from otel_memleak.surroundings import Surroundings
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, MemoryLimit

APP: Final = Path(__file__).parent.parent / "apps" / "service.py"
WEEK_S: Final = 7 * 24 * 3600
RSS_MB_AT_MOST: Final = 3.0
OBJECTS_AT_MOST: Final = 100
"""What allocators and caches of the interpreter may do; a leak of one object per round is thousands."""


class DroppingSpans(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class DroppingLogs(LogRecordExporter):
    def export(self, batch: Any) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is open."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class Sdk:
    """Real providers that throw away what they are given."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        tracer, logger = TracerProvider(), LoggerProvider()
        tracer.add_span_processor(SimpleSpanProcessor(DroppingSpans()))
        logger.add_log_record_processor(SimpleLogRecordProcessor(DroppingLogs()))
        meter = MeterProvider(metric_readers=[self.reader])
        self.providers: dict[str, Any] = {
            "meter_provider": meter, "tracer_provider": tracer, "logger_provider": logger,
        }  # fmt: skip


complaints: list[str] = []
"""What was wrong besides sizes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The size of a process."""

    rss_mb: float
    threads: int
    descriptors: int
    objects: int

    @classmethod
    def here(cls) -> Reading:
        gc.collect()
        return cls.of(psutil.Process(), len(gc.get_objects()))

    @classmethod
    def of(cls, process: psutil.Process, objects: int = 0) -> Reading:
        return cls(process.memory_info().rss / MB, process.num_threads(), process.num_fds(), objects)

    def is_flat_since(self, before: Reading) -> bool:
        return (
            self.rss_mb - before.rss_mb <= RSS_MB_AT_MOST
            and self.threads <= before.threads
            and self.descriptors <= before.descriptors
            and self.objects - before.objects <= OBJECTS_AT_MOST
        )


def repeat(times: int, step: Callable[[], object]) -> tuple[Reading, Reading]:
    """Sizes after a tenth of the rounds, when every cache is full, and after all of them."""
    for _ in range(times // 10):
        step()
    before = Reading.here()
    for _ in range(times - times // 10):
        step()
    return before, Reading.here()


def cycles(times: int) -> tuple[Reading, Reading]:
    sdk = Sdk()

    def cycle() -> None:
        MemLeakInstrumentor().instrument(**sdk.providers)
        MemLeakInstrumentor().uninstrument()

    return repeat(times, cycle)


def simulated(
    sdk: Sdk, rss_bytes: Callable[[float], float], routes: RouteWatch | None = None, **settings: Any
) -> tuple[Engine, ManualClock]:
    clock = ManualClock()
    engine = Engine(
        resolve({"diagnosis": "off", **settings}, environ={}),
        Metrics(sdk.providers["meter_provider"]),
        Alerts(("log", "span_event"), sdk.providers["tracer_provider"], sdk.providers["logger_provider"]),
        routes,
        surroundings=Surroundings(
            clock=clock,
            read_rss_bytes=lambda: int(rss_bytes(clock.monotonic_s())),
            read_limit=lambda configured: MemoryLimit(512 * MB, "cgroup"),
        ),
    )
    engine._metrics.bind(engine)  # type: ignore[union-attr]
    return engine, clock


def wave(seconds: float) -> float:
    """A healthy service: a daily wave and some noise."""
    return (150 + 30 * math.sin(seconds / 86_400 * 2 * math.pi) + hash(seconds) % 5) * MB


def samples(times: int, interval_ms: int = 60_000) -> tuple[Reading, Reading]:
    sdk = Sdk()
    engine, clock = simulated(sdk, wave, sampling_interval=interval_ms)
    rounds = count()

    def sample() -> None:
        engine.tick()
        clock.advance(interval_ms / 1000)
        if next(rounds) % 1000 == 0:
            sdk.reader.get_metrics_data()

    return repeat(times, sample)


def alerts(times: int) -> tuple[Reading, Reading]:
    """Memory goes up and down through a threshold, and every crossing is told."""
    sdk = Sdk()
    engine, clock = simulated(
        sdk, lambda s: (300 if s // 600 % 2 else 100) * MB, sampling_interval=60_000, baseline_window=300_000,
        rss_warning=200, rss_critical=0, alert_interval=0,
    )  # fmt: skip
    told = count()

    def until_told() -> None:
        before = sum(engine.alert_counts.values())
        while sum(engine.alert_counts.values()) == before:
            engine.tick()
            clock.advance(60)
        next(told)

    return repeat(times, until_told)


def requests(times: int, between: int, name: Callable[[int], str]) -> tuple[Reading, Reading]:
    """Requests are counted, so many between two samples.

    Args:
        times: How many requests.
        between: How many of them between two samples.
        name: Of a request, by its number.
    """
    sdk = Sdk()
    provider = sdk.providers["tracer_provider"]
    routes = RouteWatch(provider, 60.0, Guard())
    engine, clock = simulated(sdk, wave, routes, sampling_interval=60_000)
    tracer, rounds = provider.get_tracer("app"), count()

    def request() -> None:
        number = next(rounds)
        tracer.start_span(name(number), kind=SpanKind.SERVER).end()
        if number % between == 0:
            engine.tick()
            clock.advance(60)

    return repeat(times, request)


def looks_at_types(size: int) -> tuple[Reading, Reading]:
    """The heap of a program that makes a class of everything, looked at again and again."""
    held = [type(f"Row{number}", (), {"__slots__": ("column",)})() for number in range(size)]
    looks: list[Census] = []

    def look() -> None:
        census = take_census(CensusBudget(), time.monotonic(), looks[-1:])
        if isinstance(census, Refusal):
            raise SystemExit(f"no census: {census.reason}")
        print(
            f"  {census.objects:,} objects, {len(census.summary):,} bytes kept; {census.limits}",
            file=sys.stderr,
        )
        looks[:] = [census]

    result = repeat(10, look)
    assert len(held) == size
    return result


def under_load(seconds: float) -> tuple[Reading, Reading]:
    """A real service under the real launcher, exporting to a receiver, beside its twin without this package.

    Read after a fifth and at the end; by what the twin has grown meanwhile (the SDK, the interpreter) the first
    reading is raised.
    """
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from processes import Service

    # Its verdict is no part of this, but it must not be wrong either: an accusation is told.
    pause = threading.Event()
    with (
        Service(APP.name, "healthy", str(seconds), OTEL_PYTHON_MEMLEAK_PATIENCE="300000") as service,
        Service(APP.name, "healthy", str(seconds), OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="memleak") as twin,
    ):
        process, other = psutil.Process(service.process.pid), psutil.Process(twin.process.pid)
        pause.wait(seconds / 5)
        before, twin_before = Reading.of(process), Reading.of(other)
        pause.wait(seconds * 4 / 5 - 5)
        after, twin_after = Reading.of(process), Reading.of(other)
        status = service.finish(timeout_s=60)
        leaks = service.receiver.logs("memleak.leak")
    if status:
        raise SystemExit(f"the service under load ended with {status}")
    complaints.extend(f"accused: {leak.body}" for leak in leaks)
    grown_mb = max(0.0, twin_after.rss_mb - twin_before.rss_mb)
    print(
        f"its twin without this package: {twin_before.rss_mb:.1f} -> {twin_after.rss_mb:.1f} MB",
        file=sys.stderr,
    )
    return replace(before, rss_mb=before.rss_mb + grown_mb), after


def main() -> int:
    """Run the parts each in a process of its own, print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--types", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts: dict[str, Callable[[], tuple[Reading, Reading]]] = {
        f"{options.cycles:,} times instrument() and uninstrument()": lambda: cycles(options.cycles),
        f"{options.samples:,} samples": lambda: samples(options.samples),
        f"{options.alerts:,} alerts": lambda: alerts(options.alerts),
        "a simulated week, one sample a second": lambda: samples(WEEK_S, 1000),
        f"{options.names:,} requests, each of a name of its own": lambda: requests(
            options.names, 20, lambda number: f"GET /{number}x/" + "name" * 300
        ),
        f"{options.requests:,} requests, a dozen between two samples": lambda: requests(
            options.requests, 12, lambda number: f"GET /{'abc'[number % 3]}"
        ),
        f"9 snapshots of {options.types:,} types": lambda: looks_at_types(options.types),
        f"{options.seconds / 60:g} minutes under load, four samples a second": lambda: under_load(
            options.seconds
        ),
    }
    if options.only is not None:
        return row(options.only, parts[options.only])
    print(
        "| what | took | RSS, MB | threads | descriptors | objects | flat |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    return max(
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], check=False).returncode
        for name in parts
    )


def row(name: str, part: Callable[[], tuple[Reading, Reading]]) -> int:
    """Run one part and print it."""
    begun_s = time.monotonic()
    before, after = part()
    flat = after.is_flat_since(before)
    objects = f"{before.objects:,} → {after.objects:,}" if after.objects else "–"
    print(
        f"| {name} | {time.monotonic() - begun_s:,.0f} s | {before.rss_mb:.1f} → {after.rss_mb:.1f} "
        f"| {before.threads} → {after.threads} | {before.descriptors} → {after.descriptors} | {objects} "
        f"| {'yes' if flat else 'NO'} |",
        *complaints,
        sep="\n",
        flush=True,
    )
    return 0 if flat and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
