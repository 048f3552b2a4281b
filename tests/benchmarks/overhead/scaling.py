"""The cost of a sample as the process grows: memory, threads, objects, spans in flight.

    python -m benchmarks.overhead.scaling [--largest-mb N] [--largest-objects N] [--write]

Each size in a process of its own. CPU time of the thread that samples, so that a busy machine does not count;
psutil's `memory_info()` beside it, because the kernel's share of both may grow.
"""

from __future__ import annotations

import argparse
import json
import mmap
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from .chart import lines
from .pairs import TESTS
from .subject import make_engine

IMAGE = TESTS.parent / ".github" / "images" / "cost-as-work-grows.svg"
SAMPLES = 400


def memory(size: int) -> object:
    """So many MB of touched memory, as a numerical library would hold them."""
    block = mmap.mmap(-1, size << 20)
    for offset in range(0, size << 20, mmap.PAGESIZE):
        block[offset] = 1
    return block


def threads(size: int) -> object:
    """So many threads that wait."""
    release = threading.Event()
    started = [threading.Thread(target=release.wait, daemon=True) for _ in range(size)]
    for thread in started:
        thread.start()
    return started


def objects(size: int) -> object:
    """So many small objects of Python's."""
    return [float(number) for number in range(size)]


def spans(size: int) -> object:
    """So many requests under way."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("bench")
    return lambda: [tracer.start_span(f"GET /{number % 10}") for number in range(size)]


GROW: dict[str, tuple[Callable[[int], object], tuple[int, ...]]] = {
    "resident MB": (memory, (50, 400, 2_000, 8_000)),
    "threads": (threads, (10, 100, 1_000)),
    "objects": (objects, (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)),
    "spans in flight": (spans, (1, 10, 100, 1_000)),
}


def call_us(call: Callable[[], object]) -> float:
    began_s = time.thread_time()
    call()
    return (time.thread_time() - began_s) * 1e6


def child(kind: str, size: int) -> None:
    """Grow, sample, print the medians."""
    held: Any = GROW[kind][0](size)
    engine, process = make_engine(), psutil.Process()
    if callable(held):
        engine.tick()
        held = held()
    for _ in range(100):
        engine.tick()
    pairs = [(call_us(engine.tick), call_us(process.memory_info)) for _ in range(SAMPLES)]
    print(
        json.dumps(
            [statistics.median(ours for ours, _ in pairs), statistics.median(theirs for _, theirs in pairs)]
        )
    )
    sys.stdout.flush()
    import os

    os._exit(0)


def measure(kind: str, size: int) -> tuple[float, float] | None:
    """Microseconds of a sample and of psutil's reading; None when the process did not survive its own size."""
    command = [sys.executable, "-m", "benchmarks.overhead.scaling", "--child", kind, str(size)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    if done.returncode:
        return None
    ours, theirs = json.loads(done.stdout)
    return ours, theirs


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest-mb", type=int, default=8_000)
    parser.add_argument("--largest-objects", type=int, default=100_000_000, help="about 32 bytes each")
    parser.add_argument("--write", action="store_true", help="redraw the picture in .github/images")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        return
    most = {"resident MB": options.largest_mb, "objects": options.largest_objects}
    series: dict[str, list[tuple[float, float]]] = {}
    print("| size | one sample | psutil's memory_info() |\n|---|---|---|")
    for kind, (_, sizes) in GROW.items():
        for size in sizes:
            found = measure(kind, size) if size <= most.get(kind, size) else None
            if found is None:
                print(f"| {size:,} {kind} | not measured here | |", flush=True)
                continue
            series.setdefault(f"{kind}, from {sizes[0]:,}", []).append((size, found[0]))
            print(f"| {size:,} {kind} | {found[0]:.0f} µs | {found[1]:.0f} µs |", flush=True)
    if options.write:
        IMAGE.parent.mkdir(exist_ok=True)
        IMAGE.write_text(lines("CPU time of one sample as the process grows", series, "µs"), encoding="utf-8")


if __name__ == "__main__":
    main()
