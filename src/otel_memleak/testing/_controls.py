"""Two attempts to show that a growth is not the callable's leak, made before it is called one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from otel_memleak.testing._epoch import Epoch
from otel_memleak.testing._judgement import Growth
from otel_memleak.testing._meter import TYPICAL_BLOCK_BYTES, Levels, Meter
from otel_memleak.testing._steps import Idle, Steps
from otel_memleak.testing._tracing import Traced, compare, tracing

if TYPE_CHECKING:
    from otel_memleak.clock import Clock

_LEAST_IDLE_S: Final = 0.05
_MOST_IDLE_S: Final = 1.0
_IDLE_SHARE: Final = 0.5
_TRACED_S: Final = 0.1
_FEWEST_TRACED: Final = 8
_MOST_TRACED: Final = 1000
_TRACED_SHARE: Final = 0.25
_MOSTLY: Final = 0.5


def grows_when_idle(meter: Meter, clock: Clock, epoch: Epoch, suspected: Growth) -> Steps[bool]:
    """Find out whether memory grows at half the pace or more while nothing is called."""
    block_s = epoch.seconds_per_call * epoch.calls_per_block
    levels = Levels(2)
    levels.add(meter.read())
    before_s = clock.monotonic_s()
    yield Idle(max(_LEAST_IDLE_S, min(_MOST_IDLE_S, block_s)))
    calls_missed = (clock.monotonic_s() - before_s) / max(1e-9, epoch.seconds_per_call)
    levels.add(meter.read())
    column = levels.resident_bytes() if suspected is epoch.resident else levels.in_use_bytes()
    return column[1] - column[0] >= _IDLE_SHARE * suspected.per_call * calls_missed


def calls_to_trace(epoch: Epoch) -> int:
    """How many calls to trace: few, because tracing makes them up to 40 times slower."""
    wanted = int(_TRACED_S / max(1e-9, epoch.seconds_per_call))
    return max(_FEWEST_TRACED, min(_MOST_TRACED, wanted))


def trace(meter: Meter, call: Callable[[int], Steps[float]], count: int) -> Steps[Traced]:
    """Have calls made twice under tracemalloc, and say what the second round left behind.

    Args:
        meter: Collects garbage.
        call: Has calls made.
        count: Calls in each round.
    """
    with tracing():
        yield from call(count)
        meter.read()
        before = tracemalloc.take_snapshot()
        yield from call(count)
        meter.read()
        return compare(before, tracemalloc.take_snapshot())


def sites_of(suspected: Growth, traced: Traced, count: int) -> tuple[str, ...]:
    """Return the lines that allocate what stays; none if what Python allocated does not account for it."""
    return traced.sites if traced.size_bytes >= _MOSTLY * suspected.per_call * count else ()


def has_stopped(epoch: Epoch, suspected: Growth, traced: Traced, count: int) -> bool:
    """Whether growth that was Python's did not go on when traced."""
    pythons = TYPICAL_BLOCK_BYTES * epoch.blocks.per_call >= _MOSTLY * suspected.per_call
    return pythons and traced.small_blocks < _TRACED_SHARE * epoch.blocks.per_call * count
