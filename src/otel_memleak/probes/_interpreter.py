"""What the interpreter knows of its own memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

LONGEST_COUNT_S: Final = 0.001
"""A count holds the interpreter's lock: every other thread waits for it."""

RESTED_SAMPLES: Final = 59


def read_tracemalloc_bytes() -> tuple[int, int] | None:
    """Return the (current, peak) bytes of traced Python allocations; None unless tracing.

    Never starts tracing. Some sub-interpreters have no ``tracemalloc``; that is None too.
    """
    try:
        # The module in C; the one in Python brings pickle along, half a megabyte to learn of nothing.
        import _tracemalloc as tracemalloc

        return tracemalloc.get_traced_memory() if tracemalloc.is_tracing() else None
    except Exception:  # absent or half torn down: not tracing, as far as anyone can tell
        return None


def count_modules() -> int:
    """Return the modules that are loaded: while they become more, a program is still starting."""
    return len(sys.modules)


def read_allocated_blocks() -> int | None:
    """Return the blocks in use in CPython's object allocator; None where nobody counts them.

    Of the whole process up to 3.11, of this interpreter from 3.12. Blocks above 512 bytes are counted as
    well, although their memory is malloc's. With ``PYTHONMALLOC=malloc`` CPython answers 0, which is no
    count.
    Cost: grows with the heap, about 0.1 ms at half a million objects.
    """
    count = getattr(sys, "getallocatedblocks", None)
    if count is None:
        return None
    try:
        return int(count()) or None
    except Exception:  # another implementation's stub
        return None


class BlockCounter:
    """`read_allocated_blocks`, less often where the heap is so large that counting stops the process.

    A count that took more than a millisecond of CPU time (some millions of objects) is taken again only
    after 59 calls; in between there is none.

    Args:
        count: What counts.
        timer_s: Tells cheaply that a count may have been long; a busy machine says so, too.
        cpu_timer_s: Decides, at the next count, whether it was.
    """

    __slots__ = ("_count", "_cpu_timer_s", "_doubted", "_resting", "_timer_s")

    def __init__(
        self,
        count: Callable[[], int | None] = read_allocated_blocks,
        timer_s: Callable[[], float] = time.perf_counter,
        cpu_timer_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._count = count
        self._timer_s = timer_s
        self._cpu_timer_s = cpu_timer_s
        self._doubted = False
        self._resting = 0

    def read(self) -> int | None:
        """The blocks in use; None while it rests, and where nobody counts them."""
        if self._resting:
            self._resting -= 1
            return None
        timer_s = self._cpu_timer_s if self._doubted else self._timer_s
        began_s = timer_s()
        blocks = self._count()
        long = timer_s() - began_s > LONGEST_COUNT_S
        if long and self._doubted:
            self._resting = RESTED_SAMPLES
        self._doubted = long
        return blocks
