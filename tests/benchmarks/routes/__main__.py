"""``python -m benchmarks.routes``: who is named when a route leaks, a thread leaks, nothing leaks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from .service import Culprit
from .trial import HEADER, full, row, run

CULPRITS: Final[tuple[Culprit, ...]] = ("route", "background", "nothing")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default %(default)s)")
    parser.add_argument("--runs", type=int, default=40, help="of each kind (default %(default)s)")
    parser.add_argument(
        "--after",
        type=float,
        default=10.0,
        help="minutes from alert to question (default %(default)s)",
    )
    parser.add_argument("--watch", type=float, help="ask after so many minutes instead, alert or not")
    parser.add_argument(
        "--readings", type=int, default=1, help="given per sample of the detector (default %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    watch_s = options.watch * 60.0 if options.watch else None
    print(HEADER)
    for culprit in CULPRITS:
        seeds = range(options.seed, options.seed + options.runs)
        outcomes = [run(seed, culprit, options.after * 60.0, options.readings, watch_s) for seed in seeds]
        print(row(culprit, outcomes), flush=True)
    print(full(), flush=True)


if __name__ == "__main__":
    main()
