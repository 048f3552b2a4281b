"""Instructions of one sample, counted by callgrind: a figure that does not depend on who else is busy.

    python -m benchmarks.overhead.instructions [--record]

Fails when a sample takes 5 % more instructions than recorded for this build of Python and these versions of
the libraries it runs through. Where nothing is recorded for them it says so and judges nothing: another
build's figure is another figure. What the kernel does for a sample is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from .subject import make_engine

RECORD = Path(__file__).parent / "instructions.json"
TOLERANCE = 0.05
WARM_UP = 200
COUNTED = 400


def child(what: str, calls: int) -> None:
    """Run in the counted process: so many calls after the preparation that every child has in common."""
    engine, process = make_engine(), psutil.Process()
    call = {"sample": engine.tick, "memory_info": process.memory_info}[what]
    for _ in range(WARM_UP + calls):
        call()


def count(what: str, calls: int) -> int:
    """Instructions of a whole process that makes so many calls."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        sys.executable, "-m", "benchmarks.overhead.instructions", "--child", what, str(calls),
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if collected is None:
        raise RuntimeError(done.stderr)
    return int(collected[1])


def per_call(what: str) -> float:
    """Instructions of one call: the difference of two processes that differ in nothing else."""
    return (count(what, COUNTED) - count(what, 0)) / COUNTED


def build() -> dict[str, str]:
    """What the figure depends on besides our own code."""
    sdk, process = version("opentelemetry-sdk"), version("psutil")
    return {"python": " ".join(sys.version.split()), "opentelemetry-sdk": sdk, "psutil": process}


def main(argv: Sequence[str] | None = None) -> int:
    """Count, compare, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="keep the figure as the one to compare with")
    parser.add_argument("--file", type=Path, default=RECORD, help="where figures are kept")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "CALLS"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child[0], int(options.child[1]))
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: nothing counted")
        return 0
    known = json.loads(options.file.read_text(encoding="utf-8")) if options.file.exists() else {}
    key = f"{sys.version_info.major}.{sys.version_info.minor}"
    sample, memory_info = per_call("sample"), per_call("memory_info")
    print(f"CPython {key}: {sample:,.0f} instructions a sample, {sample / memory_info:.2f} × memory_info()")
    if options.record:
        known[key] = {"sample": round(sample), "memory_info": round(memory_info), "build": build()}
        options.file.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    return verdict(sample, known.get(key))


def verdict(sample: float, recorded: dict[str, object] | None) -> int:
    """1 when the sample has become dearer than recorded, else 0."""
    if recorded is None or recorded["build"] != build():
        print("nothing is recorded for this build: not judged (--record keeps it)")
        return 0
    before = float(str(recorded["sample"]))
    print(f"recorded {before:,.0f}: {100 * (sample / before - 1):+.1f} %")
    if sample > before * (1 + TOLERANCE):
        print(f"FAILED: more than {100 * TOLERANCE:.0f} % dearer than recorded")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
