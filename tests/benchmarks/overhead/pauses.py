"""For how long a busy thread is kept from running, with us and without.

    python -m benchmarks.overhead.pauses [--pairs N]

A thread that does nothing but look at the clock sees as a gap whatever keeps it from doing so: the interpreter's
lock in another thread's hands, and whatever else the machine does, which is why the same is measured without
us. Loading the engine is in it, and sixty samples, ten a second. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from .pairs import TESTS, compile_ours, rounds

SECONDS = 7.0
LONG_S = 0.001


def child(watched: bool) -> None:
    """Print the longest gap in milliseconds, and how many were longer than one."""
    from .tools import sdk

    providers = sdk()
    if watched:
        from otel_memleak import MemLeakInstrumentor

        MemLeakInstrumentor().instrument(sampling_interval=100, overhead_budget=0, **providers)
    longest_s, long = 0.0, 0
    last_s = began_s = time.perf_counter()
    while last_s - began_s < SECONDS:
        now_s = time.perf_counter()
        gap_s = now_s - last_s
        if gap_s > LONG_S:
            long += 1
        longest_s = max(longest_s, gap_s)
        last_s = now_s
    print(json.dumps([longest_s * 1e3, long]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--child", choices=("with", "without"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child == "with")
        return
    compile_ours()
    found: dict[str, list[list[float]]] = {"with": [], "without": []}
    for _, kind in rounds(found, options.pairs):
        command = [sys.executable, "-m", "benchmarks.overhead.pauses", "--child", kind]
        out = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True).stdout
        found[kind].append(json.loads(out))
    for kind, gaps in found.items():
        longest_ms, long = (statistics.median(column) for column in zip(*gaps, strict=True))
        print(f"| longest pause of a busy thread in {SECONDS:g} s, {kind} us; pauses of more than 1 ms "
              f"| {longest_ms:.2f} ms; {long:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
