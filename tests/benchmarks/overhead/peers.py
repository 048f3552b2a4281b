"""Ours beside what people would use instead: CPU time and memory of the same work, measured in one run.

    python -m benchmarks.overhead.peers [--rounds N] [--amount N] [--write]

The tools live in an environment of their own, made by `make bench`; one that is not installed is left out and
named. With ``--write`` the table and its drawing go into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .chart import bars
from .pairs import TESTS, Cost, Spread, compile_ours, rounds, run, spread
from .tools import TOOLS

ROOT = TESTS.parent
PYTHON = ROOT / ".bench-venv" / "bin" / "python"
IMAGE = ROOT / ".github" / "images" / "cost.svg"
SLOW = {"tracemalloc, 25 frames": 3}
"""Rounds at most: ten times as long as all the others together."""

DISTRIBUTIONS = (
    "otel-memleak", "opentelemetry-sdk", "opentelemetry-instrumentation-system-metrics", "psutil",
    "prometheus-client", "memwatcher", "python-leak-hunter", "pyroscope-io", "ddtrace", "memray",
)  # fmt: skip


def measure(python: str, count: int, amount: int) -> dict[str, list[Cost]]:
    """Costs by tool, one a round; a tool that does not run is dropped and said to be."""
    costs: dict[str, list[Cost]] = {tool: [] for tool in TOOLS}
    broken: set[str] = set()
    for number, tool in rounds(TOOLS, count):
        if tool in broken or number >= SLOW.get(tool, count):
            continue
        try:
            costs[tool].append(run(tool, "allocations", amount, python))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            broken.add(tool)
            print(f"{tool} does not run here: {error}", file=sys.stderr)
    return {tool: found for tool, found in costs.items() if found and tool not in broken}


def ratios(costs: Mapping[str, Sequence[Cost]]) -> dict[str, Spread]:
    """CPU time of the work against the bare process of the same round."""
    bare = costs["bare process"]
    return {
        tool: spread(cost.cpu_s / bare[number].cpu_s for number, cost in enumerate(found))
        for tool, found in costs.items()
    }


def table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Markdown, cheapest first."""
    bare = costs["bare process"]
    cpu = ratios(costs)
    lines = [
        "| tool | CPU time of the work, × bare (middle half) | resident memory | switching it on, CPU |",
        "|---|---|---|---|",
    ]
    for tool in sorted(costs, key=lambda tool: cpu[tool].median):
        found = costs[tool]
        added = statistics.median(cost.rss_bytes - bare[n].rss_bytes for n, cost in enumerate(found)) / 2**20
        start = statistics.median(cost.start_s for cost in found) * 1e3
        low, median, high = cpu[tool]
        lines.append(
            f"| {tool} | {median:.2f} ({low:.2f} to {high:.2f}) | {added:+.1f} MB | {start:.0f} ms |"
        )
    return "\n".join(lines)


def versions(python: str) -> str:
    """The versions that were measured, as the other environment has them."""
    code = (
        "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\n"
        "def find(name):\n    try: return version(name)\n    except PackageNotFoundError: return None\n"
        "print(json.dumps({name: find(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", code, *DISTRIBUTIONS], capture_output=True, text=True, check=True)
    known = {name: found for name, found in json.loads(done.stdout).items() if found}
    return ", ".join(f"{name} {found}" for name, found in known.items())


def machine() -> str:
    """What it was measured on."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"CPython {platform.python_version()}, {platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} × {model}"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--amount", type=int, default=10_000, help="rows of work (default %(default)s)")
    parser.add_argument("--python", default=str(PYTHON), help="interpreter of the environment with the tools")
    parser.add_argument("--write", action="store_true", help="redraw the picture in .github/images")
    options = parser.parse_args()
    compile_ours()
    costs = measure(options.python, options.rounds, options.amount)
    print(f"{machine()}; {versions(options.python)}; {options.rounds} rounds\n")
    print(table(costs))
    if options.write:
        IMAGE.parent.mkdir(exist_ok=True)
        title = "CPU time of the same allocation-heavy work, bare process = 1 (median, middle half)"
        IMAGE.write_text(bars(title, ratios(costs)), encoding="utf-8")
        print(f"\ndrawn: {IMAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
