"""What of this process's memory is in use, once garbage is gone."""

from __future__ import annotations

import gc
import sys
from array import array
from typing import Final, Protocol

from otel_memleak.probes import ProbeError, RssProbe, read_allocated_blocks, read_malloc

Reading = tuple[int, int, int]
"""Blocks of CPython's small-object allocator, bytes of malloc, bytes resident but not merely kept by malloc.
0 where this platform does not tell."""

TYPICAL_BLOCK_BYTES: Final = 64
"""Of a small Python object, where nothing better is known (they have 16 to 512)."""

LARGEST_BLOCK_BYTES: Final = 512
"""What is larger goes to malloc."""

_MOST_COLLECTIONS: Final = 4


class Meter(Protocol):
    """What a trial needs to know of the process."""

    def read(self) -> Reading:
        """Collect garbage, then read."""
        ...


class ProcessMeter:
    """Reads this process.

    Counted allocations are exact: what they say does not depend on the page size, on what allocators keep
    for reuse, or on what the kernel has noticed. The resident set is read besides, because memory mapped past
    malloc shows nowhere else.
    """

    def __init__(self) -> None:
        self._rss = RssProbe()

    def read(self) -> Reading:
        """Collect garbage, then read."""
        _collect()
        blocks = read_allocated_blocks() or 0
        malloc = read_malloc()
        in_use, kept = (malloc.in_use_bytes, malloc.kept_free_bytes) if malloc is not None else (0, 0)
        return blocks, in_use - _tracing_tables_bytes(), max(0, self._rss_bytes() - kept)

    def _rss_bytes(self) -> int:
        try:
            return self._rss.read()
        except ProbeError:
            return 0


class Levels:
    """Readings between blocks of calls, in memory that is set aside beforehand: a meter must not grow.

    Args:
        capacity: Readings at most.
    """

    def __init__(self, capacity: int) -> None:
        self._numbers = array("q", bytes(8 * 3 * capacity))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all readings."""
        self._count = 0

    def add(self, reading: Reading) -> None:
        """Keep a reading."""
        for column, value in enumerate(reading):
            self._numbers[3 * self._count + column] = value
        self._count += 1

    def blocks(self) -> list[int]:
        """Small-object blocks in use."""
        return self._column(0)

    def malloc_bytes(self) -> list[int]:
        """Bytes in use in malloc."""
        return self._column(1)

    def resident_bytes(self) -> list[int]:
        """Bytes resident, those malloc merely keeps left out."""
        return self._column(2)

    def in_use_bytes(self, block_bytes: float = TYPICAL_BLOCK_BYTES) -> list[float]:
        """Bytes in use by Python and malloc together; the resident ones where neither is counted."""
        if not any(self.blocks()) and not any(self.malloc_bytes()):
            return [float(value) for value in self.resident_bytes()]
        pairs = zip(self.blocks(), self.malloc_bytes(), strict=True)
        return [block_bytes * blocks + malloc for blocks, malloc in pairs]

    def _column(self, column: int) -> list[int]:
        return list(self._numbers[column : 3 * self._count : 3])


def _collect() -> None:
    # A finaliser may free what only the next collection finds; one that never ends is no reason to hang.
    for _ in range(_MOST_COLLECTIONS):
        if not gc.collect():
            break


def _tracing_tables_bytes() -> int:
    """What tracemalloc itself holds in malloc, if somebody traces."""
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is None or not tracemalloc.is_tracing():
        return 0
    return int(tracemalloc.get_tracemalloc_memory())
