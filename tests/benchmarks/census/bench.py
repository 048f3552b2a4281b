"""The longest gap a 1 ms ticker sees while a census is taken of a large heap.

    python -m tests.benchmarks.census [--records N]

Prints the parent's longest gap beside that of the same walk in the process and of the sliced look that takes its
place where there can be no snapshot, and how long each took. On a busy machine gaps are the neighbours', too: what a bare fork costs in CPU time, nearly all of it the kernel copying
page tables, is the part that is ours.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from otel_memleak.diagnosis.census import Census, CensusBudget, look_in_process, take_census
from otel_memleak.diagnosis.census._look import look
from otel_memleak.probes import RssProbe
from otel_memleak.types import MB

TICK_S = 0.001
RECORD_OBJECTS = 5


class Ticker(threading.Thread):
    """Sleeps a millisecond at a time and remembers the longest time between two awakenings."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest_s = 0.0
        self._running = True

    def run(self) -> None:
        last = time.perf_counter()
        while self._running:
            time.sleep(TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now

    def finish(self) -> float:
        self._running = False
        self.join()
        return self.longest_s


def build(records: int) -> list[dict[str, Any]]:
    """Records of five objects and about a kilobyte each."""
    return [{"name": f"customer {i}", "orders": [i + 0.5], "note": bytes(560)} for i in range(records)]


def longest_gap_s(action: Callable[[], object]) -> tuple[float, float, object]:
    """Longest gap, duration, and what the action returned."""
    ticker = Ticker()
    ticker.start()
    time.sleep(0.2)
    began = time.perf_counter()
    result = action()
    took = time.perf_counter() - began
    return ticker.finish(), took, result


def walk_here() -> object:
    """The same walk, all at once, in the process."""
    tracked = gc.get_objects()
    return look(0.0, [], None, pace=lambda: "", stacks=(), tracked=tracked).objects


def bare_fork_s(repeats: int = 5) -> tuple[float, float]:
    """Median CPU seconds and longest gap of a fork whose child ends at once."""
    cpu: list[float] = []

    def fork() -> None:
        began = time.thread_time()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        cpu.append(time.thread_time() - began)
        os.waitpid(pid, 0)

    gaps = [longest_gap_s(fork)[0] for _ in range(repeats)]
    return statistics.median(cpu), statistics.median(gaps)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    held = build(arguments.records)
    gc.collect()
    print(f"heap: {len(held) * RECORD_OBJECTS:,} objects, {RssProbe().read() / MB:,.0f} MB resident")
    warnings.simplefilter("ignore", DeprecationWarning)
    idle, _, _ = longest_gap_s(lambda: time.sleep(2))
    print(f"idle:            longest gap {idle * 1e3:7.1f} ms")
    cpu, gap = bare_fork_s()
    print(f"bare fork:       longest gap {gap * 1e3:7.1f} ms, {cpu * 1e3:.1f} ms of CPU time")
    for _ in range(arguments.repeats):
        gap, took, census = longest_gap_s(lambda: take_census(CensusBudget(deadline_s=120), time.time()))
        seen = f"{census.objects:,} objects {census.limits}" if isinstance(census, Census) else repr(census)
        print(f"snapshot:        longest gap {gap * 1e3:7.1f} ms, {took:5.1f} s, {seen}")
    for _ in range(arguments.repeats):
        gap, took, seen_inside = longest_gap_s(lambda: look_in_process(CensusBudget(), time.time()))
        assert isinstance(seen_inside, Census)
        print(f"sliced look:     longest gap {gap * 1e3:7.1f} ms, {took:5.1f} s, {seen_inside.limits}")
    gap, took, objects = longest_gap_s(walk_here)
    print(f"walk in process: longest gap {gap * 1e3:7.1f} ms, {took:5.1f} s, {objects:,} objects")
    gap, took, _ = longest_gap_s(lambda: len(gc.get_objects()))
    print(f"gc.get_objects:  longest gap {gap * 1e3:7.1f} ms, {took:5.1f} s")


if __name__ == "__main__":
    main()
