"""Values that cross a boundary: what a sample holds, what an alert says.

Everything here is immutable and free of behaviour that needs a clock, a thread, the operating system
or OpenTelemetry. Every other module may import this one; this one imports only the words it shares with
the settings.

Units are part of the names: bytes, seconds, bytes per hour. 1 MB is 1024 × 1024 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from otel_memleak.records import NamedTuple
from otel_memleak.vocabulary import (
    MB,
    REASONS,
    SEVERITIES,
    STATES,
    MonitoringTier,
    Reason,
    Severity,
    State,
)

if TYPE_CHECKING:
    from otel_memleak.verdicts import Diagnosis, LeakAlert, RouteSuspect, Suspect

__all__ = [
    "MB",
    "REASONS",
    "SEVERITIES",
    "STATES",
    "AlertEvent",
    "Diagnosis",
    "LeakAlert",
    "LimitSource",
    "MemoryLimit",
    "MonitoringTier",
    "Origin",
    "Pattern",
    "Reason",
    "RouteSuspect",
    "Sample",
    "Severity",
    "State",
    "Suspect",
]

Pattern = Literal["linear", "accelerating", "decelerating", "stepwise", "bursts"]
LimitSource = Literal["cgroup", "rlimit", "configured", "host"]
AlertEvent = Literal["memleak.leak", "memleak.rss", "memleak.resolved"]
Origin = Literal["python", "native", "fragmentation", "unknown"]


class MemoryLimit(NamedTuple):
    """The memory limit that will kill the process first, and who set it.

    Attributes:
        limit_bytes: The limit, in bytes.
        source: ``cgroup``, ``rlimit``, ``configured`` or ``host`` (physical memory).
    """

    limit_bytes: int
    source: LimitSource


class Sample(NamedTuple):
    """One look at the process. A reading that could not be had is None.

    Attributes:
        time_s: Unix time of the reading, in seconds, immune to clock steps after start.
        rss_bytes: Resident set size of this process, in bytes.
        tracemalloc_current_bytes: Bytes in traced Python allocations; None unless tracing.
        tracemalloc_peak_bytes: Their peak since tracing began; None unless tracing.
        allocated_blocks: Blocks in use in CPython's allocator (``sys.getallocatedblocks``).
        asyncio_tasks: Unfinished tasks of every event loop; development tier only.
        requests: Entry-point spans and requests of our middlewares that have ended so far.
        file_bytes: Resident pages of mapped files, in bytes, shared memory not included.
        anonymous_bytes: Resident heap, stacks and private mappings. This and what follows is read when growth
            is suspected, and else now and then; None in between.
        shared_bytes: Resident shared memory, in bytes.
        swapped_bytes: Memory in swap, in bytes.
        malloc_in_use_bytes: Allocated from malloc and not freed.
        malloc_kept_bytes: Freed, and kept by malloc.
        threads: Threads of the process.
        cache_entries: Entries that bounded caches have taken since the first sample.
        cache_room: Entries that those that are filling still take.
        modules: Modules loaded so far.
    """

    time_s: float
    rss_bytes: int | None
    tracemalloc_current_bytes: int | None = None
    tracemalloc_peak_bytes: int | None = None
    allocated_blocks: int | None = None
    asyncio_tasks: int | None = None
    requests: int | None = None
    file_bytes: int | None = None
    anonymous_bytes: int | None = None
    shared_bytes: int | None = None
    swapped_bytes: int | None = None
    malloc_in_use_bytes: int | None = None
    malloc_kept_bytes: int | None = None
    threads: int | None = None
    cache_entries: int | None = None
    cache_room: int | None = None
    modules: int | None = None


def __getattr__(name: str) -> Any:
    # Made when there is something to say: it never comes to that in most processes.
    if name not in ("Diagnosis", "LeakAlert", "RouteSuspect", "Suspect"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otel_memleak import verdicts

    globals().update({told.__name__: told for told in verdicts.TOLD})
    return globals()[name]
