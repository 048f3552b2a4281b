"""What is read of a process to tell kinds of memory apart."""

from __future__ import annotations

from otel_memleak.records import NamedTuple


class Witness(NamedTuple):
    """One reading of everything that tells kinds of memory apart. What could not be read is None.

    Attributes:
        time_s: When, on the sample clock, in seconds.
        rss_bytes: Resident set size.
        file_bytes: Its pages of mapped files.
        shared_bytes: Its pages of shared memory.
        swapped_bytes: Anonymous memory in swap, which has left the resident set.
        malloc_in_use_bytes: Allocated from malloc and not freed.
        malloc_kept_bytes: Freed, and kept by malloc.
        allocated_blocks: Blocks of Python's object allocator.
        peak_blocks: The most of them, where this reading stands for a stretch of time.
        traced_bytes: What tracemalloc traces, while it does; of use only when it does all the time.
        tracing_bytes: What tracemalloc's own tables take (from malloc), while it traces.
        threads: Threads of the process, native ones included.
    """

    time_s: float
    rss_bytes: int | None = None
    file_bytes: int | None = None
    shared_bytes: int | None = None
    swapped_bytes: int | None = None
    malloc_in_use_bytes: int | None = None
    malloc_kept_bytes: int | None = None
    allocated_blocks: int | None = None
    peak_blocks: int | None = None
    traced_bytes: int | None = None
    tracing_bytes: int | None = None
    threads: int | None = None
