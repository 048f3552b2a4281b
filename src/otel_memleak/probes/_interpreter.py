"""What the interpreter knows of its own memory."""

from __future__ import annotations

import sys


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
