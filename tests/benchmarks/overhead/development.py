"""What the development tier costs, for each interpreter given: tracemalloc's price differs between versions.

    python -m benchmarks.overhead.development PYTHON... [--rounds N]

Each interpreter needs the package installed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from .pairs import Cost, rounds, run, spread

TOOLS = ("OpenTelemetry SDK", "SDK + otel-memleak, development tier")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--amount", type=int, default=6_000)
    options = parser.parse_args()
    print("| Python | CPU time of allocating work, development tier, × without (middle half) | memory |")
    print("|---|---|---|")
    for python in options.pythons:
        release = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
        costs: dict[str, list[Cost]] = {tool: [] for tool in TOOLS}
        for _, tool in rounds(costs, options.rounds):
            costs[tool].append(run(tool, "allocations", options.amount, python))
        without, traced = costs.values()
        low, median, high = spread(t.cpu_s / w.cpu_s for t, w in zip(traced, without, strict=True))
        added = (
            statistics.median(t.rss_bytes - w.rss_bytes for t, w in zip(traced, without, strict=True)) / 2**20
        )
        print(f"| {release} | {median:.1f} ({low:.1f} to {high:.1f}) | {added:+.1f} MB |", flush=True)


if __name__ == "__main__":
    main()
