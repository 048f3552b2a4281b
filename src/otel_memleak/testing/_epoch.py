"""Eight equal blocks of calls, and what memory did meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from otel_memleak.testing._caches import Sizes, growing_lru_caches
from otel_memleak.testing._judgement import Growth, growth
from otel_memleak.testing._meter import LARGEST_BLOCK_BYTES, Levels
from otel_memleak.types import MB

_MAPPED_BYTES: Final = 1 * MB
"""Resident growth that malloc and Python do not explain counts from here; less is the kernel's rounding."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch showed.

    Attributes:
        calls_before: Calls made before it.
        calls_per_block: Calls in each of its blocks.
        seconds_per_call: How long one took.
        in_use: Growth of what Python and malloc have in use, bytes per call.
        blocks: Growth of the small-object blocks, per call.
        resident: Growth of the resident memory, bytes per call.
        in_use_bytes: What was in use at its end.
        unaccounted_bytes: Growth of the resident memory that Python and malloc cannot explain, bytes.
        filling: Caches with room left that grew.
        unbounded: Caches without bound that grew.
    """

    calls_before: int
    calls_per_block: int
    seconds_per_call: float
    in_use: Growth
    blocks: Growth
    resident: Growth
    in_use_bytes: float
    unaccounted_bytes: float = 0.0
    filling: tuple[str, ...] = ()
    unbounded: tuple[str, ...] = ()

    def suspected(self, tolerance: float) -> Growth | None:
        """The growth that is a leak unless it is of an innocent kind; None when there is none."""
        mapped = self.unaccounted_bytes >= max(_MAPPED_BYTES, self.in_use.total)
        if mapped and self.resident.exceeds(tolerance):
            return self.resident
        return self.in_use if self.in_use.exceeds(tolerance) else None


def summarise(
    levels: Levels, caches: Sizes, calls_before: int, calls_per_block: int, seconds_per_call: float
) -> Epoch:
    """Draw up an epoch from its readings.

    Args:
        levels: Readings before the first and after each block.
        caches: Sizes of the caches before the first.
        calls_before: Calls made before it.
        calls_per_block: Calls in each of its blocks.
        seconds_per_call: How long one took.
    """
    in_use = levels.in_use_bytes()
    resident = growth(levels.resident_bytes(), calls_per_block, calls_before)
    at_most = levels.in_use_bytes(LARGEST_BLOCK_BYTES)
    filling, unbounded = growing_lru_caches(caches)
    return Epoch(
        calls_before=calls_before,
        calls_per_block=calls_per_block,
        seconds_per_call=seconds_per_call,
        in_use=growth(in_use, calls_per_block, calls_before),
        blocks=growth(levels.blocks(), calls_per_block, calls_before),
        resident=resident,
        in_use_bytes=in_use[-1],
        unaccounted_bytes=resident.total - max(0.0, at_most[-1] - at_most[0]),
        filling=tuple(filling),
        unbounded=tuple(unbounded),
    )


def weighed(epoch: Epoch, levels: Levels, block_bytes: float) -> Growth:
    """Draw up its growth in use anew, now that the size of the blocks is known.

    Args:
        epoch: Drawn up with the typical size.
        levels: Its readings.
        block_bytes: Mean size of the blocks that stay.
    """
    anew = growth(levels.in_use_bytes(block_bytes), epoch.calls_per_block, epoch.calls_before)
    # Malloc's part leaps when a table doubles, but nothing can shrink for ever: it is at least the blocks'.
    return replace(anew, low=min(anew.per_call, max(anew.low, block_bytes * epoch.blocks.low)))
