"""What the allocators say of growth: in use, kept, or not theirs."""

from __future__ import annotations

from collections.abc import Sequence

SMALL_BLOCK_BYTES = 256
"""The most a block of Python's allocator is credited with where malloc accounts for the larger ones; the
leaks measured had means of 30 to 170."""

BLIND_BLOCK_BYTES = 2048
"""The same where malloc cannot be asked and all growth has to be judged by the blocks."""

IN_USE_SHARE = 0.5
UNKNOWN_SHARE = 0.25
_IN_USE_FACTOR = 0.7
_UNKNOWN_FACTOR = 1.5


def factor(share: float | None) -> float:
    """How many times longer growth is watched.

    Args:
        share: The part of the growth that is in use; None where the allocators cannot be asked.
    """
    if share is None:
        return 1.0
    return _IN_USE_FACTOR if share >= IN_USE_SHARE else _UNKNOWN_FACTOR if share < UNKNOWN_SHARE else 1.0


def share_in_use(in_use: float | None, blocks: float | None, growth_bytes: float) -> float | None:
    """The part of some growth that the allocators say is in use; None where they cannot be asked.

    Without malloc they cannot say that it is not.

    Args:
        in_use: Growth of malloc's bytes in use; None where it cannot be asked.
        blocks: Growth of the blocks of Python's allocator; None likewise.
        growth_bytes: What is to be explained.
    """
    if growth_bytes <= 0.0:
        return None
    if in_use is not None:
        return (max(0.0, in_use) + max(0.0, blocks or 0.0) * SMALL_BLOCK_BYTES) / growth_bytes
    by_blocks = (blocks or 0.0) * BLIND_BLOCK_BYTES / growth_bytes
    return by_blocks if by_blocks >= 1.0 else None


def lower_growth(values: Sequence[float]) -> float | None:
    """Growth of the lower envelope of some values: the least of the last third over the least of the first.

    That is two thirds of what it grew in a straight line.
    """
    third = len(values) // 3
    if third < 1:
        return None
    grown = 1.5 * (min(values[-third:]) - min(values[:third]))
    return grown if grown == grown else None
