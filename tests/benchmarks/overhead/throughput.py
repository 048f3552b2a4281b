"""Throughput with and without us: the same work in one process, watched and not watched in turn.

    python -m benchmarks.overhead.throughput [--pairs N]

Work per CPU second on the same SDK. In one process, because two processes on a busy machine differ by more
than we cost; sampled once a second, sixty times the default.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys

from .pairs import TESTS, compile_ours, spread
from .work import LOADS, cpu_s

AMOUNTS = {"allocations": 4_000, "requests": 1_000}


def child(load: str, pairs: int) -> None:
    """Print the CPU seconds of the work with us, and without, pair by pair."""
    from otel_memleak import MemLeakInstrumentor

    from .tools import sdk

    work, amount, providers, ours = LOADS[load], AMOUNTS[load], sdk(), MemLeakInstrumentor()

    def used_s(watch: bool) -> float:
        if watch:
            ours.instrument(sampling_interval=1000, **providers)
        gc.collect()
        began_s = cpu_s()
        work(amount)
        used = cpu_s() - began_s
        if watch:
            ours.uninstrument()
        return used

    def pair_s(number: int) -> tuple[float, float]:
        order = (True, False) if number % 2 else (False, True)
        used = {watch: used_s(watch) for watch in order}
        return used[True], used[False]

    pair_s(0)
    print(json.dumps([pair_s(number) for number in range(pairs)]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.pairs)
        return
    compile_ours()
    for load in AMOUNTS:
        command = [
            sys.executable,
            "-m",
            "benchmarks.overhead.throughput",
            "--child",
            load,
            "--pairs",
            str(options.pairs),
        ]
        out = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True).stdout
        low, median, high = spread(without / with_us for with_us, without in json.loads(out))
        print(
            f"| throughput with / without, {load}, {options.pairs} pairs (middle half) | {median:.3f} ({low:.3f} to {high:.3f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
