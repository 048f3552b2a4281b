"""Tracing windows on a live program with real tracemalloc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import otel_memleak

_SERVICE = """
import json, os, sys, threading, time, tracemalloc
from otel_memleak.diagnosis.sites import SiteBudget, SiteWindows

cache, stop, done = {}, False, 0
def handle(number):
    rows = [{"id": index, "name": str(index)} for index in range(40)]
    cache[number] = bytes(500) + b"x"  # the leak
    return len(rows)
def serve():
    global done
    while not stop:
        handle(done)
        done += 1
        time.sleep(0.001)
thread = threading.Thread(target=serve)
PREPARE
thread.start()
windows = SiteWindows(SiteBudget(window_s=0.6, windows=2, pause_s=0.2, least_cpu_s=60), time.monotonic())
while not windows.done:
    windows.tick(time.monotonic())
    time.sleep(0.02)
stop = True
thread.join()
print(json.dumps({
    "sites": [suspect.site for suspect in windows.suspects()],
    "limits": windows.limits,
    "tracing": tracemalloc.is_tracing(),
    "traced": tracemalloc.get_traced_memory()[0],
}))
"""


def _serve(tmp_path: Path, prepare: str = "") -> dict[str, Any]:
    program = tmp_path / "shop.py"
    program.write_text(_SERVICE.replace("PREPARE", prepare))
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _leaking_line() -> str:
    line = next(number for number, text in enumerate(_SERVICE.splitlines(), 1) if "# the leak" in text)
    return f"shop.py:{line}"


def test_the_line_of_the_leak_is_found_and_tracing_is_off_again(tmp_path: Path) -> None:
    """The whole way: start, two looks, stop, twice; the busier line beside it is not accused first."""
    seen = _serve(tmp_path)

    assert seen["sites"][0] == _leaking_line(), seen
    assert (seen["tracing"], seen["limits"]) == (False, "")


def test_a_trace_that_was_on_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """The user's own trace is used: same answer, and not a byte of it is lost."""
    seen = _serve(tmp_path, "tracemalloc.start(); mine = [bytes(1000) for _ in range(1000)]")

    assert seen["sites"][0] == _leaking_line(), seen
    assert seen["tracing"] is True
    assert seen["traced"] > 1_000_000
