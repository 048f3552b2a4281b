"""The shape of growth, for the person who has to find its cause."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from otel_memleak.detector._trend import Trend
from otel_memleak.types import Pattern

_BEND = 0.15
_MOST = 0.8
_JUMP = 2.0


def classify(lows_bytes: Sequence[float], trend: Trend) -> Pattern:
    """Name the shape of a window of growth.

    Most of the rise in few increments is ``stepwise`` when they stand alone and ``bursts`` when they adjoin.
    Otherwise the slopes of the halves tell whether it bends.

    Args:
        lows_bytes: The envelope's points, evenly spaced, bytes.
        trend: The line through them.
    """
    increments = [b - a for a, b in pairwise(lows_bytes)]
    risen = sum(i for i in increments if i > 0.0)
    mean = risen / len(increments)
    jumps = [at for at, i in enumerate(increments) if i > _JUMP * mean]
    if risen > 0.0 and sum(increments[at] for at in jumps) >= _MOST * risen:
        adjoining = sum(1 for a, b in pairwise(jumps) if b == a + 1)
        return "bursts" if 2 * adjoining >= len(jumps) else "stepwise"
    bend = (trend.late - trend.early) / (abs(trend.late) + abs(trend.early) or 1.0)
    if abs(bend) <= _BEND:
        return "linear"
    return "accelerating" if bend > 0.0 else "decelerating"
