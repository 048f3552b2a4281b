"""What one sample costs beside one `psutil.Process().memory_info()`, and for how long it can hold up others.

    python -m benchmarks.overhead.sample [--rounds N]

They are called in turn, one call each, psutil both as the line says and with a `Process` made before, which spares
it more than half: a sample comes once a minute and finds the processor's caches full
of other things, and so must what it is compared with. What it does not show: the cost of exporting, which is
the SDK's, and of the development tier's tracemalloc, which depends on how much the application allocates.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from .pairs import spread
from .subject import INTERVAL_S, make_engine

CALLS = 300


class SampleCost(NamedTuple):
    """One round.

    Attributes:
        ours_us: Median of a whole sample, on the clock on the wall.
        theirs_us: Median of psutil's reading between our samples.
        over_kept: Ours as a multiple of it with one `Process` for all readings, from calls of their own.
        mean_cpu_us: Mean CPU time of a sample; includes what is not done every time.
        longest_cpu_us: CPU time of the dearest. Holding the interpreter's lock, it keeps others waiting no
            longer than that; what the machine's other processes add is not ours.
    """

    ours_us: float
    theirs_us: float
    over_kept: float
    mean_cpu_us: float
    longest_cpu_us: float


def timed_us(call: Callable[[], object]) -> float:
    began_ns = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - began_ns) / 1e3


def in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Medians, in µs, of two that are called one after the other."""
    pairs = [(timed_us(ours), timed_us(theirs)) for _ in range(CALLS)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return mine, other


def measure(history: int) -> SampleCost:
    """Samples of an engine that has taken so many before."""
    engine, process = make_engine(), psutil.Process()
    for _ in range(history):
        engine.tick()
    gc.collect()
    ours, theirs = in_turn(engine.tick, lambda: psutil.Process().memory_info())
    ours_again, kept = in_turn(engine.tick, process.memory_info)
    cpu_us = []
    for _ in range(CALLS):
        began_s = time.thread_time()
        engine.tick()
        cpu_us.append((time.thread_time() - began_s) * 1e6)
    engine.stop()
    return SampleCost(ours, theirs, ours_again / kept, statistics.fmean(cpu_us), max(cpu_us))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: list[SampleCost] = []
    for history in (10, 1000, 100_000):
        found = [measure(history) for _ in range(rounds if history < 100_000 else 1)]
        ratio = spread(cost.ours_us / cost.theirs_us for cost in found)
        over_kept = spread(cost.over_kept for cost in found)
        ours, theirs = (statistics.median(cost[i] for cost in found) for i in (0, 1))
        print(
            f"| one production sample (read, history, verdict, publish) after {history:,} samples "
            f"| {ratio.median:.1f} × `psutil.Process().memory_info()` ({ours:.0f} and {theirs:.0f} µs), "
            f"{over_kept.median:.1f} × with a `Process` that is kept |",
            flush=True,
        )
    mean_us = statistics.median(cost.mean_cpu_us for cost in found)
    longest_us = statistics.median(cost.longest_cpu_us for cost in found)
    share = mean_us / 1e6 / INTERVAL_S * 100
    print(
        f"| CPU share at the default interval of 60 s, and at 1 s | {share:.5f} %, {share * 60:.4f} % of one core |"
    )
    print(f"| longest hold of the interpreter's lock by a sample, CPU time | {longest_us / 1e3:.2f} ms |")


if __name__ == "__main__":
    main()
