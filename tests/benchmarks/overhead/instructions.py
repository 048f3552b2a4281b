"""Instructions of one sample, counted by callgrind: a figure that does not depend on who else is busy.

    python -m benchmarks.overhead.instructions [--record]

Fails when a sample takes 5 % more instructions than recorded for this build of Python and these versions of
the libraries it runs through. Where nothing is recorded for them it says so and judges nothing: another
build's figure is another figure. What the kernel does for a sample is not in it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from .pairs import compile_ours
from .subject import make_engine

RECORD = Path(__file__).parent / "instructions.json"
TOLERANCE = 0.05
WARM_UP = 100
COUNTED = 300


def child(calls: int) -> None:
    """Run in the counted process: so many samples after the preparation that every child has in common."""
    engine = make_engine()
    for _ in range(WARM_UP):
        engine.tick()
    # One more collection of the SDK's objects, or one less, would be a tenth of the figure.
    gc.collect()
    gc.freeze()
    for _ in range(calls):
        engine.tick()


def start(calls: int) -> subprocess.Popen[str]:
    """A counted process that takes so many samples."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        sys.executable, "-m", "benchmarks.overhead.instructions", "--child", str(calls),
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> int:
    """Instructions of the whole process."""
    _, said = process.communicate()
    collected = re.search(r"Collected : (\d+)", said)
    if process.returncode or collected is None:
        raise RuntimeError(said)
    return int(collected[1])


def per_sample() -> float:
    """Instructions of one sample: the difference of two processes that differ in nothing else."""
    many, none = start(COUNTED), start(0)
    return (finish(many) - finish(none)) / COUNTED


def build() -> dict[str, str]:
    """What the figure depends on besides our own code."""
    return {"python": " ".join(sys.version.split()), "opentelemetry-sdk": version("opentelemetry-sdk")}


def main(argv: Sequence[str] | None = None) -> int:
    """Count, compare, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="keep the figure as the one to compare with")
    parser.add_argument("--file", type=Path, default=RECORD, help="where figures are kept")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child is not None:
        child(options.child)
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: nothing counted")
        return 0
    known = json.loads(options.file.read_text(encoding="utf-8")) if options.file.exists() else {}
    key = f"{sys.version_info.major}.{sys.version_info.minor}"
    compile_ours()
    sample = per_sample()
    print(f"CPython {key}: {sample:,.0f} instructions a sample")
    if options.record:
        known[key] = {"sample": round(sample), "build": build()}
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
