"""Witnesses on live processes: what resident memory alone cannot tell is told apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.witnesses.judge import WITNESSES, judge
from benchmarks.witnesses.programs import INNOCENT, LEAKY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and mallinfo2"),
]
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", [*LEAKY, *INNOCENT])
def test_all_witnesses_together_tell_it_right(name: str) -> None:
    """A real process of its own, 70 s at a sample every 250 ms; leaks are found, the innocent left in peace."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.witnesses.record", name, "70"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    samples = [json.loads(line) for line in done.stdout.splitlines()]

    assert (judge(samples, WITNESSES["all"]).leak is not None) == (name in LEAKY)
