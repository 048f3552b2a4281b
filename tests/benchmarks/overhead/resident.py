"""What an instrumented process weighs more, and starts later, than the same process without us.

    python -m benchmarks.overhead.resident [--pairs N]

Memory is compared after a hundred and fifty samples, when everything that is loaded on demand has been; the time to
start is CPU time under ``opentelemetry-instrument``, which is loading for the most part and does not depend on
who else is busy as the clock on the wall does. Both are told: what comes before the application's first line, and
what a thread adds some seconds later.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .pairs import compile_ours

IDLE = """
import gc, os, sys, time
import opentelemetry.instrumentation.instrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
import psutil, threading
providers = dict(meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]),
                 tracer_provider=TracerProvider(), logger_provider=LoggerProvider())
if sys.argv[1] == "with":
    from otel_memleak import MemLeakInstrumentor
    ours = MemLeakInstrumentor()
    ours.instrument(sampling_interval=1000, baseline_window=20_000, overhead_budget=0, **providers)
    while ours._standby.engine is None: time.sleep(0.1)
    for _ in range(150):
        ours._standby.engine.tick()
time.sleep(float(sys.argv[2]))
gc.collect()
print(sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Private_")) * 1024,
      psutil.Process().memory_info().rss)
os._exit(0)
"""

STARTED = """
import os, time
first_s = time.process_time()
time.sleep(6.5)
print(first_s, time.process_time(), flush=True)
os._exit(0)
"""
"""CPU time when the application's own first line runs, and when everything is there that comes a little later."""

VARIABLES = (
    "import opentelemetry.instrumentation.auto_instrumentation, time; s = time.process_time(); "
    "import otel_memleak.environment_variables; print(time.process_time() - s)"
)


def added_bytes(pairs: int, seconds: float) -> tuple[float, float]:
    """Medians of the differences in private and in resident memory."""
    private, resident = [], []
    for number in range(pairs):
        kinds = ("with", "without") if number % 2 else ("without", "with")
        found = {}
        for kind in kinds:
            command = [sys.executable, "-c", IDLE, kind, str(seconds)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found[kind] = [int(field) for field in out.split()]
        private.append(found["with"][0] - found["without"][0])
        resident.append(found["with"][1] - found["without"][1])
    return statistics.median(private), statistics.median(resident)


def history_and_detector_bytes() -> int:
    """What a thousand samples and everything the detector knows of them take, in bytes."""
    code = (
        "import gc, tracemalloc\n"
        "from otel_memleak.detector import LeakDetector\nfrom otel_memleak.history import History\n"
        "LeakDetector(); gc.collect(); tracemalloc.start()\n"
        "history, detector = History(1000), LeakDetector(2**30)\n"
        "for i in range(100_000):\n"
        "    rss = 100 * 2**20 + i * 7919 % 13 * 300_000\n"
        "    history.append(60.0 * i, rss); detector.update(60.0 * i, rss)\n"
        "gc.collect(); print(tracemalloc.get_traced_memory()[0])\n"
    )
    return int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


class Start(NamedTuple):
    """Medians, in milliseconds of CPU time.

    Attributes:
        own: The launcher's until the application's first line, without us.
        added: What we add to that, the launcher's look at our variables included.
        whole: What we add until the engine has been loaded and has taken a sample.
    """

    own: float
    added: float
    whole: float


def variables_ms(count: int = 9) -> float:
    """What the launcher does for us even where we are switched off: it imports the names of our variables."""
    command = [sys.executable, "-c", VARIABLES]
    return 1e3 * statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(count)
    )


def start_ms(pairs: int) -> Start:
    """The launcher with us and without, in turn."""
    launcher = Path(sys.executable).parent / "opentelemetry-instrument"
    if shutil.which(launcher) is None:
        raise RuntimeError(f"{launcher} is not there: pip install 'otel-memleak[auto]'")
    environ = {
        **os.environ,
        **{f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")},
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
    }

    def once(disabled: str) -> list[float]:
        out = subprocess.run(
            [launcher, sys.executable, "-c", STARTED],
            env={**environ, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return [float(field) * 1e3 for field in out.split()]

    without, added, whole = [], [], []
    for number in range(pairs):
        found = {name: once(name) for name in (("memleak", "none") if number % 2 else ("none", "memleak"))}
        without.append(found["memleak"][0])
        added.append(found["none"][0] - found["memleak"][0])
        whole.append(found["none"][1] - found["memleak"][1])
    seen = variables_ms()
    return Start(statistics.median(without), statistics.median(added) + seen, statistics.median(whole) + seen)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    compile_ours()
    private, resident = added_bytes(pairs, 3.0)
    print(
        f"| memory added to a process that has the SDK, private / resident | {private / 2**20:.2f} / {resident / 2**20:.2f} MB |"
    )
    print(
        f"| of which history and detector, after 100,000 samples | {history_and_detector_bytes() / 1024:.0f} KB |",
        flush=True,
    )
    start = start_ms(pairs + 4)
    print(
        f"| CPU time added under `opentelemetry-instrument` before the application's first line | {start.added:.0f} ms, "
        f"{100 * start.added / start.own:.1f} % of the launcher's own {start.own:.0f} ms |"
    )
    print(f"| and until the engine is loaded, by a thread, some seconds later | {start.whole:.0f} ms |")


if __name__ == "__main__":
    main()
