"""Every detector on every series."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Sequence
from functools import partial

from .baselines import Deriv1h, Deriv6h, LeastSquares, MannKendall, PredictLinear
from .corpus import draw, plan
from .jindal import LinearBackwardRegression, Precog
from .verdict import DetectorFactory, Verdict, judge

OURS = "otel_memleak:LeakDetector"

BASELINES: dict[str, DetectorFactory] = {
    "least squares 5 min > 50 MB/h": LeastSquares,
    "PromQL deriv 1 h > 50 MB/h": Deriv1h,
    "PromQL deriv 6 h > 50 MB/h": Deriv6h,
    "PromQL predict_linear 6 h, 24 h": PredictLinear,
    "Mann-Kendall 0.001 + Sen": MannKendall,
    "LBRCPD (Jindal et al.)": LinearBackwardRegression,
    "PrecogMF (Jindal et al.)": Precog,
}


def load(name: str) -> DetectorFactory:
    """The detector of that name: a baseline, or ``MODULE:CLASS``.

    Raises:
        ValueError: Neither a baseline nor of that form.
    """
    if name in BASELINES:
        return BASELINES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"no detector {name!r}: want MODULE:CLASS or one of {', '.join(BASELINES)}")
    factory: DetectorFactory = getattr(importlib.import_module(module), attribute)
    return factory


def judge_all(names: Sequence[str], seed: int, entry: tuple[str, int]) -> list[Verdict]:
    """Draw one series and hear every detector on it, in the order of ``names``."""
    series = draw(seed, *entry)
    return [judge(load(name), series) for name in names]


def run(
    names: Sequence[str], seed: int, per_pattern: int, only: Sequence[str] = (), jobs: int = 1
) -> dict[str, Sequence[Verdict]]:
    """All verdicts by detector, in the order of the corpus whatever ``jobs`` is."""
    entries = plan(per_pattern, only)
    work = partial(judge_all, names, seed)
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            verdicts = pool.map(work, entries, chunksize=4)
    else:
        verdicts = [work(entry) for entry in entries]
    return {name: [row[i] for row in verdicts] for i, name in enumerate(names)}
