"""Runs measured processes in turn, so that a busy machine is busy for all of them, and sums them up."""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import otel_memleak

TESTS = Path(__file__).parent.parent.parent


class Cost(NamedTuple):
    """What one process used.

    Attributes:
        cpu_s: CPU seconds of the work alone.
        rss_bytes: Resident memory at its end.
        start_s: CPU seconds of switching the tool on.
    """

    cpu_s: float
    rss_bytes: int
    start_s: float


def compile_ours() -> None:
    """An installed package is compiled; a source tree may not be, and compiling leaves holes in the heap."""
    compileall.compile_dir(str(Path(otel_memleak.__file__).parent), quiet=1)


def run(tool: str, load: str, amount: int, python: str = sys.executable) -> Cost:
    """One process from start to end."""
    command = [python, "-m", "benchmarks.overhead.work", tool, load, str(amount)]
    # Sources that were edited meanwhile are compiled once, not in every measured process.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=TESTS, env=environ, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def rounds(tools: Iterable[str], count: int) -> Iterator[tuple[int, str]]:
    """Every tool once a round, every second round backwards: a drift of the machine cancels out."""
    order = list(tools)
    for number in range(count):
        for tool in order if number % 2 == 0 else reversed(order):
            yield number, tool


class Spread(NamedTuple):
    """The median of some ratios, and their middle half."""

    low: float
    median: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """The quartiles."""
    ordered = sorted(values)
    if len(ordered) < 2:
        return Spread(ordered[0], ordered[0], ordered[0])
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(low, median, high)
