"""``otel_memleak.testing``: the arithmetic between levels of memory and a verdict."""

from __future__ import annotations

import math
import random
from itertools import accumulate
from statistics import fmean

import pytest

from otel_memleak.testing._judgement import growth
from otel_memleak.testing._meter import Levels


def test_a_straight_leak_is_known_exactly() -> None:
    """Where every block grows alike there is nothing to doubt: the interval is the rate."""
    seen = growth([1000 + 640 * n for n in range(9)], 10)

    assert (seen.low, seen.per_call, seen.high) == (64, 64, 64)
    assert seen.total == 5120
    assert seen.exceeds(1)


@pytest.mark.parametrize("tolerance", [64, 65, 1000])
def test_a_rate_within_the_tolerance_is_no_leak(tolerance: float) -> None:
    """Growth up to the tolerance is let pass, the tolerance itself included."""
    assert not growth([640 * n for n in range(9)], 10).exceeds(tolerance)


@pytest.mark.parametrize("step", [0, 3, 7])
def test_one_step_is_not_established_as_growth(step: int) -> None:
    """A lazy import or a table that doubles raises the mean, but one block of eight convicts nobody."""
    seen = growth([0 if n <= step else 100_000 for n in range(9)], 100)

    assert seen.per_call > 100
    assert not seen.exceeds(1)
    assert seen.high > 1, "nor is growth excluded by it"


def test_growth_that_slows_down_is_not_established() -> None:
    """A cache hit ever more often, growing with the root of the calls, may end or not."""
    seen = growth([1000 * math.sqrt(n) for n in range(4, 13)], 1, 4)

    assert seen.low > 0
    assert not seen.steady
    assert not seen.exceeds(1)


def levels_after(rates: list[float]) -> list[float]:
    """Levels between blocks of one call each."""
    return list(accumulate(rates, initial=0.0))


def test_growth_in_every_other_block_is_too_seldom() -> None:
    """What grows in five blocks of eight is clear of zero on average, and needs longer blocks to be a trend."""
    seen = growth(levels_after([900, 0, 900, 0, 900, 0, 900, 900]), 1)

    assert seen.low > 1
    assert seen.steady
    assert not seen.exceeds(1)


def test_small_gains_and_large_losses_are_no_growth() -> None:
    """A level that rises most of the time and falls back may come out above where it was by chance."""
    seen = growth(levels_after([50, 50, 50, -90, 50, 50, -90, 50]), 1)

    assert seen.per_call > 1
    assert seen.rising
    assert not seen.exceeds(1)


def test_the_interval_covers_the_rate() -> None:
    """Of the intervals of noisy leaks at least 95 % hold the true rate, and not because they are endless."""
    chance = random.Random(7)
    covered, widths = 0, []
    for _ in range(1000):
        levels = [50 * 100 * n + chance.gauss(0, 2000) for n in range(9)]
        seen = growth(levels, 100)
        covered += seen.low <= 50 <= seen.high
        widths.append(seen.high - seen.low)

    assert covered >= 950
    assert fmean(widths) < 100


def test_noise_without_drift_is_excluded_by_more_calls() -> None:
    """The same noise that leaves doubt after ten calls a block leaves none after a hundred thousand."""
    chance = random.Random(3)
    levels = [chance.gauss(0, 2000) for _ in range(9)]

    assert growth(levels, 10).high > 1
    assert abs(growth(levels, 100_000).high) < 1


@pytest.mark.parametrize("blocks", [4, 5, 6, 7, 8])
def test_an_epoch_cut_short_can_be_judged(blocks: int) -> None:
    """From four blocks on there is an interval, the wider the fewer they are."""
    levels = [100 * n + (5 if n % 2 else 0) for n in range(blocks + 1)]
    seen = growth(levels, 1)

    assert seen.low < 100 < seen.high
    assert seen.exceeds(1)


def test_readings_are_kept_without_allocating() -> None:
    """What keeps the readings must not show in them: its memory is there before the first."""
    levels = Levels(3)
    for n in range(3):
        levels.add((n, 10 * n, 100 * n))

    assert levels.blocks() == [0, 1, 2]
    assert levels.malloc_bytes() == [0, 10, 20]
    assert levels.resident_bytes() == [0, 100, 200]
    assert levels.in_use_bytes(64) == [0, 74, 148]
    with pytest.raises(IndexError):
        levels.add((0, 0, 0))


def test_without_counters_the_resident_memory_is_what_there_is() -> None:
    """On musl with PYTHONMALLOC=malloc nobody counts allocations; a verdict is still possible."""
    levels = Levels(2)
    levels.add((0, 0, 4096))
    levels.add((0, 0, 8192))

    assert levels.in_use_bytes() == [4096, 8192]
