"""Values that cross a boundary: what a sample holds, what an alert says.

Everything here is immutable and free of behaviour that needs a clock, a thread, the operating system
or OpenTelemetry. Every other module may import this one; this one imports only the words it shares with
the settings.

Units are part of the names: bytes, seconds, bytes per hour. 1 MB is 1024 × 1024 bytes.
"""

# Annotations are evaluated: as texts, each would be compiled when a named tuple is made of them.

from dataclasses import dataclass
from typing import Literal, NamedTuple

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


@dataclass(frozen=True, slots=True)
class LeakAlert:
    """One thing worth telling a person about the memory of one process.

    Attributes:
        event: ``memleak.leak`` (growth established, or got worse), ``memleak.rss`` (resident memory
            crossed a threshold; no claim of a leak) or ``memleak.resolved``.
        id: Identifies the incident; the same on everything said about it. Unique per process.
        severity: ``warning`` or ``critical``; on ``memleak.resolved`` the highest it had reached.
        reason: ``growth`` (the rate itself), ``forecast`` (the limit will be reached) or ``rss``.
        time_s: Time of the sample that decided, in seconds, on the clock fed to the detector.
        rss_bytes: Resident memory at that sample, in bytes.
        baseline_bytes: Median of the first samples spanning the baseline window; None before that.
        growth_bytes_per_hour: Robust estimate of the retained growth, bytes per hour.
        growth_bytes_per_hour_low: Lower end of its 95 % interval.
        growth_bytes_per_hour_high: Upper end of its 95 % interval.
        confidence: 0 to 1; how sure the verdict is that this growth will not end by itself.
        growth_bytes_per_request: What a request leaves behind; None where requests are not counted, or growth
            does not go with them.
        onset_s: When the growth began, on the clock fed to the detector; None when unknown.
        growth_bytes: Bytes grown since the onset.
        limit_bytes: The limit the forecast is made against; None when there is none.
        time_to_limit_s: Seconds until the limit at the present rate; None when unknown.
        time_to_limit_low_s: Shorter end of its interval; None when unknown.
        time_to_limit_high_s: Longer end of its interval; None when unknown or unbounded.
        pattern: Shape of the growth; None on ``memleak.rss``.
        threshold_bytes: The threshold that was crossed (``memleak.rss`` only), in bytes.
        why: One clause naming the rule that fired, for people; never parsed.
    """

    event: AlertEvent
    id: str
    severity: Severity
    reason: Reason
    time_s: float
    rss_bytes: float
    baseline_bytes: float | None = None
    growth_bytes_per_hour: float | None = None
    growth_bytes_per_hour_low: float | None = None
    growth_bytes_per_hour_high: float | None = None
    confidence: float | None = None
    onset_s: float | None = None
    growth_bytes: float | None = None
    limit_bytes: float | None = None
    time_to_limit_s: float | None = None
    time_to_limit_low_s: float | None = None
    time_to_limit_high_s: float | None = None
    pattern: Pattern | None = None
    threshold_bytes: float | None = None
    why: str = ""
    growth_bytes_per_request: float | None = None


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


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something that grows, named without looking at what it holds.

    Attributes:
        type: Qualified name of the type that piles up; empty when unknown.
        owner: Path from a module to the container that holds it, e.g. ``shop.cache:_sessions``; empty when
            unknown.
        site: ``file:line`` that allocates it; empty when unknown.
        growth_bytes_per_hour: Its growth.
        growth_count_per_hour: Objects per hour; 0 when unknown.
        share: Its part of the growth of the process, 0 to 1.
    """

    type: str = ""
    owner: str = ""
    site: str = ""
    growth_bytes_per_hour: float = 0.0
    growth_count_per_hour: float = 0.0
    share: float = 0.0


class RouteSuspect(NamedTuple):
    """An entry point whose calls leave memory behind.

    Attributes:
        route: Span name of the entry point; several that always come together are joined by ``" + "``.
        bytes_per_call: Bytes retained per call.
        bytes_per_call_low: Lower end of its 95 % interval.
        bytes_per_call_high: Upper end of its 95 % interval.
        approximate: A sampler may drop calls unheard: the ranking holds only if it drops the same share of
            each route's, and bytes are per recorded call.
    """

    route: str
    bytes_per_call: float
    bytes_per_call_low: float
    bytes_per_call_high: float
    approximate: bool = False


class Diagnosis(NamedTuple):
    """What is growing, who holds it, where it comes from.

    Attributes:
        alert_id: The incident it belongs to.
        time_s: When it was made, on the sample clock.
        origin: What kind of memory grows.
        suspects: At most five, worst first.
        routes: At most five, worst first.
        advice: One clause a person can act on; empty when there is none.
        limits: What could not be looked at, in words; empty when nothing was missed.
    """

    alert_id: str
    time_s: float
    origin: Origin
    suspects: tuple[Suspect, ...] = ()
    routes: tuple[RouteSuspect, ...] = ()
    advice: str = ""
    limits: str = ""
