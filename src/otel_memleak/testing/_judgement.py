"""From levels of memory between equal blocks of calls to a rate per call: pure arithmetic.

Whatever grows by a bounded amount (warm-up, a cache, an allocator's free lists) contributes less per call
the more calls there are; only a leak contributes the same. So rates need no model of the noise, only enough
calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, stdev
from typing import Final

BLOCKS: Final = 8
FEWEST_BLOCKS: Final = 4
_STUDENT_95: Final = {4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided 95 % quantile of Student's t for the mean of as many values."""

_RISING_SHARE: Final = 0.75
_STEADY_EXPONENT: Final = 0.45
"""Rates that fall by more than this power of the calls are slowing down; a square root's fall by 0.5."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a call leaves behind.

    Attributes:
        per_call: Mean, in units of the level.
        low: Lower end of its 95 % interval.
        high: Upper end.
        total: Growth of the level over all blocks.
        rising: It grew in at least three of four blocks.
        steady: It did not slow down from the first half to the second.
    """

    per_call: float
    low: float
    high: float
    total: float
    rising: bool
    steady: bool

    def exceeds(self, tolerance: float) -> bool:
        """Whether growth by more than ``tolerance`` per call is established and goes on."""
        return self.low > tolerance and self.rising and self.steady

    def within(self, tolerance: float) -> bool:
        """Whether growth by more than ``tolerance`` per call is excluded."""
        return self.high <= tolerance


def growth(levels: Sequence[float], calls_per_block: int, calls_before: int = 0) -> Growth:
    """Estimate the growth per call.

    The interval is Student's for the mean of the blocks' rates. Noise of the level makes neighbouring rates
    differ in opposite directions, so the interval is too wide rather than too narrow.

    Args:
        levels: Levels before the first and after each of 4 to 8 blocks.
        calls_per_block: Calls in each.
        calls_before: Calls before the first.
    """
    rates = [(after - before) / calls_per_block for before, after in pairwise(levels)]
    mean = fmean(rates)
    margin = _STUDENT_95[len(rates)] * stdev(rates) / math.sqrt(len(rates))
    return Growth(
        per_call=mean,
        low=mean - margin,
        high=mean + margin,
        total=levels[-1] - levels[0],
        rising=sum(rate > 0 for rate in rates) >= _RISING_SHARE * len(rates),
        steady=_is_steady(rates, calls_before / calls_per_block),
    )


def _is_steady(rates: Sequence[float], blocks_before: float) -> bool:
    # Medians, because a table that doubles in one of the blocks says nothing about the others.
    half = len(rates) // 2
    age = (blocks_before + half / 2) / (blocks_before + len(rates) - half / 2)
    allowed = math.pow(age, _STEADY_EXPONENT)
    return median(rates[-half:]) >= allowed * median(rates[:half])
