"""What watching costs: one sample, CPU share, resident memory. Ratios measured side by side in one run.

    python tests/benchmarks/overhead.py [--rounds N]

Prints a Markdown table. What it does not show: the cost of exporting, which is the SDK's, and of the
development tier's tracemalloc, which depends on how much the application allocates.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from otel_memleak.emission import Alerts, Metrics
from otel_memleak.engine import Engine, Surroundings
from otel_memleak.settings import resolve
from otel_memleak.testing import ManualClock

CALLS = 200


def call_us(call: Callable[[], object]) -> tuple[float, float]:
    """Median and mean of single calls, in microseconds; the mean includes what is not done at every call."""
    took = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - start)
    return statistics.median(took) / 1000, statistics.fmean(took) / 1000


class MinuteByMinute(ManualClock):
    """Time as the sampling thread sees it, without the waiting: a minute between two samples."""

    def unix_s(self) -> float:
        """A minute later than the last time."""
        self.advance(60)
        return super().unix_s()


def make_engine() -> Engine:
    """A production engine as instrument() makes it, with the SDK behind it, but without its thread."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    engine = Engine(
        resolve({"sampling_interval": 60_000}),
        Metrics(MeterProvider(metric_readers=[InMemoryMetricReader()])),
        Alerts(("log", "span_event")),
        surroundings=Surroundings(MinuteByMinute()),
    )
    engine.start()
    engine._ticker.stop()
    return engine


def sample_cost(rounds: int, history: int) -> tuple[float, float, float, float]:
    """Cost of one whole sample, median and mean, and of psutil's memory_info, in microseconds; their ratio."""
    engine = make_engine()
    for _ in range(history):
        engine.tick()
    process = psutil.Process()
    gc.collect()
    pairs = [(call_us(engine.tick), call_us(process.memory_info)) for _ in range(rounds)]
    engine.stop()
    return (
        statistics.median(ours[0] for ours, _ in pairs),
        statistics.median(ours[1] for ours, _ in pairs),
        statistics.median(theirs[0] for _, theirs in pairs),
        statistics.median(ours[0] / theirs[0] for ours, theirs in pairs),
    )


IDLE = """
import os, sys, time, gc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
import psutil
providers = dict(meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]),
                 tracer_provider=TracerProvider(), logger_provider=LoggerProvider())
if sys.argv[1] == "with":
    from otel_memleak import MemLeakInstrumentor
    MemLeakInstrumentor().instrument(sampling_interval=20, baseline_window=1000, **providers)
time.sleep(float(sys.argv[2]))
gc.collect()
print(psutil.Process().memory_info().rss, time.process_time())
"""


def resident_bytes(rounds: int, seconds: float) -> float:
    """Median of what an SDK process weighs more when it is watched, after some hundred samples."""
    differences = []
    for _ in range(rounds):
        rss = {}
        for kind in ("with", "without"):
            command = [sys.executable, "-c", IDLE, kind, str(seconds)]
            out = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True).stdout
            rss[kind] = int(out.split()[0])
        differences.append(rss["with"] - rss["without"])
    return statistics.median(differences)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(
        f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs\n"
    )
    print("| what | measured |")
    print("|---|---|")
    for history in (10, 1000, 100_000):
        ours, mean, theirs, ratio = sample_cost(rounds, history)
        print(
            f"| one production sample (read, history, verdict, publish) after {history:,} samples "
            f"| {ours:.0f} µs = {ratio:.1f} × `psutil.Process().memory_info()` ({theirs:.0f} µs); mean {mean:.0f} µs |"
        )
    share = mean / 1e6 / 60 * 100
    print(f"| CPU share at the default 60 s interval | {share:.6f} % of one core |")
    print(f"| CPU share at a 1 s interval | {share * 60:.4f} % of one core |")
    added_mb = resident_bytes(rounds, 3.0) / 2**20
    print(f"| resident memory added to a process that has the SDK | {added_mb:.2f} MB |")


if __name__ == "__main__":
    main()
