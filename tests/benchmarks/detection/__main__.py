"""``python -m benchmarks.detection``: our detector and the rules people use today, over the corpus."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .bench import BASELINES, OURS, load, run
from .corpus import plan
from .score import by_pattern, comparison, costs
from .verdict import Verdict


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the corpus (default %(default)s)")
    parser.add_argument("--series", type=int, default=8, help="per pattern (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--only", nargs="+", default=(), metavar="PATTERN", help="only these patterns")
    parser.add_argument(
        "--detector",
        nargs="+",
        metavar="MODULE:CLASS",
        help=f"instead of {OURS} and the baselines; the name of a baseline will do",
    )
    parser.add_argument("--patterns", action="store_true", help="also print a table by pattern")
    return parser.parse_args(argv)


def contents(verdicts: Sequence[Verdict]) -> str:
    """What was measured on."""
    leaks = [v for v in verdicts if v.leaks]
    return (
        f"{len(verdicts) - len(leaks)} innocent and {len(leaks)} leaking series "
        f"({sum(v.urgent for v in leaks)} urgent, {sum(v.fast for v in leaks)} dead within 10 min), "
        f"{sum(v.samples for v in verdicts):,} samples, {sum(v.days for v in verdicts):,.0f} process-days."
    )


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    names = options.detector or [OURS, *BASELINES]
    try:
        plan(options.series, options.only)
        for name in names:
            load(name)
    except (ValueError, ImportError, AttributeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = run(names, options.seed, options.series, options.only, options.jobs)
    print(f"Seed {options.seed}: {contents(next(iter(results.values())))}\n")
    print(comparison(results))
    if options.patterns:
        print(f"\nInnocent: share accused. Leak: share found, median delay.\n\n{by_pattern(results)}")
    # On stderr, so that the same seed prints the same bytes on stdout.
    print(f"\n{costs(results)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
