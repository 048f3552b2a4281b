"""Run with ``python -m tests.benchmarks.census``."""

from __future__ import annotations

from benchmarks.census.bench import main

main()
