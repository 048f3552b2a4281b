"""The verdict in one sentence."""

from __future__ import annotations

from typing import Final

from otel_memleak.messages import format_duration, format_mb
from otel_memleak.testing._epoch import Epoch
from otel_memleak.testing._judgement import Growth
from otel_memleak.testing._verdict import Options
from otel_memleak.types import MB

GROWS_WHEN_IDLE: Final = "but it grows as fast while nothing is called: something else in the process does it"
STOPS_WHEN_TRACED: Final = "but not when Python's allocations were traced, which slows it down"


def leak(growth: Growth, epoch: Epoch, calls: int, sites: tuple[str, ...] | None) -> str:
    """Say how much leaks, and what is known of where."""
    clauses = [f"leaks {_rate(growth)}, steadily over {_span(epoch, calls)}"]
    if growth is epoch.resident:
        clauses.append("mapped memory, or another allocator's: neither Python nor malloc accounts for it")
    elif sites == ():
        clauses.append("native memory, or a table that grows by leaps: traced, Python allocated too little")
    elif sites:
        clauses.append(f"allocated at {', '.join(sites)}")
    if epoch.unbounded:
        clauses.append(f"grows with it: {', '.join(epoch.unbounded)}")
    return "; ".join(clauses)


def no_leak(growth: Growth, calls: int) -> str:
    """Say what growth is excluded."""
    return f"no leak: at most {_bytes(max(0.0, growth.high))} a call stay behind, after {calls:,} calls"


def cannot_tell(epoch: Epoch | None, options: Options, calls: int, doubt: str) -> str:
    """Say what was seen and what it would take."""
    budget = format_duration(options.max_seconds)
    if epoch is None:
        return (
            f"cannot tell: {budget} were too short to see a trend (calls made: {calls:,}); "
            "raise max_seconds, or make the callable smaller"
        )
    suspected = epoch.suspected(options.tolerance_bytes_per_call)
    if suspected is None:
        return f"cannot tell: {_no_trend(epoch.in_use)} in {calls:,} calls; raise max_seconds"
    seen = f"cannot tell: memory grew {_rate(suspected)} over {_span(epoch, calls)}"
    if epoch.filling:
        return f"{seen}, while a cache was filling: {', '.join(epoch.filling)}"
    if doubt:
        return f"{seen}, {doubt}"
    return (
        f"{seen}, which a leak does and so does a cache of up to {options.largest_cache:,} entries; raise "
        f"max_seconds ({options.max_seconds:g}), or lower largest_cache if there is none as large"
    )


def _no_trend(growth: Growth) -> str:
    if growth.low > 0 and not growth.steady:
        return f"memory still grew, {_rate(growth)}, but ever slower"
    return f"memory moved by {_rate(growth)}, with no trend"


def _rate(growth: Growth) -> str:
    return f"{_bytes(growth.per_call)} a call (95 % {_bytes(growth.low)}–{_bytes(growth.high)})"


def _bytes(size_bytes: float) -> str:
    if abs(size_bytes) >= MB:
        return f"{format_mb(size_bytes)} MB"
    return f"{size_bytes:,.0f} B" if abs(size_bytes) >= 100 else f"{size_bytes:.3g} B"


def _span(epoch: Epoch, calls: int) -> str:
    return f"the last {calls - epoch.calls_before:,} of {calls:,} calls"
