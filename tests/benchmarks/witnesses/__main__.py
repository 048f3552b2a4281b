"""``python -m benchmarks.witnesses``: which programs are accused, with and without each witness."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .judge import WITNESSES, judge
from .others import OTHER_INNOCENT, OTHER_LEAKY
from .programs import INNOCENT, LEAKY


def record(name: str, seconds: float) -> list[dict[str, Any]]:
    """The samples of a program, run anew."""
    command = [sys.executable, "-m", "benchmarks.witnesses.record", name, str(seconds)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.witnesses", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="of each program (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="programs at a time (default %(default)s)")
    parser.add_argument("--others", action="store_true", help="the programs by which nothing was set")
    parser.add_argument("--only", default="", help="programs whose description contains this")
    parser.add_argument("--keep", help="write the samples to this file, as JSON")
    parser.add_argument("--why", action="store_true", help="print the reasons given with all witnesses")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run, judge, print."""
    options = arguments(argv)
    programs = (*OTHER_LEAKY, *OTHER_INNOCENT) if options.others else (*LEAKY, *INNOCENT)
    names = [name for name in programs if options.only in name]
    with ThreadPoolExecutor(options.jobs) as pool:
        records = list(pool.map(lambda name: record(name, options.seconds), names))
    if options.keep:
        with open(options.keep, "w", encoding="utf-8") as file:
            json.dump(dict(zip(names, records, strict=True)), file)
    report(names, records, options.seconds)
    if options.why:
        for name, samples in zip(names, records, strict=True):
            leak = judge(samples, WITNESSES["all"]).leak
            print(f"\n{name}: {leak.why if leak is not None else 'no leak'}")


def report(names: Sequence[str], records: Sequence[Sequence[dict[str, Any]]], seconds: float) -> None:
    """Print the table: when a leak was claimed, in seconds since the start."""
    print(f"First `memleak.leak` in {seconds:.0f} s, seconds since the start:\n")
    print(f"| program | {' | '.join(WITNESSES)} |")
    print("|---|" + "---|" * len(WITNESSES))
    right = dict.fromkeys(WITNESSES, 0)
    for name, samples in zip(names, records, strict=True):
        leaks, cells = name in LEAKY or name in OTHER_LEAKY, []
        for column, believed in WITNESSES.items():
            outcome = judge(samples, believed)
            correct = (outcome.leak is not None) == leaks
            right[column] += correct
            cells.append(outcome.cell() if correct else f"**{outcome.cell()}**")
        kind = "leak" if leaks else "innocent"
        print(f"| {kind}: {name} | {' | '.join(cells)} |", flush=True)
    print(f"| right, of {len(names)} | {' | '.join(str(count) for count in right.values())} |")


if __name__ == "__main__":
    main()
